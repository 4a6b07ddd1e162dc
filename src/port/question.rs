//! What the words of agent-send mean: `NODE`, `SERVICE` or `NODE SERVICE`.

use std::fmt;

use crate::facts::{Facts, NodeFacts, ServiceFacts};
use crate::reply::routes::Asked;

/// Bytes of a question, without the end of its line.
const MOST: usize = 64;

/// Why a question names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unknown {
    /// There are several nodes, and none is named.
    WhichNode,
    /// A word is neither a node's name nor a service's, or is one too many.
    Word,
    /// Over 64 bytes.
    TooLong,
    /// It was not read: its connection had said nothing and made room for another.
    TooMany,
}

impl Unknown {
    /// The word for this in metrics; never changes once released.
    pub fn label(self) -> &'static str {
        match self {
            Self::WhichNode => "which_node",
            Self::Word => "unknown_word",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
        }
    }

    /// What became of it.
    pub fn what(self) -> &'static str {
        match self {
            Self::TooMany => "a connection is closed that had asked nothing",
            _ => "a question is answered with `unknown`",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TooMany => "does more than HAProxy ask here? `allow` says who may",
            _ => "agent-send of HAProxy says NODE, SERVICE or \"NODE SERVICE\"",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WhichNode => "there are several nodes, and none is named",
            Self::Word => "it names no node or service here",
            Self::TooLong => "it is too long",
            Self::TooMany => "too many are asking at one time",
        })
    }
}

/// The node and the service that a question names, which came at a port where `asked` is meant by
/// what it does not say. The line of a question ends at its first newline.
pub fn named<'f>(
    question: &[u8],
    facts: &'f Facts,
    asked: Asked,
) -> Result<(&'f NodeFacts, &'f ServiceFacts), Unknown> {
    let line = question.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.len() > MOST {
        return Err(Unknown::TooLong);
    }
    let line = str::from_utf8(line).map_err(|_| Unknown::Word)?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let node = |name: &str| facts.node(name);
    let (node, service) = match words.as_slice() {
        [] => (None, None),
        [word] => match node(word) {
            Some(node) => (Some(node), None),
            None => (None, Some(*word)),
        },
        [name, service] => (Some(node(name).ok_or(Unknown::Word)?), Some(*service)),
        _ => return Err(Unknown::Word),
    };
    let of = |node: &'f NodeFacts| match service {
        Some(name) => node.service(name).ok_or(Unknown::Word),
        None => node.services.get(asked.service).ok_or(Unknown::Word),
    };
    match (node, facts.nodes.as_slice()) {
        (Some(node), _) => Ok((node, of(node)?)),
        (None, [only]) => Ok((only, of(only)?)),
        // A word that is nobody's is the greater mistake.
        (None, [first, ..]) => of(first).and(Err(Unknown::WhichNode)),
        (None, []) => Err(Unknown::WhichNode),
    }
}
