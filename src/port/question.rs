//! What the words of agent-send mean: `NODE`, `SERVICE` or `NODE SERVICE`.

use crate::facts::{Facts, NodeFacts, ServiceFacts};
use crate::reply::routes::Route;
use crate::reply::strays::Unknown;

/// Bytes of a question, without the end of its line.
const MOST: usize = 64;

/// The node and the service that a question names, which came at a port where `asked` is meant by
/// what it does not say. The line of a question ends at its first newline.
pub fn named<'f>(
    question: &[u8],
    facts: &'f Facts,
    asked: Route,
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
