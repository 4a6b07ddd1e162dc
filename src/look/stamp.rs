//! A moment. Who reads the clock is `host::clock`.

use std::time::Duration;

/// A moment, as time since the host booted (or since a test began).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(Duration);

impl Stamp {
    /// The moment `since_boot` after the origin.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Time since the host booted.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// How long before this moment `earlier` was; zero where it was not before it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `after` this one, at most the end of time.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }
}
