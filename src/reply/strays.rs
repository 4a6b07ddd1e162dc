//! The questions of agent-send that named nothing here: what was asked, by whom and how often.
//!
//! A server whose `agent-send` is misspelt stays in MAINT and raises no alarm, so that the words
//! themselves are kept for those who look.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::look::stamp::Stamp;

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
            Self::TooMany => "a connection that had sent no question was closed",
            _ => "an agent check got the `unknown` answer",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TooMany => {
                "check whether others than HAProxy ask here, and list HAProxy's networks in \
                 `allow`"
            }
            _ => "HAProxy's agent-send must be NODE, SERVICE or \"NODE SERVICE\"",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WhichNode => "the question names none of the nodes, and there are several",
            Self::Word => "the question names no node or service of this configuration",
            Self::TooLong => "the question is too long",
            Self::TooMany => "too many questions at the same time",
        })
    }
}

/// Different questions that are kept, and warned of; more are a stranger's play.
const KEPT: usize = 16;

/// One question that names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The service at whose address it came.
    pub service: Arc<str>,
    /// Its words, with what cannot be printed escaped.
    pub question: String,
    /// What is wrong with it.
    pub why: Unknown,
    /// Who asked it last; `None` where the kernel did not tell.
    pub by: Option<IpAddr>,
    /// When it came last.
    pub at: Stamp,
    /// How often it came.
    pub count: u64,
}

/// All of them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Strays(Arc<Mutex<Vec<Stray>>>);

impl Strays {
    /// Keeps one more. Tells whether it is to be warned of: it is new, and not one of very many.
    pub fn heard(&self, stray: Stray) -> bool {
        // What a panic elsewhere left behind is a list all the same.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |of: &&mut Stray| {
            of.service == stray.service && of.question == stray.question && of.why == stray.why
        };
        if let Some(known) = kept.iter_mut().find(same) {
            *known = Stray { count: known.count + 1, ..stray };
            return false;
        }
        let room = kept.len() < KEPT;
        if !room && let Some(oldest) = kept.iter_mut().min_by_key(|of| of.at) {
            *oldest = stray;
        } else {
            kept.push(stray);
        }
        room
    }

    /// Those that are kept, the newest first.
    pub fn kept(&self) -> Vec<Stray> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.sort_unstable_by_key(|of| std::cmp::Reverse(of.at));
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stray(question: &str, ms: u64) -> Stray {
        Stray {
            service: "primary".into(),
            question: question.to_owned(),
            why: Unknown::Word,
            by: None,
            at: Stamp::new(Duration::from_millis(ms)),
            count: 1,
        }
    }

    #[test]
    fn the_same_question_is_one_and_very_many_are_neither_kept_nor_warned_of() {
        let strays = Strays::default();
        assert!(strays.heard(stray("pg3", 1)));
        assert!(!strays.heard(stray("pg3", 2)));
        assert_eq!(strays.kept(), [Stray { count: 2, ..stray("pg3", 2) }]);
        for other in 0..15 {
            assert!(strays.heard(stray(&other.to_string(), 3 + other)));
        }
        // The oldest gives way: what HAProxy goes on asking stays.
        assert!(!strays.heard(stray("pg3", 100)));
        for other in 20..60 {
            assert!(!strays.heard(stray(&other.to_string(), 101)));
            strays.heard(stray("pg3", 102));
        }
        let kept = strays.kept();
        assert_eq!((kept.len(), &*kept[0].question), (KEPT, "pg3"));
    }
}
