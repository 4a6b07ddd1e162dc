//! What can be said of a node: by what is seen, by an order, and while rolecall stops.

use std::fmt;

/// What is said about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Send traffic here.
    Ready,
    /// Keep the sessions, send no new ones.
    Drain,
    /// Send no traffic here.
    NotReady,
    /// Nothing that may be used is known; send no traffic here.
    Unknown,
}

impl State {
    /// The word for this state in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::NotReady => "not_ready",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// Send traffic here.
    Ready,
    /// Keep the sessions, send no new ones.
    Drain,
    /// Send no traffic here.
    Maint,
}

impl Wish {
    /// The word for it: the command, and in the state file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }

    /// The wish of this word.
    pub fn read(word: &str) -> Option<Self> {
        [Self::Ready, Self::Drain, Self::Maint].into_iter().find(|wish| wish.as_str() == word)
    }
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Keep the sessions, send no new ones.
    Drain,
    /// Send no traffic here.
    Maint,
}

impl Word {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}
