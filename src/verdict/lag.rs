//! How far behind a replica is, and whether that is too far.

use crate::look::observation::{Lack, Observation, Replay};
use crate::look::repmgr::named;
use crate::look::role::Role;
use crate::look::snapshot::{SourceFacts, usable};
use crate::look::stamp::Stamp;
use crate::verdict::policy::{LagLimit, Policy, Trust};
use crate::verdict::reason::{Excess, Reason};

/// How a replica follows, its lag in bytes counted from where its primary stands where that is known.
///
/// Its own receiver only knows the upstream's last word, and nothing of an upstream that is itself
/// behind; a repmgr standby whose service has a limit therefore asks the primary too.
pub fn replay(now: Stamp, source: &SourceFacts, trust: &Trust) -> Option<Replay> {
    let (_, seen) = source.own.good()?;
    let replay = seen.replay?;
    let lag_bytes = match primary(now, source, seen, trust) {
        Some(primary) => primary.lsn.zip(seen.lsn).map(|(at, own)| at.0.saturating_sub(own.0)),
        None => replay.lag_bytes,
    };
    Some(Replay { lag_bytes, ..replay })
}

/// What the primary that a repmgr standby's own table names said a moment ago.
fn primary<'a>(
    now: Stamp,
    source: &'a SourceFacts,
    seen: &Observation,
    trust: &Trust,
) -> Option<&'a Observation> {
    let own = seen.repmgr.as_deref()?;
    let peer = source.peers.get(&named(&own.table)?)?;
    let heard = usable(peer, now, trust.electorate.as_ref()?.life)?;
    let is_it = heard.seen.role == Some(Role::Primary) && heard.said.system == own.system;
    is_it.then_some(heard.seen)
}

/// A replica that replays an older timeline than its primary writes will never catch up by itself.
pub(crate) fn forked(now: Stamp, source: &SourceFacts, trust: &Trust) -> Option<Reason> {
    let (_, seen) = source.own.good()?;
    let primary = primary(now, source, seen, trust)?;
    let behind = seen.timeline? < primary.timeline?;
    behind.then_some(Reason::OldTimeline(seen.timeline?))
}

/// Whether a replica is over a limit: once over it, until it is at or under the lower mark of each.
/// Stays as it was where nothing is known.
pub fn over(now: Stamp, sources: &[SourceFacts], policy: &Policy, was: bool) -> bool {
    let Some(limit) = policy.lag else { return false };
    let known = sources.iter().zip(&policy.trust);
    let replays = known.filter_map(|(source, trust)| replay(now, source, trust));
    let over = |replay: Replay| {
        let bytes = limit.bytes.zip(replay.lag_bytes);
        let bytes = bytes.map(|(limit, behind)| behind > limit.mark(was));
        let time = limit.time.zip(replay.lag_time);
        let time = time.map(|(most, behind)| behind > most.mark(was));
        [bytes, time]
    };
    replays.flat_map(over).flatten().reduce(|one, other| one || other).unwrap_or(was)
}

