//! The bytes of the agent protocol.
/// The words of a service's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wording {}
