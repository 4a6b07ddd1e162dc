//! How far a look has come, so that whoever drops one can say who was silent, and at what.

use std::fmt;

/// What a look waits for once it has begun. Where it waits for a connection is known by the dialler itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The name of the host is looked up.
    Name,
    /// A connection, and the TLS handshake on it, which cannot be told apart.
    Encrypted,
    /// An answer to the question for TLS, and the handshake.
    Tls,
    /// The server lets the user in, or asks for a proof.
    Login,
    /// The keys of a password are computed, by this host.
    Keys,
    /// The answer to a query.
    Query,
    /// The head of an answer over HTTP.
    Head,
    /// The rest of an answer over HTTP.
    Body,
    /// Any answer in PostgreSQL's protocol.
    Greeting,
    /// A server has answered; the names in what it said are looked up.
    Answered,
}

/// What is said of the one who is waited for, as the end of a sentence that begins with who it is.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "has no address yet: the name servers do not answer",
            Self::Encrypted => "was connected to, and the TLS handshake did not end",
            Self::Tls => {
                "took the connection, and did not say whether it offers TLS, or did not end the \
                 handshake"
            }
            Self::Login => "took the connection, and did not answer the login",
            Self::Keys => "asked for a proof of the password, whose keys are still computed here",
            Self::Query => "let the user in, and did not answer the query",
            Self::Head => "took the connection, and did not answer the request",
            Self::Body => "began to answer the request, and did not end",
            Self::Greeting => {
                "took the connection, and did not say a word of PostgreSQL's protocol"
            }
            Self::Answered => "answered, and the names in its answer could not be looked up",
        })
    }
}
