//! `rolecall haproxy`: a complete configuration of HAProxy for the clusters that this one is configured for.
//!
//! [`members`] finds who the servers are and where each is asked about; [`front`] writes the text. It prints, and
//! changes no file.

pub mod front;
pub mod members;
