//! For how long Patroni's leader lock is proven to be held, once Patroni says nothing more.
//!
//! # What Patroni shows
//! Its answers have `dcs_last_seen` (from 2.1.2): the second in which it last *read* the consensus store,
//! by its own clock (`AbstractDCS.get_cluster`). That is no renewal of the lock. With etcd v3 and
//! Kubernetes it may be a read of Patroni's own cache, with etcd v2 of a member that is cut off, and until
//! 3.1 with `ZooKeeper` of nothing at all: the store may be gone, and the number is fresh. Any `GET /cluster`
//! moves it as well.
//!
//! # What follows from it
//! Patroni's loop reads the store (`load_cluster_from_dcs`) and renews the lock (`update_lock`) in this
//! order, once a round, in one thread, in every version from 2.1.2 to 4.1. Three things may come of a
//! renewal. It succeeds. The store says no: the lock counts as lost, and Patroni says 503. The store says
//! nothing for `retry_timeout`: PostgreSQL is demoted (503, or another state than `running`) or, in
//! failsafe mode, goes on, which the answer says. So where the number changes from A to B, and Patroni says
//! 200 before and after, *the lock was renewed after the read A*: B begins a round, so the round of A has
//! ended, and its renewal had succeeded. Whether the round of B has renewed too, nobody outside can see: it
//! may hang in that call for `retry_timeout`, and the lock is worth what A left of it. Therefore the lease
//! counts from the read *before* the last one.
//!
//! The last read may be somebody else's, made while the renewal of the round before hangs: it then begins no
//! round. So a read counts only once a look that began `retry_timeout` and [`WORKS`] after it has still found a
//! leader: had that renewal hung, Patroni would have demoted PostgreSQL by then.
//!
//! The number itself is used for one thing, whether it has changed. When a read was is bounded by our own
//! clock, which no step of a wall clock touches, on this host or on Patroni's: it was after the beginning
//! of the last look that still showed the number before. So with A and B as above, and with `seen` for the
//! beginning of the last look that showed neither:
//!
//! ```text
//!     seen          A              renewal    ...    B             the last look    silence
//!      |------------|--------------|-----------------|--------------|----------------------->
//!      |  lease: ttl - M - MARGIN, READY until here ------------------------------>|
//!      |  the lock stands at least ttl from its renewal, so it stands here and M longer ------->|
//! ```
//!
//! `M` is for how long HAProxy goes on with a READY of a rolecall that dies in that moment. Nobody else can
//! have the lock, so nobody else can be READY, before the lease and `M` are over: a store takes `ttl` from
//! when it *processed* the renewal, which was after A. With loops of `loop_wait` the lease ends no sooner than
//! `ttl - loop_wait - max(loop_wait, retry_timeout + WORKS) - M - MARGIN` and two looks after the last one, and up to
//! `loop_wait` later.
//!
//! # Where it is not known
//! * Less than two changes were seen, or Patroni says no number: the bound of before ([`crate::verdict::lock`]).
//! * Other reads than the loop's: somebody asks for `/cluster`. They show themselves, as two of the loop are
//!   `loop_wait` apart, give or take `LOOKS`. While one is among the last `OF_LATE`, or where `loop_wait` is
//!   too short to tell, the lease counts from a read `loop_wait + retry_timeout` before the last one: whoever
//!   made it, a round began within `loop_wait` of it, and was decided `retry_timeout` later. The bound of before
//!   holds there as well. What is left: a single read of somebody else's while a renewal hangs whose answer then
//!   comes late, so that it stands between two rounds `loop_wait` apart from both, and a store that is lost in the
//!   round after it.
//! * Failsafe mode, a cluster without a holder, any no: what was known is forgotten.
//! * The loop hangs, which a clock that is set back is enough for: it sleeps until the next round by that clock
//!   (`schedule_next_run`, seen on 4.1.5). The number stands still. The API goes on saying 200 until `ttl` is over by Patroni's wall
//!   clock (`Ha.is_leader`), and for as much longer as that clock goes back meanwhile. Such a 200 is silence, so the yes
//!   ends with the lease. The bound of before takes rounds for granted, and is not used then. Where somebody asks
//!   for `/cluster` all the time as well, the number moves, and nobody sees that the loop hangs.
//! * The process stood still for longer than its lock, and its clock went back meanwhile: it says 200 until its first
//!   round after that has read the store, or for ever where that hangs. Its number moves, and less than our own clock:
//!   such a round counts as old as it says, and is a hanging one. A clock that goes back by less than the longest
//!   round meanwhile is not noticed.
//! * `ZooKeeper`'s lock lives with its session, which Patroni's client keeps up every `ttl / 3` whatever the
//!   loop does, and up to 3.1 the loop of a leader need not speak with it: the lease then begins no later
//!   than `ttl / 3` before the last look. `ZooKeeper` gives no session more than 20 ticks: [`MOST_TTL`](crate::look::patroni::MOST_TTL).
//! * Paused: a store that says nothing is no reason to demote, so the 200 of a second round may stand on a
//!   renewal that failed in the first. Nobody has the lock of a paused cluster then but a server that
//!   somebody promoted by hand, or after the pause has ended within the lease.
//! * A lock that is deleted by hand, a Consul session with health checks (`consul.checks`), and Raft on hosts
//!   whose clocks disagree end sooner than their `ttl`. Patroni itself goes on by the same `ttl` there.
//!
//! # A Patroni that has just started
//! Its API answers before its first round has judged the lock, 503 with the role and state of the server.
//! Where looks were refused before (the old process had ended), the timeline is the same and somebody holds
//! the lock, this is no word about it: silence, for `FIRST_ROUND` at most. Its first 200 is a renewal of
//! its own, so it was after the last look that was refused.

