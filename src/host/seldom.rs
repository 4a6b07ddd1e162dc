//! Words that may be said now and then: a few at once, then one each so often.
//!
//! What others can make happen as often as they like must not fill the log.

use std::time::Duration;

use crate::look::stamp::Stamp;

/// Words that may be said at once.
pub(crate) const BURST: u32 = 8;
/// Time after which one more may be said.
pub const EVERY: Duration = Duration::from_secs(10);

/// Who may say something, and what was not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seldom {
    left: u32,
    since: Stamp,
    untold: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self { left: BURST, since: Stamp::new(Duration::ZERO), untold: 0 }
    }
}

impl Seldom {
    /// Whether one may be said now: how many were not since the last one that was.
    pub fn may(&mut self, now: Stamp) -> Option<u64> {
        let more = now.since(self.since).as_millis() / EVERY.as_millis();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(BURST)).min(BURST);
            self.since = now;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_one_each_ten_seconds_and_the_rest_is_counted() {
        let mut seldom = Seldom::default();
        let at = |ms| Stamp::new(Duration::from_millis(ms));
        let said = (0..100_000u64).filter_map(|ms| seldom.may(at(ms)));
        let said: Vec<u64> = said.collect();
        assert_eq!(said.len(), 8 + 9);
        assert_eq!(said[..8], [0; 8]);
        assert!(said[8..].iter().all(|untold| *untold > 9_900), "{said:?}");
        // After a long silence as at first, and no more than that.
        let later = (0..100).filter(|ms| seldom.may(at(1_000_000_000 + ms)).is_some()).count();
        assert_eq!(later, 8);
    }
}
