//! Which replicas a service wants: of which kind, with which tags, streaming or not.
//!
//! Patroni alone knows which replicas its primary waits for, and it knows that from its consensus store. While
//! that is lost, what a replica was when it was last known counts: who reads loses nobody for it.

use std::time::Duration;

use crate::look::observation::{Observation, Replay};
use crate::look::replica::follows;
use crate::look::role::Role;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::policy::{ReplicationState, Trust};
use crate::verdict::reason::Reason;

/// How long a replica that streamed may be without its stream, where nobody chose: as long as PostgreSQL itself
/// bears an upstream that says nothing (`wal_receiver_timeout`, 60 s where nobody sets it). A failover or a restart of the
/// upstream takes less, and those who read shall not notice either.
pub(crate) const BEARS: Duration = Duration::from_secs(60);

/// Whether a server has a role that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It has, and this one is said.
    Yes(Role),
    /// It has another one.
    No,
    /// It is a replica, and nobody knows now of which kind.
    Unknown,
}

/// Whether `role` is one of those `asked`. `kind`: what kind of replica it is, where that is known;
/// `recovery_alone`: the source is PostgreSQL itself, which knows whether it is in recovery, and not what it is
/// to its primary; another source beside it does.
pub fn fit(role: Role, kind: Option<Role>, asked: &[Role], recovery_alone: bool) -> Fit {
    if asked.iter().any(|asked| role.fills(*asked)) {
        return Fit::Yes(role);
    }
    if role != Role::Replica {
        return Fit::No;
    }
    if recovery_alone {
        let by_another = asked.iter().any(|asked| *asked != Role::Primary);
        return if by_another { Fit::Yes(role) } else { Fit::No };
    }
    if !asked.iter().any(|asked| asked.is_kind_of_replica()) {
        return Fit::No;
    }
    match kind {
        // The kind may be what it was before its store was lost.
        Some(kind) if asked.iter().any(|asked| kind.fills(*asked)) => {
            Fit::Yes(if kind == Role::AsyncReplica { role } else { kind })
        }
        Some(_) => Fit::No,
        None => Fit::Unknown,
    }
}

/// Whether a replica may serve by how it follows: until when that is borne, where it is not as it should be; or why it
/// may not. `source` holds what was seen of it before.
///
/// Errors: [`Reason::NotStreaming`], and [`Reason::StreamUnknown`] where it must stream and its source should
/// know whether it does.
pub(crate) fn following(
    now: Stamp,
    seen: &Observation,
    source: &SourceFacts,
    trust: &Trust,
    wanted: ReplicationState,
) -> Result<Option<Stamp>, Reason> {
    if !seen.role.is_some_and(|role| role.fills(Role::Replica)) {
        return Ok(None);
    }
    match wanted {
        ReplicationState::Any => Ok(None),
        ReplicationState::Streaming => match seen.replay {
            Some(Replay { streaming: true, .. }) => Ok(None),
            Some(_) => Err(Reason::NotStreaming),
            None if trust.knows_lag || trust.lock.is_some() => Err(Reason::StreamUnknown),
            None => Ok(None),
        },
        // PostgreSQL alone does not know whether anybody leads: without a failover the reads of a cluster would
        // end soon after its primary.
        ReplicationState::Usual if trust.electorate.is_none() && trust.lock.is_none() => Ok(None),
        ReplicationState::Usual => match (follows(seen), source.followed_at) {
            (None | Some(true), _) => Ok(None),
            (Some(false), Some(followed)) if now.since(followed) <= BEARS => {
                Ok(Some(followed.plus(BEARS)))
            }
            (Some(false), _) => Err(Reason::NotStreaming),
        },
    }
}

#[cfg(test)]
mod tests;
