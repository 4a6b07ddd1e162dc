//! HAProxy's side: a complete configuration for the clusters that this one is configured for (`rolecall haproxy`), and
//! what a running HAProxy shows beside what rolecall says (`rolecall status --haproxy`).
//!
//! [`members`] finds who the servers are and where each is asked about; [`front`] makes the text. [`stats`] asks a
//! HAProxy, [`told`] reads what it says, [`sides`] finds what does not fit. Nothing is changed.

mod faults;
pub mod finding;
pub mod front;
pub mod members;
mod ours;
pub mod shown;
pub mod sides;
pub mod stats;
pub mod told;