use std::time::Duration;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Observation;
use crate::look::patroni::{Patroni, Times};
use crate::look::role::{Role, Timeline};
use crate::look::stamp::Stamp;

/// What is said of a 200 that no round stands behind.
const HANGS: &str = "Patroni answered 200, but its loop has not read the consensus store for longer than a round may \
                     take, so its leader lock may end";

/// How much nearer than `loop_wait` two reads of the loop may seem: each is known to an interval of looks.
const LOOKS: Duration = Duration::from_millis(1500);

/// How long the loop takes at most from its read to the renewal, where PostgreSQL answers its questions.
const WORKS: Duration = Duration::from_secs(1);

/// Reads that are remembered; the number has seconds, so this is a minute at least.
const READS: usize = 64;

/// So many of them are reads of late.
const OF_LATE: usize = 8;

/// How long the 503 of a Patroni that has just started says nothing of the lock.
const FIRST_ROUND: Duration = Duration::from_secs(3);

/// The first version whose loop speaks with `ZooKeeper` in every round.
const SPEAKS_WITH_ZOOKEEPER: (u16, u16) = (3, 2);

/// A read of the store that showed itself by another `dcs_last_seen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    /// It was after this moment; `None`: nobody looked before.
    after: Option<Stamp>,
    /// It was before this moment.
    by: Stamp,
    /// The read before was `loop_wait` earlier, as two of the loop are.
    apart: bool,
}

/// The last look that showed a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    number: i64,
    began: Stamp,
    timeline: Option<Timeline>,
}

/// A round of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    number: i64,
    /// It began by this moment, so it can be late only after that.
    by: Stamp,
    /// The beginning of the last look that showed it.
    shown: Stamp,
}

impl Round {
    /// That of a look that began and has finished at these moments. Where looks showed nothing for a while, its own
    /// number tells how long after the round before it was: one that is old by that is no better for having been seen
    /// only now, and a clock that went back while Patroni stood still makes it old.
    fn after(before: Option<Self>, number: i64, began: Stamp, now: Stamp) -> Self {
        let by = before.map_or(now, |before| {
            let seconds = u64::try_from(number.saturating_sub(before.number)).unwrap_or(0);
            let told = before.by.plus(Duration::from_secs(seconds.saturating_add(1)));
            told.max(before.shown).min(now)
        });
        Self { number, by, shown: began }
    }
}

/// What is known of the lock of one Patroni, by its looks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    seen: Option<Seen>,
    /// The oldest first.
    reads: Vec<Read>,
    /// The lock was renewed after this moment.
    renewed: Option<Stamp>,
    /// The process that leads began after this moment, while that is remembered.
    process: Option<Stamp>,
    /// The process that was seen had ended when this look began.
    gone: Option<Stamp>,
    /// When a process that has just started was first seen.
    started: Option<Stamp>,
    /// The last round of the loop, by any answer, the no of a leader too.
    round: Option<Round>,
    /// The loop has been late since then.
    late: bool,
}

impl Lease {
    /// Folds a look in that began and has finished at these moments. What it means is in the result: an
    /// answer that says nothing of the lock is a failure ([`ErrorKind::LockUnread`], [`ErrorKind::LoopHangs`]).
    pub fn fold(
        &mut self,
        began: Stamp,
        now: Stamp,
        look: Result<Observation, SourceError>,
    ) -> Result<Observation, SourceError> {
        let seen = match look {
            Err(error) => {
                if error.kind == ErrorKind::Refused {
                    // Another process has another loop.
                    (self.round, self.late) = (None, false);
                    self.gone = self.seen.map(|_| began);
                } else if error.kind == ErrorKind::NoBody {
                    self.forget();
                }
                return Err(error);
            }
            Ok(seen) => seen,
        };
        if self.has_just_started(now, &seen) {
            let started = "Patroni answered 503 because it has just started and has not checked \
                           the leader lock yet";
            return Err(SourceError::new(ErrorKind::LockUnread, started));
        }
        self.hears_of_a_round(&seen, began, now);
        match leader(&seen) {
            Some((number, times)) => {
                let timeline = seen.timeline;
                self.leads(Seen { number, began, timeline }, now, times);
                if times.is_some_and(|times| self.hangs(began, times)) {
                    self.late = true;
                    return Err(SourceError::new(ErrorKind::LoopHangs, HANGS));
                }
            }
            None => self.forget(),
        }
        Ok(seen)
    }

