//! What a PostgreSQL server says of its role: the part of a look that all sources share which ask
//! PostgreSQL.

use std::time::Duration;

use tokio_postgres::Row;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::{Lack, Observation, Replay};
use crate::look::role::{Lsn, Role, Timeline};
use crate::source::pg::column;

/// The columns of [`RoleRow`]; names that PostgreSQL 12 to 18 have.
///
/// * `pg_is_in_recovery()` is asked once, behind `OFFSET 0`, and decides the rest: the functions of
///   the other state raise an error, and `CASE` calls only those of the branch taken.
/// * Timeline out of recovery: from the name of the file that is written now, because
///   `pg_control_checkpoint()` shows the old one until the first checkpoint after a promotion has
///   ended. In recovery: the newest of what the last restartpoint, the recovery's least end and the
///   receiver know.
/// * `latest_end_lsn` is the upstream's last word of where it stands: null on a new receiver until
///   there is something to send or a keepalive is due (`wal_sender_timeout` / 2), and old for up to
///   `wal_receiver_timeout` where the network swallows everything. Receive minus replay would be
///   0 on a replica that is cut off, and negative after a restart.
/// * Differences of LSNs are `numeric`; `bigint` is what is read here.
/// * `default_transaction_read_only` is the session's: the server's setting, or what ALTER DATABASE
///   and ALTER ROLE made of it for this database and this user.
const COLUMNS: &str = "
       pg_backend_pid() AS pid,
       r.in_recovery,
       CASE WHEN r.in_recovery
            THEN GREATEST(c.timeline_id, e.min_recovery_end_timeline, w.received_tli)::bigint
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
       END AS timeline,
       (CASE WHEN r.in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0'::pg_lsn)::bigint AS lsn,
       current_setting('default_transaction_read_only')::boolean AS read_only,
       w.pid IS NOT NULL AS receiver,
       w.status AS receiver_status,
       (w.latest_end_lsn - '0/0'::pg_lsn)::bigint AS upstream_lsn,
       CASE WHEN r.in_recovery THEN pg_is_wal_replay_paused() END AS paused,
       CASE WHEN r.in_recovery
            THEN (EXTRACT(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
                  * 1000000)::bigint
       END AS commit_age_us";

const FROM: &str = "
  FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) r
 CROSS JOIN pg_control_checkpoint() c
 CROSS JOIN pg_control_recovery() e
  LEFT JOIN pg_stat_wal_receiver w ON true";

/// The query of a look: the columns of [`RoleRow`], then these, which may name the receiver as `w`
/// and what `joins` adds. One row.
pub fn query(columns: &[&str], joins: &str) -> String {
    let columns = [&[COLUMNS], columns].concat().join(",\n       ");
    format!("\nSELECT{columns}{FROM}{joins}")
}

/// The same columns for a server that lacks some of what [`query`] asks (Amazon Aurora raises an error for
/// the positions): the role, and whether it takes writes, which every server answers.
pub(crate) const LEAST: &str = "
SELECT pg_backend_pid() AS pid,
       pg_is_in_recovery() AS in_recovery,
       NULL::bigint AS timeline,
       NULL::bigint AS lsn,
       current_setting('default_transaction_read_only')::boolean AS read_only,
       false AS receiver,
       NULL::text AS receiver_status,
       NULL::bigint AS upstream_lsn,
       NULL::boolean AS paused,
       NULL::bigint AS commit_age_us";

/// When the server's postmaster was started, in microseconds since 1970: no two servers have that in common, and
/// a server keeps it until it is started again. Asked where one server is asked by several hosts.
pub const STARTED: &str =
    "(EXTRACT(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started";

/// Whether an error of a look says that the server lacks a part of what was asked: a function that is not
/// there, or not for this server, or not for this user.
pub(crate) fn is_lack(error: &SourceError) -> bool {
    // object_not_in_prerequisite_state, feature_not_supported, undefined function, table and column,
    // insufficient_privilege
    const LACKS: [&str; 6] = ["55000", "0A000", "42883", "42P01", "42703", "42501"];
    matches!(error.kind, ErrorKind::Query | ErrorKind::Grant)
        && LACKS.iter().any(|code| error.detail.contains(&format!("SQLSTATE {code}")))
}

/// What a server says of its role, as it came.
#[derive(Debug, Clone)]
pub struct RoleRow {
    /// The process that answered.
    pid: i32,
    in_recovery: bool,
    /// `None` where the server lacks it.
    timeline: Option<i64>,
    /// `None` in recovery before the first record is replayed.
    lsn: Option<i64>,
    read_only: bool,
    receiver: bool,
    receiver_status: Option<String>,
    upstream_lsn: Option<i64>,
    paused: Option<bool>,
    /// Microseconds; below zero where the primary's clock is ahead.
    commit_age_us: Option<i64>,
}

impl RoleRow {
    /// Reads the columns of [`query`]. [`ErrorKind::Malformed`] where one is missing.
    pub fn read(row: &Row) -> Result<Self, SourceError> {
        Ok(Self {
            pid: column(row, "pid")?,
            in_recovery: column(row, "in_recovery")?,
            timeline: column(row, "timeline")?,
            lsn: column(row, "lsn")?,
            read_only: column(row, "read_only")?,
            receiver: column(row, "receiver")?,
            receiver_status: column(row, "receiver_status")?,
            upstream_lsn: column(row, "upstream_lsn")?,
            paused: column(row, "paused")?,
            commit_age_us: column(row, "commit_age_us")?,
        })
    }

    /// The process that answered.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the server replays what another one writes.
    pub fn in_recovery(&self) -> bool {
        self.in_recovery
    }

    /// There is a receiver, and this user may not see what it does.
    pub fn hidden(&self) -> bool {
        self.in_recovery && self.receiver && self.receiver_status.is_none()
    }

    /// The role, and what goes with it. [`ErrorKind::Malformed`] where a value cannot be.
    pub fn observation(&self) -> Result<Observation, SourceError> {
        let number = |timeline| {
            let number = u32::try_from(timeline).ok().filter(|number| *number > 0);
            number.map(Timeline).ok_or_else(|| unexpected("timeline", timeline))
        };
        let timeline = self.timeline.map(number).transpose()?;
        let lsn = self.lsn.map(|lsn| position("lsn", lsn)).transpose()?;
        let role = if self.in_recovery { Role::Replica } else { Role::Primary };
        Ok(Observation {
            timeline,
            lsn: lsn.map(Lsn),
            read_only: !self.in_recovery && self.read_only,
            lack: self.hidden().then_some(Lack::Hidden),
            replay: if self.in_recovery && !self.hidden() && self.timeline.is_some() {
                Some(self.replay(lsn)?)
            } else {
                None
            },
            ..Observation::of(role)
        })
    }

    fn replay(&self, replayed: Option<u64>) -> Result<Replay, SourceError> {
        let paused = self.paused.ok_or_else(|| unexpected("paused", "null"))?;
        let streaming = self.receiver_status.as_deref() == Some("streaming");
        let upstream = self.upstream_lsn.map(|lsn| position("upstream_lsn", lsn)).transpose()?;
        let lag_bytes = match (upstream, replayed) {
            (Some(upstream), Some(replayed)) if streaming => {
                Some(upstream.saturating_sub(replayed))
            }
            _ => None,
        };
        let commit_age =
            self.commit_age_us.map(|us| Duration::from_micros(us.max(0).unsigned_abs()));
        let lag_time = if lag_bytes == Some(0) { Some(Duration::ZERO) } else { commit_age };
        Ok(Replay { streaming, paused, lag_bytes, lag_time })
    }
}

fn position(name: &str, lsn: i64) -> Result<u64, SourceError> {
    u64::try_from(lsn).map_err(|_| unexpected(name, lsn))
}

/// A value that cannot be.
pub(crate) fn unexpected(name: &str, value: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Malformed, format!("column `{name}` is {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary() -> RoleRow {
        RoleRow {
            pid: 1,
            in_recovery: false,
            timeline: Some(3),
            lsn: Some(0x3000),
            read_only: false,
            receiver: false,
            receiver_status: None,
            upstream_lsn: None,
            paused: None,
            commit_age_us: None,
        }
    }

    fn replica() -> RoleRow {
        RoleRow {
            in_recovery: true,
            receiver: true,
            receiver_status: Some("streaming".into()),
            upstream_lsn: Some(0x3010),
            paused: Some(false),
            commit_age_us: Some(1_500_000),
            ..primary()
        }
    }

    fn replay(answer: &RoleRow) -> Replay {
        answer.observation().unwrap().replay.unwrap()
    }

    #[test]
    fn a_primary_is_known_by_role_timeline_and_position() {
        let seen = primary().observation().unwrap();
        let expected = Observation {
            timeline: Some(Timeline(3)),
            lsn: Some(Lsn(0x3000)),
            ..Observation::of(Role::Primary)
        };
        assert_eq!(seen, expected);
    }

    #[test]
    fn read_only_is_said_of_a_primary_alone() {
        let read_only =
            |answer| RoleRow { read_only: true, ..answer }.observation().unwrap().read_only;
        assert!(read_only(primary()));
        assert!(!read_only(replica()));
    }

    #[test]
    fn lag_is_what_the_upstream_said_less_what_is_replayed() {
        let seen = replay(&replica());
        assert!(seen.streaming && !seen.paused);
        assert_eq!(replica().observation().unwrap().lack, None);
        assert_eq!(seen.lag_bytes, Some(0x10));
        assert_eq!(seen.lag_time, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn nothing_left_to_replay_is_no_lag_however_old_the_last_commit() {
        for upstream in [0x3000, 0x2000] {
            let seen = replay(&RoleRow { upstream_lsn: Some(upstream), ..replica() });
            assert_eq!((seen.lag_bytes, seen.lag_time), (Some(0), Some(Duration::ZERO)));
        }
    }

    #[test]
    fn a_replica_without_a_streaming_receiver_does_not_know_how_far_behind_it_is() {
        let cut_off = RoleRow { receiver: false, receiver_status: None, ..replica() };
        let waiting = RoleRow { receiver_status: Some("waiting".into()), ..replica() };
        for answer in [cut_off, waiting] {
            let seen = replay(&answer);
            assert!(!seen.streaming);
            assert_eq!(seen.lag_bytes, None);
            assert_eq!(seen.lag_time, Some(Duration::from_millis(1500)));
        }
        let silent = replay(&RoleRow { upstream_lsn: None, commit_age_us: None, ..replica() });
        assert_eq!((silent.lag_bytes, silent.lag_time), (None, None));
    }

    #[test]
    fn a_receiver_that_may_not_be_seen_leaves_the_replay_unknown() {
        let hidden = RoleRow { receiver_status: None, upstream_lsn: None, ..replica() };
        assert!(hidden.hidden());
        let seen = hidden.observation().unwrap();
        assert_eq!((seen.role, seen.replay), (Some(Role::Replica), None));
        assert_eq!(seen.lack, Some(Lack::Hidden));
        assert_eq!(seen.lsn, Some(Lsn(0x3000)));
    }

    #[test]
    fn a_server_that_lacks_the_rest_still_says_its_role() {
        let bare =
            RoleRow { timeline: None, lsn: None, paused: None, receiver: false, ..replica() };
        assert_eq!(bare.observation(), Ok(Observation::of(Role::Replica)));
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_negative_age() {
        let seen = replay(&RoleRow { commit_age_us: Some(-5), ..replica() });
        assert_eq!(seen.lag_time, Some(Duration::ZERO));
    }

    #[test]
    fn a_value_that_cannot_be_is_an_error_and_no_default() {
        for answer in [
            RoleRow { timeline: Some(0), ..primary() },
            RoleRow { timeline: Some(-1), ..primary() },
            RoleRow { timeline: Some(i64::MAX), ..primary() },
            RoleRow { lsn: Some(-1), ..primary() },
            RoleRow { upstream_lsn: Some(-1), ..replica() },
            RoleRow { paused: None, ..replica() },
        ] {
            let error = answer.observation().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Malformed);
            assert!(error.detail.starts_with("column `"), "{error}");
        }
    }
}
