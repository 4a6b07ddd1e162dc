//! What a PostgreSQL node can be, and the two numbers that order its history.

use std::fmt;
use std::str::FromStr;

/// What a node is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Out of recovery: it takes writes.
    Primary,
    /// In recovery, replaying what a primary wrote.
    Replica,
    /// A replica the primary waits for before it confirms a commit.
    SyncReplica,
    /// One of several replicas, of which the primary waits for whichever are first (Patroni 4, quorum commit).
    QuorumReplica,
    /// A replica that the primary waits for never. Services ask for it; of a server `Replica` is said, as
    /// Patroni's own `/cluster` does.
    AsyncReplica,
    /// The leader of a Patroni standby cluster: in recovery, replaying another cluster.
    StandbyLeader,
}

/// Every role, in the order they are listed to a person.
pub const ROLES: [Role; 6] = [
    Role::Primary,
    Role::Replica,
    Role::SyncReplica,
    Role::QuorumReplica,
    Role::AsyncReplica,
    Role::StandbyLeader,
];

impl Role {
    /// The word for this role in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::SyncReplica => "sync_replica",
            Self::QuorumReplica => "quorum_replica",
            Self::AsyncReplica => "async_replica",
            Self::StandbyLeader => "standby_leader",
        }
    }

    /// Whether this says what a replica is to its primary.
    pub(crate) fn is_kind_of_replica(self) -> bool {
        matches!(self, Self::SyncReplica | Self::QuorumReplica | Self::AsyncReplica)
    }

    /// Whether a node of this role also fills the role `asked`: every kind of replica is a replica, and one
    /// of a quorum is synchronous.
    pub fn fills(self, asked: Self) -> bool {
        self == asked
            || (asked == Self::Replica && self.is_kind_of_replica())
            || (asked == Self::SyncReplica && self == Self::QuorumReplica)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    /// Reads the words of PostgreSQL, repmgr and Patroni. `master` is read, never printed: Patroni
    /// said it up to 3.x and says `primary` from 4.0.
    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        match word {
            "primary" | "master" => Ok(Self::Primary),
            "replica" | "standby" => Ok(Self::Replica),
            "sync_replica" => Ok(Self::SyncReplica),
            "quorum_replica" => Ok(Self::QuorumReplica),
            "async_replica" => Ok(Self::AsyncReplica),
            "standby_leader" => Ok(Self::StandbyLeader),
            _ => Err(UnknownRole(word.to_owned())),
        }
    }
}

/// A PostgreSQL timeline: counts promotions in the history of a cluster. From 1 up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in the write-ahead log, in bytes since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    /// PostgreSQL's own form: `0/3000060`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_read_back_from_its_own_word() {
        for role in ROLES {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
    }

    #[test]
    fn master_is_read_and_never_printed() {
        assert_eq!("master".parse(), Ok(Role::Primary));
        assert_eq!(Role::Primary.to_string(), "primary");
    }

    #[test]
    fn a_word_of_another_case_or_kind_is_no_role() {
        for word in ["Primary", "leader", "", "uninitialized", "demoted"] {
            assert_eq!(word.parse::<Role>(), Err(UnknownRole(word.to_owned())));
        }
    }

    #[test]
    fn every_kind_of_replica_is_a_replica_and_not_the_reverse() {
        use Role::{AsyncReplica, Primary, QuorumReplica, Replica, StandbyLeader, SyncReplica};
        let filled = |role: Role| ROLES.into_iter().filter(|asked| role.fills(*asked)).collect();
        let of: [(Role, Vec<Role>); 6] = [
            (Primary, vec![Primary]),
            (Replica, vec![Replica]),
            (SyncReplica, vec![Replica, SyncReplica]),
            (QuorumReplica, vec![Replica, SyncReplica, QuorumReplica]),
            (AsyncReplica, vec![Replica, AsyncReplica]),
            (StandbyLeader, vec![StandbyLeader]),
        ];
        for (role, wanted) in of {
            let filled: Vec<Role> = filled(role);
            assert_eq!(filled, wanted, "{role}");
            assert_eq!(role.is_kind_of_replica(), filled.len() > 1, "{role}");
        }
    }

    #[test]
    fn an_lsn_prints_as_postgresql_prints_it() {
        assert_eq!(Lsn(0x0000_0001_0300_0060).to_string(), "1/3000060");
    }
}
