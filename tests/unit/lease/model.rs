//! A Patroni that leads, its store and a second node that waits for the lock, in steps of 50 ms, with a rolecall
//! that looks. What the program under test is told is what Patroni would say, and nothing else.

use std::time::Duration;

use proptest::prelude::*;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::patroni::Patroni;
use rolecall::look::patroni::Times;
use rolecall::look::role::{Role, Timeline};
use rolecall::look::snapshot::SourceFacts;
use rolecall::verdict::decide::decide;
use rolecall::verdict::lock::USUAL_TIMES;
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

use super::{INTERVAL, MEMORY, TIMEOUT, at, fails, ms, policy};

/// One step, in milliseconds.
const STEP: u64 = 50;

/// For how long a story is played.
const LENGTH: u64 = 150_000;

/// What befalls Patroni, at which moments. All in milliseconds.
#[derive(Debug, Clone)]
pub struct Story {
    times: Times,
    /// How long a renewal takes.
    slow: u64,
    /// How long the loop takes from its read to the renewal.
    busy: u64,
    /// The store cannot be reached from this host.
    cut: (u64, u64),
    /// The process stands still, or is gone.
    away: (u64, u64),
    killed: bool,
    /// The loop hangs between its read and the renewal from this round on.
    hangs_in: Option<u64>,
    /// The wall clock is set then, by so many seconds.
    step: (u64, i64),
    /// Somebody asks for `/cluster` every so often.
    polled: Option<u64>,
    failsafe: bool,
    /// How long an answer takes.
    answer: u64,
}

impl Arbitrary for Story {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<u64>().prop_map(Self::of).boxed()
    }
}

/// Numbers that follow from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

impl Story {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let seconds = |s| Duration::from_secs(s);
        let all = [
            USUAL_TIMES,
            Times { ttl: seconds(20), loop_wait: seconds(1), retry_timeout: seconds(3) },
            Times { ttl: seconds(30), loop_wait: seconds(5), retry_timeout: seconds(10) },
            Times { ttl: seconds(60), loop_wait: seconds(10), retry_timeout: seconds(20) },
        ];
        let times = all[usize::try_from(dice.below(4)).unwrap()];
        let cut_at = 40_000 + dice.below(60_000);
        // Silence often begins near the loss of the store, which is when a lease is worth least.
        let away_at =
            if dice.one_in(2) { cut_at + dice.below(25_000) } else { 40_000 + dice.below(60_000) };
        let hangs_in = dice.one_in(4).then(|| 3 + dice.below(8));
        Self {
            times,
            slow: [0, 0, 100, 900, 2500][usize::try_from(dice.below(5)).unwrap()],
            busy: [0, 0, 50, 600][usize::try_from(dice.below(4)).unwrap()],
            cut: if dice.one_in(2) { (cut_at, cut_at + 1000 + dice.below(60_000)) } else { (0, 0) },
            away: (away_at, away_at + 500 + dice.below(80_000)),
            killed: dice.one_in(2),
            hangs_in,
            step: (20_000 + dice.below(90_000), i64::try_from(dice.below(240)).unwrap() - 120),
            polled: (hangs_in.is_none() && dice.one_in(3)).then(|| 700 + dice.below(40_000)),
            failsafe: dice.one_in(4),
            answer: dice.below(250),
        }
    }
}

/// What came of it.
pub struct Played {
    /// A moment at which the leader was held, and the moment at which the lock was another's, within what
    /// HAProxy remembers.
    pub overlap: Option<(u64, u64)>,
    /// When the lock was another's.
    pub taken: Option<u64>,
    /// The longest time over which it was held.
    pub held: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Sleeps,
    Works { until: u64 },
    Renews { since: u64, processed: Option<u64> },
    Demoted,
}

