//! What the monitor of pg_auto_failover says of the nodes of one group: the facts that rule M reads.
//!
//! The monitor keeps one row a node in `pgautofailover.node`. A row holds what the node's own keeper said last, once a
//! second (`reportedstate`, `reportedpgisrunning`, `reportedtli`, `reporttime`), what the monitor wants the node to be
//! (`goalstate`), and whether the monitor's own connection to the server succeeded (`health`, `healthchecktime`). Only
//! the monitor decides who is the primary, so a row is worth as much as it is young.

use std::sync::Arc;
use std::time::Duration;

use crate::look::error::SourceError;
use crate::look::role::Timeline;
use crate::look::stamp::Stamp;

/// A keeper that reported within this time runs: it reports once a second.
const REPORTS_WITHIN: Duration = Duration::from_secs(5);

/// A health check that is no older than this stands: the monitor makes one every 5 s
/// (`pgautofailover.health_check_period`).
const CHECKS_WITHIN: Duration = Duration::from_secs(10);

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident => $word:literal;)*) => {
        /// A state of a node, as pg_auto_failover 1.6 to 2.3 have it (`pgautofailover.replication_state`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum NodeState { $($(#[$doc])* $state,)* }

        impl NodeState {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$state,)*];

            /// The monitor's word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$state => $word,)* }
            }
        }
    };
}

states! {
    /// Nothing was reported yet.
    Unknown => "unknown";
    /// The node is being set up.
    Init => "init";
    /// The only node of its group: it takes writes.
    Single => "single";
    /// It takes writes, and waits for a standby.
    WaitPrimary => "wait_primary";
    /// It takes writes, and a standby follows.
    Primary => "primary";
    /// It is to stop taking writes, for a switchover.
    Draining => "draining";
    /// It is to be down by the end of `primary_demote_timeout`.
    DemoteTimeout => "demote_timeout";
    /// It was the primary, and its server is stopped.
    Demoted => "demoted";
    /// A standby that does not count yet.
    Catchingup => "catchingup";
    /// A standby that may be promoted.
    Secondary => "secondary";
    /// It is being promoted, and refuses writes.
    PreparePromotion => "prepare_promotion";
    /// It is promoted, and refuses writes until the old primary is certain to be stopped.
    StopReplication => "stop_replication";
    /// It waits until the primary lets it copy its data.
    WaitStandby => "wait_standby";
    /// An operator took it out.
    Maintenance => "maintenance";
    /// It takes writes, and lets one more standby join.
    JoinPrimary => "join_primary";
    /// It takes writes, and changes its settings.
    ApplySettings => "apply_settings";
    /// A primary that an operator takes out: its server is being stopped.
    PrepareMaintenance => "prepare_maintenance";
    /// A standby that an operator takes out.
    WaitMaintenance => "wait_maintenance";
    /// It reports how far it came, for the choice of a new primary among several.
    ReportLsn => "report_lsn";
    /// It fetches what another standby has and it has not, to be promoted.
    FastForward => "fast_forward";
    /// It follows the new primary again.
    JoinSecondary => "join_secondary";
    /// It is being removed.
    Dropped => "dropped";
}

impl NodeState {
    /// The state of this word.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == word)
    }

    /// Whether a node in this state takes writes (`CanTakeWritesInState` of the monitor; its documentation adds
    /// `prepare_maintenance`, where the server is stopped, and lacks `join_primary`).
    pub fn takes_writes(self) -> bool {
        matches!(
            self,
            Self::Single
                | Self::WaitPrimary
                | Self::Primary
                | Self::JoinPrimary
                | Self::ApplySettings
        )
    }
}

/// The monitor's number of a node, which is never used again.
pub type MonitorId = i64;

/// One row of `pgautofailover.node`; what no rule reads is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `nodeid`
    pub id: MonitorId,
    /// `nodename`: may be used again by another node, once this one was dropped.
    pub name: Arc<str>,
    /// `nodehost`: where the other nodes reach it.
    pub host: Arc<str>,
    /// `nodeport`
    pub port: u16,
    /// `reportedstate`
    pub reported: NodeState,
    /// `goalstate`
    pub goal: NodeState,
    /// `reportedpgisrunning`
    pub running: bool,
    /// How old `reporttime` was, by the monitor's clock.
    pub reported_ago: Duration,
    /// `health` is 1.
    pub healthy: bool,
    /// How old `healthchecktime` was, by the monitor's clock.
    pub checked_ago: Duration,
    /// `candidatepriority` is more than 0: it may be promoted.
    pub candidate: bool,
    /// `reportedtli`
    pub timeline: Timeline,
    /// `sysidentifier`; `None` before the node has reported it.
    pub system: Option<i64>,
}

