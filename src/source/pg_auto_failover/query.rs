//! What the monitor and the node's own server are asked, each by one statement, so that an answer is of one moment.

use crate::config::{MonitorLost, NodeKey};
use crate::source::pg::role;

/// The rows of the group that the node belongs to, its own number in them, and how long the monitor waits before it
/// lets another node take writes. Ages are by the monitor's clock, which wrote the times, too. `kind` is `pgsql` but
/// for a formation of Citus, whose workers are promoted without that wait. The function is that of packaging/sql, which
/// reads one snapshot.
///
/// Names come from the configuration, which lets no quote into them.
pub fn of_monitor(node: &NodeKey, formation: &str, more: &str) -> String {
    let own = match node {
        NodeKey::Id(id) => format!("id = {id}"),
        NodeKey::Name(name) => format!("name = '{name}'"),
    };
    format!(
        "
WITH nodes AS MATERIALIZED (
SELECT * FROM rolecall.auto_failover_nodes() WHERE formation = '{formation}'),
own AS (
SELECT id, group_id FROM nodes WHERE {own})
SELECT pg_backend_pid() AS pid,
       (SELECT id FROM own) AS own,
       (SELECT json_agg(n ORDER BY n.id)::text FROM nodes n JOIN own USING (group_id)) AS nodes,
       (SELECT max(kind) FROM nodes) AS kind,
       (EXTRACT(epoch FROM current_setting('pgautofailover.primary_demote_timeout')::interval)
        * 1000)::bigint AS demote_ms{more}"
    )
}

/// Which cluster the server is of.
const SYSTEM: &str = "s.system_identifier AS system";

/// Who streams from the server, and the last moment that each said it did, by that one's clock. A role without
/// `pg_read_all_stats` is shown no state, and so nobody.
const FOLLOWERS: &str = "(SELECT json_agg(json_build_object('name', f.application_name,
                'reply', (EXTRACT(epoch FROM f.reply_time) * 1000000)::bigint))::text
          FROM pg_stat_replication f WHERE f.state = 'streaming') AS followers";

/// What the node's own server is asked; with these columns, too.
pub fn of_server(lost: MonitorLost, more: &[&str]) -> String {
    let followers = match lost {
        MonitorLost::Maint => "NULL::text AS followers",
        MonitorLost::Standbys => FOLLOWERS,
    };
    role::query(&[&[SYSTEM, followers], more].concat(), "\n CROSS JOIN pg_control_system() s")
}