struct Leader<'a> {
    story: &'a Story,
    round: Round,
    rounds: u64,
    next: u64,
    number: i64,
    /// Until when its own clock lets it say that it leads.
    leads_until: i64,
    failsafe: bool,
    /// Until when it does, whatever that clock says.
    leads_truly_until: u64,
    /// The moment at which the store would let the lock go, and when another took it.
    lock_ends: u64,
    taken: Option<u64>,
    was_away: bool,
    /// When its last round began, which never ends.
    hangs_since: Option<u64>,
}

impl Leader<'_> {
    fn wall(&self, now: u64) -> i64 {
        let stepped = if now >= self.story.step.0 { self.story.step.1 * 1000 } else { 0 };
        1_700_000_000_000 + i64::try_from(now).unwrap() + stepped
    }

    fn is_away(&self, now: u64) -> bool {
        (self.story.away.0..self.story.away.1).contains(&now)
    }

    fn is_cut(&self, now: u64) -> bool {
        (self.story.cut.0..self.story.cut.1).contains(&now)
    }

    fn ttl(&self) -> u64 {
        u64::try_from(self.story.times.ttl.as_millis()).unwrap()
    }

    fn step(&mut self, now: u64) {
        if now >= self.lock_ends && self.taken.is_none() {
            self.taken = Some(now);
        }
        if self.is_away(now) {
            self.was_away = true;
            // What the store has got it works on.
            self.process(now);
            return;
        }
        if std::mem::take(&mut self.was_away) && self.story.killed {
            // A new process: it knows nothing.
            (self.round, self.next, self.hangs_since) = (Round::Sleeps, now + 200, None);
            (self.leads_until, self.failsafe, self.number) = (0, false, self.wall(now) / 1000);
        }
        if self.story.polled.is_some_and(|every| now.is_multiple_of(every / STEP * STEP)) {
            self.number = self.wall(now) / 1000;
        }
        match self.round {
            Round::Sleeps if now >= self.next => {
                // The read may be of a cache: it says what the store said last.
                self.number = self.wall(now) / 1000;
                self.rounds += 1;
                let loop_wait = u64::try_from(self.story.times.loop_wait.as_millis()).unwrap();
                self.next = (self.next + loop_wait).max(now);
                if self.taken.is_some() && !self.is_cut(now) {
                    (self.leads_until, self.round) = (0, Round::Demoted);
                } else {
                    self.round = Round::Works { until: now + self.story.busy };
                }
            }
            Round::Works { until } if now >= until => {
                if self.story.hangs_in.is_none_or(|round| self.rounds < round) {
                    self.round = Round::Renews { since: now, processed: None };
                } else {
                    self.hangs_since.get_or_insert(now);
                }
            }
            Round::Renews { .. } => {
                self.process(now);
                self.finish(now);
            }
            Round::Sleeps | Round::Works { .. } | Round::Demoted => {}
        }
    }

    /// The store's part of a renewal.
    fn process(&mut self, now: u64) {
        let (cut, ttl, slow) = (self.is_cut(now), self.ttl(), self.story.slow);
        if let Round::Renews { since, processed: processed @ None } = &mut self.round
            && !cut
            && now >= *since + slow / 2
        {
            *processed = Some(now);
            if self.taken.is_none() {
                self.lock_ends = now + ttl;
            }
        }
    }

    /// Patroni's part of it.
    fn finish(&mut self, now: u64) {
        let Round::Renews { since, processed } = self.round else { return };
        let retry_timeout = u64::try_from(self.story.times.retry_timeout.as_millis()).unwrap();
        match processed {
            Some(processed) if now >= processed + self.story.slow / 2 && !self.is_cut(now) => {
                if self.taken.is_some() {
                    (self.leads_until, self.round) = (0, Round::Demoted);
                    return;
                }
                let ttl = i64::try_from(self.ttl()).unwrap();
                (self.leads_until, self.failsafe) = (self.wall(now) + ttl, false);
                self.leads_truly_until = now + self.ttl();
                self.round = Round::Sleeps;
            }
            _ if now >= since + retry_timeout && self.story.failsafe => {
                let ttl = i64::try_from(self.ttl()).unwrap();
                (self.leads_until, self.failsafe) = (self.wall(now) + ttl, true);
                self.round = Round::Sleeps;
            }
            _ if now >= since + retry_timeout => {
                (self.leads_until, self.round) = (0, Round::Demoted);
            }
            _ => {}
        }
    }

    fn answer(&self, now: u64) -> Result<Observation, SourceError> {
        if self.is_away(now) {
            return fails(if self.story.killed { ErrorKind::Refused } else { ErrorKind::Timeout });
        }
        let patroni = Patroni {
            dcs_last_seen: Some(self.number),
            version: Some((4, 1)),
            failsafe: self.failsafe,
            times: Some(self.story.times),
            ..Patroni::default()
        };
        let not_running = (self.round == Round::Demoted).then(|| "stopping".into());
        Ok(Observation {
            leader: Some(self.leads_until > self.wall(now)),
            timeline: Some(Timeline(1)),
            patroni: Some(patroni),
            not_running,
            ..Observation::of(Role::Primary)
        })
    }
}

