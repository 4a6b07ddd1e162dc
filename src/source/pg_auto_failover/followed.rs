//! Whether every candidate of the group still follows this server.
//!
//! A standby is promoted only after it has left its primary, and it may take writes `primary_demote_timeout` later. So
//! while each that could be promoted streams from here, nobody else takes writes, whether the monitor is dead or only out
//! of reach. A cut line shows late: the row of a standby stays for `wal_sender_timeout`. So each must go on replying,
//! which a standby does every `wal_receiver_status_interval` (10 s). Only that the time of its last reply changes
//! counts: it is by the standby's own clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::Follower;
use crate::look::auto_failover::{MonitorId, Row};
use crate::look::stamp::Stamp;

/// A standby that has replied nothing for longer than this may be cut off: half as long again as it takes where nobody
/// set `wal_receiver_status_interval`.
pub(crate) const REPLIES_WITHIN: Duration = Duration::from_secs(15);

/// What a standby's `application_name` begins with (`REPLICATION_APPLICATION_NAME_PREFIX` of `pg_autoctl`); its number
/// follows.
const PREFIX: &str = "pgautofailover_standby_";

/// Who follows: the last reply of each, and when it was seen to change.
#[derive(Debug, Clone, Default)]
pub struct Replies(BTreeMap<MonitorId, (i64, Option<Stamp>)>);

impl Replies {
    /// Notes who follows by a look that began at `now`; whoever does not is forgotten.
    pub fn note(&mut self, now: Stamp, followers: &[Follower]) {
        let before = std::mem::take(&mut self.0);
        for follower in followers {
            let id = follower.name.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
            let Some((id, reply)) = id.zip(follower.reply) else { continue };
            let heard = match before.get(&id) {
                Some((last, heard)) if *last == reply => *heard,
                Some(_) => Some(now),
                // It may have been silent for long.
                None => None,
            };
            self.0.insert(id, (reply, heard));
        }
    }

    /// Whether each candidate of these rows but `me` was heard within this time, and there is one.
    pub fn all(&self, now: Stamp, rows: &[Row], me: MonitorId, within: Duration) -> bool {
        let candidates = || rows.iter().filter(|row| row.id != me && row.candidate);
        let heard = |row: &Row| {
            let (_, heard) = self.0.get(&row.id)?;
            Some(now.since((*heard)?) <= within)
        };
        candidates().next().is_some() && candidates().all(|row| heard(row) == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::auto_failover::NodeState;
    use crate::look::auto_failover::tests::a_row;

    fn at(seconds: u64) -> Stamp {
        Stamp::new(Duration::from_secs(seconds))
    }

    fn reply(id: MonitorId, reply: i64) -> Follower {
        Follower { name: format!("{PREFIX}{id}"), reply: Some(reply) }
    }

    fn all(replies: &Replies, now: u64, rows: &[Row]) -> bool {
        replies.all(at(now), rows, 1, REPLIES_WITHIN)
    }

    fn group(others: &[MonitorId]) -> Vec<Row> {
        let others = others.iter().map(|id| a_row(*id, NodeState::Secondary));
        std::iter::once(a_row(1, NodeState::Primary)).chain(others).collect()
    }

    #[test]
    fn a_standby_follows_while_its_replies_change() {
        let mut replies = Replies::default();
        let rows = group(&[2]);
        replies.note(at(0), &[reply(2, 100)]);
        assert!(!all(&replies, 0, &rows), "it may have been silent for long");
        replies.note(at(1), &[reply(2, 101)]);
        assert!(all(&replies, 1, &rows));
        // A cut line: the row stays.
        for now in 2..=16 {
            replies.note(at(now), &[reply(2, 101)]);
        }
        assert!(all(&replies, 16, &rows) && !all(&replies, 17, &rows));
        // A clock that was set back is a change as well.
        replies.note(at(18), &[reply(2, 50)]);
        assert!(all(&replies, 18, &rows));
        replies.note(at(19), &[]);
        assert!(!all(&replies, 19, &rows));
        replies.note(at(20), &[reply(2, 60)]);
        assert!(!all(&replies, 20, &rows), "it came back, and nobody knows from where");
    }

    #[test]
    fn every_candidate_must_follow_and_there_must_be_one() {
        let mut replies = Replies::default();
        for n in 0..2 {
            let other = Follower { name: "pg_receivewal".to_owned(), reply: Some(n) };
            let fresh = Follower { reply: None, ..reply(3, 0) };
            replies.note(at(0), &[reply(2, n), other, fresh]);
        }
        assert!(all(&replies, 0, &group(&[2])));
        assert!(!all(&replies, 0, &group(&[2, 3])));
        assert!(!all(&replies, 0, &group(&[])), "nobody proves anything");
        let mut rows = group(&[2, 3]);
        rows[2].candidate = false;
        assert!(all(&replies, 0, &rows), "it is never promoted");
        // One in maintenance may come back, and is a candidate then.
        rows[2] = a_row(3, NodeState::Maintenance);
        assert!(!all(&replies, 0, &rows));
    }
}
