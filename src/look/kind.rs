//! A kind of source, as far as what it saw is judged and told by it.

/// What the looks of a kind are called, and what they show of the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceKind {
    /// The word for it in the configuration.
    pub word: &'static str,
    /// What they show of the server.
    pub shows: Shows,
}

/// What looks show of the server itself, for those who act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// The server is connected to, and says whether it is in recovery. Where it refuses there is none.
    Server,
    /// Its manager asks it, and its own port is connected to beside. Where that refuses there is none.
    ManagedServer,
    /// Nothing for certain: a program's word may mean anything, and a port may be a pooler's.
    Nothing,
}