/// The limit that a replica is over, if it is over one.
///
/// `lack`: why the server did not tell.
pub fn behind(
    replay: Option<Replay>,
    lack: Option<&Lack>,
    limit: LagLimit,
    was_over: bool,
) -> Option<Reason> {
    let unknown = || lack.cloned().map_or(Reason::LagUnknown, Reason::LagNotTold);
    if let Some(limit) = limit.bytes {
        let Some(bytes) = replay.and_then(|replay| replay.lag_bytes) else {
            return Some(unknown());
        };
        if bytes > limit.mark(was_over) {
            return Some(Reason::LagBytes(Excess { behind: bytes, limit }));
        }
    }
    if let Some(limit) = limit.time {
        let Some(time) = replay.and_then(|replay| replay.lag_time) else {
            return Some(unknown());
        };
        if time > limit.mark(was_over) {
            return Some(Reason::LagTime(Excess { behind: time, limit }));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::look::repmgr::{Answer, Attached, NodeId, Registered, Row};
    use crate::look::role::{Lsn, Timeline};
    use crate::look::snapshot::Snapshot;
    use crate::verdict::policy::{Electorate, Hysteresis, Pool, TwoNode};

    const LIFE: Duration = Duration::from_millis(1700);

    fn said(system: &str) -> Arc<Answer> {
        let row = |id, registered| Row {
            id: NodeId(id),
            name: "n".into(),
            registered,
            active: true,
            places: Vec::new().into(),
            shares_address: false,
        };
        Arc::new(Answer {
            me: Some(NodeId(2)),
            system: system.into(),
            table: vec![row(1, Registered::Primary), row(2, Registered::Standby)].into(),
            local_id: None,
            upstream: None,
            upstream_seen: None,
            told: None,
            attached: Attached::To(NodeId(1)),
            repmgrd_running: true,
            repmgrd_paused: false,
            failover_after: None,
        })
    }

    /// A standby that replayed 1,000 bytes and knows of 10 more; a primary of this cluster asked at
    /// `began` ms, which wrote 1,500 bytes on this timeline.
    fn facts(began: u64, system: &str, timeline: u32) -> SourceFacts {
        let replay = Replay { streaming: true, paused: false, lag_bytes: Some(10), lag_time: None };
        let standby = Observation {
            lsn: Some(Lsn(1000)),
            timeline: Some(Timeline(1)),
            replay: Some(replay),
            repmgr: Some(said("7")),
            ..Observation::of(Role::Replica)
        };
        let primary = Observation {
            lsn: Some(Lsn(1500)),
            timeline: Some(Timeline(timeline)),
            repmgr: Some(said(system)),
            ..Observation::of(Role::Primary)
        };
        let mut facts = SourceFacts::default();
        facts.own.record(Stamp::new(Duration::ZERO), Ok(standby));
        let mut peer = Snapshot::default();
        peer.record(Stamp::new(Duration::from_millis(began)), Ok(primary));
        facts.peers.insert(NodeId(1), peer);
        facts
    }

    fn trust() -> Trust {
        let electorate =
            Electorate { life: LIFE, memory: LIFE, two_node: TwoNode::Maint, trust_refused: true };
        let hold = Duration::ZERO;
        Trust {
            hold,
            look: hold,
            knows_lag: true,
            electorate: Some(electorate),
            hold_by_repmgr: false,
            lock: None,
        }
    }

    #[test]
    fn bytes_are_counted_from_the_primary_while_its_answer_lives_else_from_the_receiver() {
        let now = Stamp::new(LIFE);
        for (facts, bytes) in
            [(facts(1, "7", 1), 500), (facts(0, "7", 1), 10), (facts(1, "another cluster", 1), 10)]
        {
            assert_eq!(replay(now, &facts, &trust()).unwrap().lag_bytes, Some(bytes));
        }
    }

    #[test]
    fn a_timeline_that_the_primary_has_left_is_seen() {
        let now = Stamp::new(LIFE);
        assert_eq!(forked(now, &facts(1, "7", 1), &trust()), None);
        let old = Some(Reason::OldTimeline(Timeline(1)));
        assert_eq!(forked(now, &facts(1, "7", 2), &trust()), old);
        assert_eq!(forked(now, &facts(0, "7", 2), &trust()), None, "an answer too old");
    }

    /// A replica that went over either limit stays out until it is back under both lower marks.
    #[test]
    fn either_limit_is_gone_over_and_both_are_come_back_under() {
        let limit = LagLimit {
            bytes: Some(Hysteresis { max: 100, resume: 50 }),
            time: Some(Hysteresis::time(Duration::from_secs(8))),
            on_lag: crate::verdict::policy::OnLag::Maint,
        };
        let trust = Trust { electorate: None, ..trust() };
        let roles = vec![Role::Replica];
        let policy = Policy {
            roles,
            pool: Pool::default(),
            lag: Some(limit),
            settle: Duration::ZERO,
            trust: vec![trust],
        };
        let is_over = |bytes, time: Option<u64>, was| {
            let lag_time = time.map(Duration::from_secs);
            let replay = Replay { streaming: true, paused: false, lag_bytes: bytes, lag_time };
            let seen = Observation { replay: Some(replay), ..Observation::of(Role::Replica) };
            let mut facts = SourceFacts::default();
            facts.own.record(Stamp::new(Duration::ZERO), Ok(seen));
            over(Stamp::new(Duration::ZERO), &[facts], &policy, was)
        };
        for (bytes, time, was, wanted) in [
            (Some(100), Some(8), false, false),
            (Some(101), Some(0), false, true),
            (Some(0), Some(9), false, true),
            (Some(101), Some(9), false, true),
            (Some(50), Some(6), true, false),
            (Some(51), Some(0), true, true),
            (Some(0), Some(7), true, true),
            // What is not known changes nothing.
            (None, None, true, true),
            (None, None, false, false),
            (None, Some(6), true, false),
        ] {
            assert_eq!(is_over(bytes, time, was), wanted, "{bytes:?} {time:?} {was}");
        }
    }
}
