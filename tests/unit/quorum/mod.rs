//! Rule R, condition by condition. How it holds together is shown by `tests/repmgr_model`.

mod fresh;
mod handover;
mod hold;
mod lapses;
mod majority;
mod own;
mod record;
mod said;
mod standing;
mod votes;
