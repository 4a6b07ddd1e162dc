//! Rule R, condition by condition. How it holds together is shown by `tests/repmgr_model`.

mod majority;
mod own;
mod said;
mod votes;