impl Row {
    /// What both states of the row agree on; `None` while the node is on the way from one to another.
    pub fn settled(&self) -> Option<Settled> {
        if self.reported.takes_writes() && self.goal.takes_writes() {
            return Some(Settled::Primary);
        }
        let secondary = [self.reported, self.goal] == [NodeState::Secondary; 2];
        secondary.then_some(Settled::Secondary)
    }

    /// Whether the node's keeper has reported lately.
    pub fn reports(&self) -> bool {
        self.reported_ago < REPORTS_WITHIN
    }

    /// Whether the monitor has reached the node's server lately.
    fn is_reached(&self) -> bool {
        self.healthy && self.checked_ago < CHECKS_WITHIN
    }
}

/// What a node is, where its keeper and the monitor agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It takes writes.
    Primary,
    /// It follows, and may be promoted.
    Secondary,
}

/// The row of a node by its number.
pub fn row(rows: &[Row], id: MonitorId) -> Option<&Row> {
    rows.iter().find(|row| row.id == id)
}

/// Whether the monitor vouches for a node now: its keeper has reported lately, or has not, and the monitor reaches its
/// server.
///
/// The second alone is not enough where the group has other nodes and none of them reports: the keepers may all
/// have gone to another monitor, of which this one knows nothing, or this one was restored and holds what was.
pub fn vouched_for(rows: &[Row], own: &Row) -> bool {
    let alone = rows.iter().all(|row| row.id == own.id);
    own.reports() || (own.is_reached() && (alone || rows.iter().any(Row::reports)))
}

/// What the monitor said last of the group of a node, and when it vouched for the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The rows of the group; empty where it has none for this node.
    pub rows: Arc<[Row]>,
    /// Which of them is this node's.
    pub me: Option<MonitorId>,
    /// When the look began in which it last vouched for what the node's row settles.
    pub vouched_at: Option<Stamp>,
}

impl Known {
    /// The node's own row.
    pub fn own(&self) -> Option<&Row> {
        row(&self.rows, self.me?)
    }

    /// Notes what the monitor answered in a look that began at `began`; whether it vouches for the node.
    ///
    /// Where it does not, what it vouched for before stands only while the row settles the same.
    pub fn hear(&mut self, began: Stamp, me: Option<MonitorId>, rows: Vec<Row>) -> bool {
        let before = std::mem::take(self);
        *self = Self { rows: rows.into(), me, vouched_at: None };
        let settled = |known: &Self| known.own().and_then(Row::settled);
        let vouches = self.own().is_some_and(|own| vouched_for(&self.rows, own));
        if vouches {
            self.vouched_at = Some(began);
        } else if before.me == me && settled(&before) == settled(self) {
            self.vouched_at = before.vouched_at;
        }
        vouches
    }
}

