//! Whether a standby of a repmgr cluster serves what its primary wrote.

use std::time::Duration;

use crate::look::observation::Observation;
use crate::look::repmgr::{Registered, row};
use crate::look::role::Role;
use crate::verdict::reason::Reason;

/// What speaks against a node of a repmgr cluster that is no candidate for the primary: a witness,
/// or a standby that does not keep up. `None` for every other node, and for every other source.
///
/// That it streams at all is asked of every replica (`pool/mod.rs`). A receiver goes on "streaming" for up to
/// `wal_receiver_timeout` after its upstream fell silent; a rejoined old primary is in recovery for a moment before its
/// own row says standby.
///
/// A standby that is kept behind on purpose (`recovery_min_apply_delay`) serves only where the
/// service's time limit, `most_behind`, covers that.
pub fn unfit(seen: &Observation, most_behind: Option<Duration>) -> Option<Reason> {
    let said = seen.repmgr.as_deref()?;
    let own = said.me.and_then(|me| row(&said.table, me));
    if own.is_some_and(|row| row.registered == Registered::Witness) {
        return Some(Reason::Witness);
    }
    if seen.role == Some(Role::Primary) {
        return None;
    }
    let Some(me) = said.me else { return Some(Reason::NodeUnknown) };
    let Some(own) = own else { return Some(Reason::NotRegistered(me)) };
    if let Some(told) = said.local_id.filter(|told| *told != me) {
        return Some(Reason::OtherNode { configured: me, told });
    }
    if own.registered != Registered::Standby || !own.active {
        return Some(Reason::NoStandby { registered: own.registered, active: own.active });
    }
    let (replay, upkeep) = (seen.replay?, seen.upkeep?);
    if let Some(heard) = upkeep.heard.filter(|heard| *heard > upkeep.silent_after) {
        return Some(Reason::UpstreamSilent(heard));
    }
    if replay.paused {
        return Some(Reason::ReplayPaused);
    }
    let delay = upkeep.apply_delay;
    (delay > most_behind.unwrap_or_default()).then_some(Reason::ApplyDelay(delay))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::look::observation::{Replay, Upkeep};
    use crate::look::repmgr::{Answer, Attached, NodeId, Row};

    fn a_row(id: i32, registered: Registered, active: bool) -> Row {
        let places = Vec::new().into();
        Row { id: NodeId(id), name: "n".into(), registered, active, places, shares_address: false }
    }

    fn said(table: Vec<Row>) -> Answer {
        Answer {
            me: Some(NodeId(2)),
            system: "7".into(),
            table: table.into(),
            local_id: None,
            upstream: None,
            upstream_seen: None,
            told: None,
            attached: Attached::To(NodeId(1)),
            repmgrd_running: true,
            repmgrd_paused: false,
            failover_after: None,
        }
    }

    fn table(registered: Registered, active: bool) -> Vec<Row> {
        vec![a_row(1, Registered::Primary, true), a_row(2, registered, active)]
    }

    fn standby(answer: Answer) -> Observation {
        Observation {
            replay: Some(Replay {
                streaming: true,
                paused: false,
                lag_bytes: Some(0),
                lag_time: Some(Duration::ZERO),
            }),
            upkeep: Some(Upkeep {
                heard: Some(Duration::from_secs(35)),
                silent_after: Duration::from_secs(35),
                apply_delay: Duration::ZERO,
            }),
            repmgr: Some(Arc::new(answer)),
            ..Observation::of(Role::Replica)
        }
    }

    fn well() -> Answer {
        said(table(Registered::Standby, true))
    }

    fn replay(change: impl FnOnce(&mut Replay)) -> Observation {
        let mut seen = standby(well());
        change(seen.replay.as_mut().unwrap());
        seen
    }

    fn upkeep(change: impl FnOnce(&mut Upkeep)) -> Observation {
        let mut seen = standby(well());
        change(seen.upkeep.as_mut().unwrap());
        seen
    }

    #[test]
    fn a_standby_serves_while_nothing_speaks_against_it() {
        let told = |id| Answer { local_id: Some(NodeId(id)), ..well() };
        let witness = said(table(Registered::Witness, true));
        let writable =
            |answer: Answer| Observation { role: Some(Role::Primary), ..standby(answer) };
        for (seen, label) in [
            (standby(well()), None),
            (standby(told(2)), None),
            (Observation::of(Role::Replica), None),
            (writable(said(table(Registered::Primary, true))), None),
            (standby(told(3)), Some("other_node")),
            (standby(Answer { me: None, ..well() }), Some("node_unknown")),
            (standby(Answer { me: Some(NodeId(4)), ..well() }), Some("not_registered")),
            (standby(said(table(Registered::Standby, false))), Some("no_standby")),
            // An old primary that was rejoined a moment ago.
            (standby(said(table(Registered::Primary, true))), Some("no_standby")),
            (standby(witness.clone()), Some("witness")),
            (Observation { role: None, ..standby(witness) }, Some("witness")),
            (replay(|replay| replay.paused = true), Some("replay_paused")),
            (upkeep(|u| u.heard = Some(Duration::from_secs(36))), Some("upstream_silent")),
            (upkeep(|u| u.apply_delay = Duration::from_millis(1)), Some("apply_delay")),
        ] {
            assert_eq!(unfit(&seen, None).map(|reason| reason.label()), label, "{seen:?}");
        }
    }

    #[test]
    fn a_standby_kept_behind_serves_where_the_time_limit_covers_it() {
        let mut seen = standby(said(table(Registered::Standby, true)));
        let delay = Duration::from_secs(60);
        seen.upkeep.as_mut().unwrap().apply_delay = delay;
        assert_eq!(unfit(&seen, None), Some(Reason::ApplyDelay(delay)));
        assert_eq!(unfit(&seen, Some(Duration::from_secs(59))), Some(Reason::ApplyDelay(delay)));
        assert_eq!(unfit(&seen, Some(delay)), None);
    }
}
