//! What a service says while rolecall stops.
//!
//! HAProxy keeps what it was told last. So by default nothing else is said: the answers stay what they
//! are until the ports close, and a restart is seen by nobody. Where an operator wants a node out once
//! its rolecall is stopped, HAProxy must be told so before, and have time to ask.

use std::time::Duration;

use crate::verdict::decide::Verdict;
use crate::verdict::reason::Reason;
use crate::verdict::state::{State, Word};

/// Longest time it is said: a host that goes down waits for no more, and systemd neither (90 s).
pub(crate) const MAX_LASTS: Duration = Duration::from_secs(60);

/// How many times HAProxy asks meanwhile, where nobody chose: one question may have been under way when
/// it began.
pub(crate) const LAST_ASKS: u32 = 2;

/// What is said, and for how long, before the ports close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastWord {
    /// What is said.
    pub word: Word,
    /// For how long.
    pub lasts: Duration,
}

impl LastWord {
    /// What a verdict becomes by it, whatever is seen and ordered: it only ever takes out.
    pub fn on(self, verdict: Verdict) -> Verdict {
        let state = match (self.word, verdict.state) {
            (Word::Maint, _) => State::NotReady,
            (Word::Drain, State::Ready) => State::Drain,
            // It has no sessions that would be kept, or is drained for another reason already.
            (Word::Drain, _) => return verdict,
        };
        let until = verdict.until.filter(|_| self.word == Word::Drain);
        Verdict { state, reason: Reason::Stopping(self.word), until, ..verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::role::Role;
    use crate::look::stamp::Stamp;

    fn verdict(state: State) -> Verdict {
        let (reason, until) = (Reason::Serves(Role::Replica), Some(Stamp::new(Duration::ZERO)));
        Verdict { state, reason, until, timeline: None, seen: None }
    }

    #[test]
    fn it_takes_out_and_never_puts_in() {
        use State::{Drain, NotReady, Ready, Unknown};
        for (word, before, after) in [
            (Word::Maint, Ready, NotReady),
            (Word::Maint, Drain, NotReady),
            (Word::Maint, NotReady, NotReady),
            (Word::Maint, Unknown, NotReady),
            (Word::Drain, Ready, Drain),
            (Word::Drain, Drain, Drain),
            (Word::Drain, NotReady, NotReady),
            (Word::Drain, Unknown, Unknown),
        ] {
            let said = LastWord { word, lasts: Duration::ZERO }.on(verdict(before));
            assert_eq!(said.state, after, "{word:?} on {before:?}");
            let because = said.reason == Reason::Stopping(word);
            assert_eq!(because, word == Word::Maint || before == Ready, "{word:?} on {before:?}");
            // A drain rests on what is seen, and a no that comes meanwhile counts at once.
            assert_eq!(said.until.is_some(), word == Word::Drain, "{word:?} on {before:?}");
        }
    }
}
