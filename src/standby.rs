//! Whether a standby of a repmgr cluster serves what its primary wrote.

use crate::electorate::{Registered, row};
use crate::observation::Observation;
use crate::reason::Reason;
use crate::role::Role;

/// What speaks against a node of a repmgr cluster that is no candidate for the primary: a witness,
/// or a standby that does not keep up. `None` for every other node, and for every other source.
///
/// A receiver goes on "streaming" for up to `wal_receiver_timeout` after its upstream fell silent;
/// a rejoined old primary is in recovery for a moment before its own row says standby.
pub fn unfit(seen: &Observation) -> Option<Reason> {
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
    if !replay.streaming {
        return Some(Reason::NotStreaming);
    }
    if let Some(heard) = upkeep.heard.filter(|heard| *heard > upkeep.silent_after) {
        return Some(Reason::UpstreamSilent(heard));
    }
    if replay.paused {
        return Some(Reason::ReplayPaused);
    }
    (!upkeep.apply_delay.is_zero()).then_some(Reason::ApplyDelay(upkeep.apply_delay))
}
