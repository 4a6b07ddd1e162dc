//! patroni.
