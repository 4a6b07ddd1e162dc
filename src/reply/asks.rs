//! Who asks about a node, and what they were told: counted where the answer is given, read by the
//! metrics and the status page. Nothing here is allocated or waited for at an answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::look::stamp::Stamp;
use crate::verdict::state::State;

/// Nobody having asked for this long is worth a word: HAProxy asks every few seconds.
pub const QUIET_MS: u64 = 30_000;
/// Addresses that are remembered of those who ask for one service of one node; there are few of them.
pub const ASKERS: usize = 8;
/// So many questions make an address one that asks regularly, whose silence is worth a word. HAProxy has
/// asked as often after ten seconds; somebody who tries the port by hand has not.
pub const REGULAR: u64 = 20;
/// An address that has not asked for this long is forgotten: its HAProxy was taken away on purpose.
pub const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// The questions one service was asked about one node. It is kept over reloads.
#[derive(Debug, Default)]
pub struct Asks {
    ready: AtomicU64,
    drain: AtomicU64,
    not_ready: AtomicU64,
    unknown: AtomicU64,
    strangers: AtomicU64,
    heard: Mutex<Heard>,
}

/// Who asked, and when.
#[derive(Debug, Default)]
struct Heard {
    last: Option<Last>,
    askers: [Option<Asker>; ASKERS],
}

/// The newest question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// When it came.
    pub at: Stamp,
    /// Who asked; `None` where the kernel did not tell.
    pub by: Option<IpAddr>,
}

/// An address that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The address; an IPv4 address is never shown as one of IPv6.
    pub by: IpAddr,
    /// When its newest question came.
    pub at: Stamp,
    /// How many came.
    pub count: u64,
}

impl Asker {
    /// Whether it has asked so often that its silence is worth a word.
    pub fn is_regular(&self) -> bool {
        self.count >= REGULAR
    }
}

impl Heard {
    /// One more question.
    fn note(&mut self, at: Stamp, by: Option<IpAddr>) {
        self.last = Some(Last { at, by });
        let Some(by) = by.map(|by| by.to_canonical()) else { return };
        let new = Asker { by, at, count: 1 };
        let known = self.askers.iter_mut().flatten().find(|asker| asker.by == by);
        if let Some(known) = known {
            // After so long it is another one that has come to this address.
            let count = if at.since(known.at) > FORGOTTEN { 0 } else { known.count };
            *known = Asker { count: count.saturating_add(1), ..new };
            return;
        }
        // An empty place first, then whoever asked a few times only, then whoever has been silent for longest:
        // those who try every port take no place of a HAProxy that is missed.
        let gives_way = |asker: &&mut Option<Asker>| {
            asker.map(|asker| (asker.is_regular() && at.since(asker.at) <= FORGOTTEN, asker.at))
        };
        if let Some(place) = self.askers.iter_mut().min_by_key(gives_way) {
            *place = Some(new);
        }
    }
}

impl Asks {
    /// A question was answered with this state.
    pub fn answered(&self, at: Stamp, by: Option<IpAddr>, state: State) {
        self.counter(state).fetch_add(1, Ordering::Relaxed);
        self.heard().note(at, by);
    }

    /// Somebody who may not ask was sent away. Tells how many there were with this one.
    pub(crate) fn sent_away(&self) -> u64 {
        self.strangers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many questions were answered with this state.
    pub fn count(&self, state: State) -> u64 {
        self.counter(state).load(Ordering::Relaxed)
    }

    /// How many were sent away.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// The newest question; `None` before the first.
    pub fn last(&self) -> Option<Last> {
        self.heard().last
    }

    /// Who asked, the newest first, without those who are forgotten.
    pub fn askers(&self, now: Stamp) -> Vec<Asker> {
        let askers = self.heard().askers;
        let mut askers: Vec<Asker> = askers.into_iter().flatten().collect();
        askers.retain(|asker| now.since(asker.at) <= FORGOTTEN);
        askers.sort_unstable_by_key(|asker| std::cmp::Reverse((asker.at, asker.count)));
        askers
    }

    /// What another thread left half done there is one value all the same.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, state: State) -> &AtomicU64 {
        match state {
            State::Ready => &self.ready,
            State::Drain => &self.drain,
            State::NotReady => &self.not_ready,
            State::Unknown => &self.unknown,
        }
    }
}

/// Two are equal where they are the same one: what was asked is no part of what is known of a node.
impl PartialEq for Asks {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Asks {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::new(Duration::from_secs(seconds))
    }

    fn asked(asks: &Asks, seconds: u64, by: &str) {
        asks.answered(at(seconds), Some(by.parse().unwrap()), State::Ready);
    }

    fn known(asks: &Asks, seconds: u64) -> Vec<String> {
        asks.askers(at(seconds)).iter().map(|asker| asker.by.to_string()).collect()
    }

    #[test]
    fn each_address_that_asks_is_remembered_with_its_newest_question() {
        let asks = Asks::default();
        asks.answered(at(1), None, State::Ready);
        assert!(asks.askers(at(1)).is_empty() && asks.last().is_some());
        asked(&asks, 2, "10.0.0.8");
        asked(&asks, 3, "::ffff:10.0.0.9");
        asked(&asks, 4, "10.0.0.9");
        assert_eq!(known(&asks, 5), ["10.0.0.9", "10.0.0.8"]);
        let counts: Vec<_> = asks.askers(at(5)).iter().map(|asker| asker.count).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!(asks.last().unwrap().by, Some("10.0.0.9".parse().unwrap()));
    }

    #[test]
    fn those_who_try_once_take_no_place_of_a_haproxy_that_is_missed() {
        let asks = Asks::default();
        for second in 0..REGULAR {
            asked(&asks, second, "10.0.0.8");
            asked(&asks, second, "10.0.0.9");
        }
        for last in 10..250 {
            asked(&asks, 100 + last, &format!("10.1.1.{last}"));
            asked(&asks, 100 + last, "10.0.0.9");
        }
        assert_eq!(asks.askers(at(400)).len(), ASKERS);
        let missed =
            asks.askers(at(400)).into_iter().find(|asker| asker.by.to_string() == "10.0.0.8");
        assert!(missed.unwrap().is_regular());
        // Of many that ask regularly the one goes that has been silent for longest.
        for last in 1..=8 {
            for second in 0..REGULAR {
                asked(&asks, 400 + second, &format!("10.2.2.{last}"));
            }
        }
        assert!(!known(&asks, 500).contains(&"10.0.0.8".to_owned()), "{:?}", known(&asks, 500));
    }

    #[test]
    fn one_that_has_not_asked_for_a_day_is_forgotten() {
        let asks = Asks::default();
        for second in 0..REGULAR {
            asked(&asks, second, "10.0.0.8");
        }
        let last = REGULAR - 1 + FORGOTTEN.as_secs();
        assert_eq!(known(&asks, last), ["10.0.0.8"]);
        assert!(known(&asks, last + 1).is_empty());
        // Somebody else who has the address later begins anew.
        asked(&asks, last + 1, "10.0.0.8");
        assert_eq!(asks.askers(at(last + 1))[0].count, 1);
    }
}
