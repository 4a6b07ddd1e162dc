//! `rolecall haproxy`: a complete configuration of HAProxy for the clusters that this one is configured for.
//!
//! [`members`] finds who the servers are and where each is asked about; [`front`] makes the text. No file is
//! changed.

pub mod front;
pub mod members;
