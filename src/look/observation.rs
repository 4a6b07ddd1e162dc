//! What one look at one server showed, or why it showed nothing. No opinion, no time.

use std::sync::Arc;
use std::time::Duration;

use crate::look::auto_failover::Monitored;
use crate::look::patroni::Patroni;
use crate::look::release::Release;
use crate::look::repmgr::Answer;
use crate::look::role::{Lsn, Role, Timeline};
use crate::look::tags::Tags;

/// What a server said at one look.
///
/// Fields that a source cannot know stay at [`Observation::of`]'s values. A field that a source
/// should know and cannot read is a [`SourceError`](crate::look::error::SourceError), never a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What the node is. `None` only where a server said no without saying what it is (Patroni's
    /// status 503 with a body that cannot be read).
    pub role: Option<Role>,
    /// Whether the cluster's own lock stands behind the node as primary. `None`: the source knows
    /// no lock.
    pub leader: Option<bool>,
    /// Patroni's word for the server's state where that is not `running`.
    pub not_running: Option<Arc<str>>,
    /// Somebody answers in PostgreSQL's protocol, and more is not known: the source knows no role.
    pub answers: bool,
    /// `default_transaction_read_only` is on: a primary that would refuse writes.
    pub read_only: bool,
    /// The operator's Patroni tag `noloadbalance`: no reads are wanted here.
    pub no_load_balance: bool,
    /// The tags of a running member of a Patroni cluster; `None` from every other source.
    pub tags: Option<Arc<Tags>>,
    /// The timeline the server writes or replays.
    pub timeline: Option<Timeline>,
    /// Where the server writes (a primary) or has replayed to (a replica).
    pub lsn: Option<Lsn>,
    /// How a replica follows; `None` for a primary, and where the source cannot know.
    pub replay: Option<Replay>,
    /// Why it is not known how a replica follows, where the server would have to say it.
    pub lack: Option<Lack>,
    /// When the certificates of a look by TLS end.
    pub expiry: Expiry,
    /// What Patroni says beside role and state; `None` from every other source.
    pub patroni: Option<Patroni>,
    /// How well a standby of a repmgr cluster keeps up; `None` from every other source.
    pub upkeep: Option<Upkeep>,
    /// What a node of a repmgr cluster said of the cluster; `None` from every other source.
    pub repmgr: Option<Arc<Answer>>,
    /// What the monitor of pg_auto_failover says of the node; `None` from every other source.
    pub monitored: Option<Arc<Monitored>>,
    /// What the rolecall of another data node said that was asked to give way; `None` from every server.
    pub release: Option<Arc<Release>>,
}

impl Observation {
    /// A running server of this role about which nothing else is known.
    pub fn of(role: Role) -> Self {
        Self {
            role: Some(role),
            leader: None,
            not_running: None,
            answers: false,
            read_only: false,
            no_load_balance: false,
            tags: None,
            timeline: None,
            lsn: None,
            replay: None,
            lack: None,
            expiry: Expiry::default(),
            patroni: None,
            upkeep: None,
            repmgr: None,
            monitored: None,
            release: None,
        }
    }

    /// Somebody answers, whatever the server is.
    pub fn answers() -> Self {
        Self { role: None, answers: true, ..Self::of(Role::Replica) }
    }

    /// A server that said no without saying what it is.
    pub fn no_role() -> Self {
        Self { role: None, leader: Some(false), ..Self::of(Role::Replica) }
    }
}

/// When certificates end, in seconds since 1970; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expiry {
    /// The one that is shown to a server that asks for one.
    pub own: Option<i64>,
    /// The one that the server showed.
    pub peer: Option<i64>,
}

/// How a replica follows its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The WAL receiver is connected and streaming.
    pub streaming: bool,
    /// Somebody called `pg_wal_replay_pause()`.
    pub paused: bool,
    /// Bytes between the upstream's last word of its position and what is replayed here. `None`
    /// without a receiver: a replica that is cut off has no idea how far behind it is.
    pub lag_bytes: Option<u64>,
    /// Upper bound of how old the replayed data is: zero where nothing is left to replay, else the
    /// age of the last replayed commit. `None`: unknown.
    pub lag_time: Option<Duration>,
}

/// Why a server that was asked how its replica follows did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// It refused a part of what was asked, in these words: it has no such function, or not for this server.
    Part(Arc<str>),
    /// This user is not shown what the WAL receiver does.
    Hidden,
}

/// What a standby needs beside a streaming receiver, to serve what its primary wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upkeep {
    /// How long ago the receiver last heard of its upstream. `None` without a receiver.
    pub heard: Option<Duration>,
    /// A receiver that hears nothing for longer than this streams from nobody: 5 s more than the
    /// half of `wal_receiver_timeout`, when it asks an idle upstream for a sign, and 10 s at least.
    pub silent_after: Duration,
    /// `recovery_min_apply_delay`
    pub apply_delay: Duration,
}
