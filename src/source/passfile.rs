//! passfile.
