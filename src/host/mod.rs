//! The host below us: its clock, users, sockets, files and limits, and how a program ends.
//!
//! Small wrappers over what the operating system gives, each with one job and one bound. It names `look` alone
//! and knows nothing of roles and verdicts.

pub mod accounts;
pub(crate) mod boot;
pub mod clock;
pub mod descriptors;
pub mod failure;
pub mod own_address;
pub mod own_file;
pub mod own_name;
pub mod seats;
pub mod seldom;
pub mod small_file;
pub mod unit_folders;
pub mod unix_socket;
