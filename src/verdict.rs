//! What is answered, and why.

/// What a service is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In service.
    Ready,
    /// Out of service: something speaks against it.
    NotReady,
    /// No new sessions, the old ones stay.
    Drain,
    /// Out of service: nothing is known.
    Unknown,
}