/// What is known of a node by its monitor, and of its server beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitored {
    /// What the monitor said.
    pub known: Known,
    /// Why it did not vouch for the node in the last look.
    pub lost: Option<SourceError>,
    /// How long a yes of a primary may stand at most once nobody vouches for it: over, before the monitor lets
    /// another node take writes.
    pub most_hold: Duration,
    /// `system_identifier` of the node's own server.
    pub system: i64,
    /// Whether every candidate of the group that could be promoted still follows this server. `None`: nobody asked.
    pub followed: Option<bool>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row as of a node that is well.
    pub(crate) fn a_row(id: MonitorId, state: NodeState) -> Row {
        Row {
            id,
            name: format!("n{id}").into(),
            host: format!("10.0.0.{id}").into(),
            port: 5432,
            reported: state,
            goal: state,
            running: true,
            reported_ago: Duration::from_millis(700),
            healthy: true,
            checked_ago: Duration::from_secs(3),
            candidate: true,
            timeline: Timeline(1),
            system: Some(7),
        }
    }

    #[test]
    fn there_are_the_22_states_of_pg_auto_failover_and_five_take_writes() {
        assert_eq!(NodeState::ALL.len(), 22);
        for state in NodeState::ALL {
            assert_eq!(NodeState::read(state.as_str()), Some(*state));
        }
        assert_eq!(NodeState::read("Primary"), None);
        let takes = NodeState::ALL.iter().filter(|state| state.takes_writes());
        let takes: Vec<_> = takes.map(|state| state.as_str()).collect();
        assert_eq!(takes, ["single", "wait_primary", "primary", "join_primary", "apply_settings"]);
    }

    #[test]
    fn a_row_settles_what_keeper_and_monitor_agree_on() {
        use NodeState::{Primary, Secondary, Single, WaitPrimary};
        let settled = |reported, goal| Row { reported, goal, ..a_row(1, Primary) }.settled();
        assert_eq!(settled(Primary, Primary), Some(Settled::Primary));
        assert_eq!(settled(Single, WaitPrimary), Some(Settled::Primary));
        assert_eq!(settled(Secondary, Secondary), Some(Settled::Secondary));
        for other in NodeState::ALL.iter().filter(|state| !state.takes_writes()) {
            assert_eq!(settled(Primary, *other), None);
            assert_eq!(settled(*other, Primary), None);
            let secondary = *other == Secondary;
            assert_eq!(settled(*other, Secondary).is_some(), secondary);
            assert_eq!(settled(Secondary, *other).is_some(), secondary);
        }
    }

    #[test]
    fn what_was_vouched_for_stands_while_the_row_settles_the_same() {
        let at = |seconds| Stamp::new(Duration::from_secs(seconds));
        let own = a_row(1, NodeState::Primary);
        let old = Row { reported_ago: Duration::from_secs(61), healthy: false, ..own.clone() };
        let condemned = Row { goal: NodeState::DemoteTimeout, ..old.clone() };
        let mut known = Known::default();
        assert!(!known.hear(at(1), Some(1), vec![old.clone()]));
        assert_eq!(known.vouched_at, None);
        assert!(known.hear(at(2), Some(1), vec![own.clone()]));
        assert!(!known.hear(at(3), Some(1), vec![old.clone()]));
        assert_eq!(known.vouched_at, Some(at(2)));
        assert!(!known.hear(at(4), Some(1), vec![condemned]));
        assert_eq!(known.vouched_at, None);
        assert!(!known.hear(at(5), Some(1), vec![old.clone()]), "no older yes speaks again");
        assert_eq!(known.vouched_at, None);
        // Another node has its name now.
        assert!(known.hear(at(6), Some(1), vec![own]));
        assert!(!known.hear(at(7), Some(2), vec![Row { id: 2, ..old }]));
        assert_eq!(known.vouched_at, None);
        assert!(!known.hear(at(8), None, Vec::new()));
    }

    #[test]
    fn a_monitor_vouches_by_a_report_or_by_its_own_check() {
        let own = a_row(1, NodeState::Primary);
        let other = a_row(2, NodeState::Secondary);
        let silent = |row: &Row| Row { reported_ago: Duration::from_secs(61), ..row.clone() };
        let vouched = |own: Row, others: &[Row]| {
            let rows = [std::slice::from_ref(&own), others].concat();
            vouched_for(&rows, &own)
        };
        assert!(vouched(own.clone(), &[]));
        assert!(vouched(own.clone(), &[silent(&other)]));
        // Its keeper is dead, and its server is not.
        assert!(vouched(silent(&own), std::slice::from_ref(&other)));
        assert!(vouched(silent(&own), &[]));
        let unreached = Row { healthy: false, ..silent(&own) };
        assert!(!vouched(unreached, std::slice::from_ref(&other)));
        let checked_long_ago = Row { checked_ago: Duration::from_secs(10), ..silent(&own) };
        assert!(!vouched(checked_long_ago, std::slice::from_ref(&other)));
        // Nobody reports to this monitor any more.
        assert!(!vouched(silent(&own), &[silent(&other)]));
        let at_the_limit = Row { reported_ago: Duration::from_secs(5), healthy: false, ..own };
        assert!(!vouched(at_the_limit, &[other]));
    }
}
