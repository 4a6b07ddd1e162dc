//! What one look shows of a replica: of which kind it is, and whether it follows as it should.

use crate::look::observation::{Observation, Replay};
use crate::look::role::Role;

/// Major and minor number from which on Patroni says of a replica whether its primary waits for it (3.0.0 does not,
/// 3.0.4 does).
const SAYS_KIND: (u16, u16) = (3, 1);

/// What kind of replica an observation shows: as it says, and where a Patroni says nothing that knows its store
/// (somebody holds the leader lock), one that nobody waits for. `None` where it shows none, or nobody can say.
pub fn kind(seen: &Observation) -> Option<Role> {
    let role = seen.role?;
    if role.is_kind_of_replica() {
        return Some(role);
    }
    let patroni = seen.patroni.filter(|_| role == Role::Replica)?;
    let says = !patroni.unlocked && patroni.version >= Some(SAYS_KIND);
    says.then_some(Role::AsyncReplica)
}

/// Whether nothing is amiss with how an observed replica follows: it streams, it is kept in archive recovery, or
/// nobody leads from whom it could stream. `None` where that is not known, and for what is no replica: a standby
/// leader may follow an archive alone.
pub fn follows(seen: &Observation) -> Option<bool> {
    let Replay { streaming, .. } = seen.replay?;
    let replica = seen.role.is_some_and(|role| role.fills(Role::Replica));
    let alone = seen.patroni.is_some_and(|patroni| patroni.unlocked);
    let kept = seen.tags.as_ref().is_some_and(|tags| tags.is_on("nostream"));
    replica.then_some(streaming || alone || kept)
}