/// Plays a story.
pub fn play(story: &Story) -> Played {
    let mut leader = Leader {
        story,
        round: Round::Sleeps,
        rounds: 0,
        next: 700,
        number: 0,
        leads_until: 0,
        leads_truly_until: u64::MAX,
        failsafe: false,
        lock_ends: 30_000,
        taken: None,
        was_away: false,
        hangs_since: None,
    };
    let policy = policy(None);
    let mut facts = SourceFacts::default();
    let (mut looks_next, mut pending) = (0, None);
    let (mut last_held, mut longest) = (None, 0);
    for now in (0..LENGTH).step_by(usize::try_from(STEP).unwrap()) {
        leader.step(now);
        if pending.is_none() && now >= looks_next {
            let answer = leader.answer(now);
            let takes = match &answer {
                Err(error) if error.kind == ErrorKind::Timeout => TIMEOUT,
                _ => story.answer,
            };
            pending = Some((now, now + takes, answer));
            looks_next = now + INTERVAL;
        }
        if let Some((began, _, answer)) = pending.take_if(|(_, done, _)| now >= *done) {
            facts.record_own(at(now), at(began), answer);
        }
        let verdict = decide(at(now), std::slice::from_ref(&facts), Standing::default(), &policy);
        let began = facts.own.good().map_or(at(0), |(began, _)| began);
        let silence = at(now).since(began);
        // Until then it is Patroni's own fresh word, and that is false where its clock was set back and it has made no
        // round since: not for longer than a round may take, and for no moment where its number shows it. In failsafe
        // mode the word of the other members stands behind it.
        // Its beginning is known by the end of a look, and another look finds that it is late.
        let looks = ms(TIMEOUT + 2 * (INTERVAL + story.answer));
        let round = story.times.loop_wait.max(story.times.retry_timeout) + ms(1500) + looks;
        let hangs = leader.hangs_since.is_some_and(|since| at(now).since(at(since)) > round);
        let back = Duration::from_secs(u64::try_from(-story.step.1).unwrap_or(0));
        // The last true word is known for one look.
        let true_until = leader.leads_truly_until.saturating_add(INTERVAL + TIMEOUT);
        let shown = story.step.0 <= story.away.1 && story.polled.is_none();
        let lies = now > true_until && back > round && shown;
        let doubtful = (hangs || lies) && !story.failsafe;
        let fresh = silence <= ms(INTERVAL + TIMEOUT) && !doubtful;
        if verdict.state == State::Ready && !fresh {
            longest = longest.max(u64::try_from(silence.as_millis()).unwrap());
            if leader.taken.is_none() {
                last_held = Some(now);
            } else {
                let overlap = Some((now, leader.taken.unwrap_or_default()));
                return Played { overlap, taken: leader.taken, held: ms(longest) };
            }
        }
    }
    let memory = u64::try_from(MEMORY.as_millis()).unwrap();
    let overlap = last_held.zip(leader.taken).filter(|(held, taken)| held + memory > *taken);
    Played { overlap, taken: leader.taken, held: ms(longest) }
}