    /// The last moment at which a leader may be READY, by what is proven of its lock, that was last seen as one by
    /// a look that began at `began`. `None`: nothing is proven.
    pub fn ends(&self, began: Stamp, patroni: &Patroni, memory: Duration) -> Option<Stamp> {
        let (times, renewed) = (patroni.times?, self.renewed?);
        let speaks = patroni.version.is_some_and(|version| version >= SPEAKS_WITH_ZOOKEEPER);
        let kept_up = Stamp::new(began.since_boot().saturating_sub(times.ttl / 3));
        let from = if speaks { renewed } else { renewed.min(kept_up) };
        Some(from.plus(times.longest(memory)))
    }

    /// Whether every read of late was the loop's own, so that no round can have been missed.
    pub(crate) fn shows_rounds(&self) -> bool {
        self.reads.iter().rev().take(OF_LATE).all(|read| read.apart)
    }

    /// Whether the look that began at this moment, or one after it, found a loop that has made no round for longer
    /// than one may take.
    pub fn hangs(&self, began: Stamp, times: Times) -> bool {
        let longest = times.loop_wait.max(times.retry_timeout) + LOOKS;
        self.late || self.round.is_some_and(|round| began.since(round.by) > longest)
    }

    /// The 503 of a process that is not the one that was seen as the leader, about the same server.
    fn has_just_started(&mut self, now: Stamp, seen: &Observation) -> bool {
        let Some(before) = self.seen.filter(|_| self.gone.is_some()) else { return false };
        let unread = seen.role == Some(Role::Primary)
            && seen.leader == Some(false)
            && seen.not_running.is_none()
            && seen.timeline == before.timeline
            && seen.patroni.is_some_and(|patroni| !patroni.unlocked);
        let started = *self.started.get_or_insert(now);
        unread && now.since(started) <= FIRST_ROUND
    }
}

impl Lease {
    /// Nothing is known of the lock any more. A loop that hung before still hangs: Patroni's clock may go back after
    /// its no, and it then says again that it leads.
    fn forget(&mut self) {
        *self = Self { round: self.round, late: self.late, ..Self::default() };
    }

    fn hears_of_a_round(&mut self, seen: &Observation, began: Stamp, now: Stamp) {
        let number = seen.patroni.and_then(|patroni| patroni.dcs_last_seen).filter(|n| *n > 0);
        match &mut self.round {
            Some(round) if number == Some(round.number) => round.shown = began,
            before => {
                *before = number.map(|number| Round::after(*before, number, began, now));
                self.late = false;
            }
        }
    }

    /// Folds in that Patroni said it leads.
    fn leads(&mut self, seen: Seen, now: Stamp, times: Option<Times>) {
        (self.process, self.started) = (self.gone.take().or(self.process), None);
        let before = self.seen.replace(seen);
        if before.is_none_or(|before| before.number != seen.number) {
            let after = before.map(|before| before.began);
            let last = self.reads.last();
            let apart = times.is_some_and(|times| {
                let far = |last: &Read| gap(last, after) + LOOKS >= times.loop_wait;
                times.loop_wait > 2 * LOOKS && last.is_none_or(far)
            });
            if self.reads.len() == READS {
                self.reads.remove(0);
                self.process = None;
            }
            self.reads.push(Read { after, by: now, apart });
        }
        self.renewed = times.and_then(|times| self.renewed_after(seen.began, times));
        self.renewed = self.renewed.max(self.process);
    }

    /// The beginning of a round that has ended, by a look that found a leader and began at `leads`: another round
    /// has begun, or would not have where a renewal hung.
    fn renewed_after(&self, leads: Stamp, times: Times) -> Option<Stamp> {
        let (last, before) = self.reads.split_last()?;
        let alone = self.shows_rounds();
        let hung = times.retry_timeout + WORKS;
        // Any round that was under way so long before has been decided, and so has the one after it.
        let decided = times.loop_wait + times.retry_timeout;
        let ended = |read: &&Read| {
            if alone { leads.since(read.by) >= hung } else { gap(read, last.after) >= decided }
        };
        before.iter().rev().find(ended)?.after
    }
}

/// The least time from a read to one that was after this moment.
fn gap(read: &Read, after: Option<Stamp>) -> Duration {
    after.map_or(Duration::ZERO, |after| after.since(read.by))
}

/// The number of an answer that a lock stands behind, and Patroni's times where they are known.
fn leader(seen: &Observation) -> Option<(i64, Option<Times>)> {
    let patroni = seen.patroni?;
    let leads = seen.role == Some(Role::Primary)
        && seen.leader == Some(true)
        && seen.not_running.is_none()
        && !patroni.failsafe
        && !patroni.unlocked;
    let number = patroni.dcs_last_seen.filter(|number| *number > 0)?;
    leads.then_some((number, patroni.times))
}
