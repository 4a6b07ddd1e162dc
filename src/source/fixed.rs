//! fixed.
