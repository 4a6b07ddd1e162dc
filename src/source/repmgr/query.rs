//! The two queries: which way repmgr's tables may be read, and the look itself.

use crate::look::error::{ErrorKind, SourceError};
use crate::source::pg::{Connector, column, role};

/// How this user may read what repmgr knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    by: By,
    /// Whether the nodes' `config_file` may be read, which a view made for an older rolecall has not.
    conf: bool,
    /// Whether `get_new_primary()` may be asked, for which the SQL of an older rolecall has no function.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Schema `rolecall` with the view `nodes` and the function `repmgrd_state()`, as packaging/sql
    /// makes them: without passwords, and without the right to pause repmgrd.
    View,
    /// Schema `repmgr` itself.
    Plain,
}

/// The table of nodes as text that is parsed here: of `conninfo` nothing but hosts and ports is kept.
/// Every function answers without superuser, NULL or -1 where repmgrd has not told the server.
fn nodes_of(schema: &str, conf: bool) -> String {
    let conf = if conf { "config_file" } else { "NULL" };
    format!(
        "(SELECT json_agg(json_build_object('id', node_id, 'name', node_name, 'type', type,
                'active', active, 'conninfo', conninfo, 'config', {conf}) ORDER BY node_id)::text
          FROM {schema}.nodes) AS nodes"
    )
}

/// What the role's own columns do not have. The two settings are read as intervals, because
/// `current_setting` answers in whatever unit is shortest.
const RECEIVER: &str = "s.system_identifier::text AS system,
       w.sender_host AS sender_host,
       w.sender_port AS sender_port,
       (EXTRACT(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::bigint AS heard_ms,
       (EXTRACT(epoch FROM current_setting('wal_receiver_timeout')::interval) * 1000)::bigint
       AS receiver_timeout_ms,
       (EXTRACT(epoch FROM current_setting('recovery_min_apply_delay')::interval) * 1000)::bigint
       AS apply_delay_ms";

impl Way {
    /// The query of a look, one row; with these columns, too.
    pub fn look(self, more: &[&str]) -> String {
        let (schema, state, told, joins) = match self.by {
            By::View => (
                "rolecall",
                "d.local_node_id, d.upstream_node_id, d.upstream_last_seen, \
                 d.running AS repmgrd_running, d.paused AS repmgrd_paused",
                "rolecall.new_primary() AS new_primary",
                " CROSS JOIN rolecall.repmgrd_state() d",
            ),
            By::Plain => (
                "repmgr",
                "repmgr.get_local_node_id() AS local_node_id,
       repmgr.get_upstream_node_id() AS upstream_node_id,
       repmgr.get_upstream_last_seen() AS upstream_last_seen,
       repmgr.repmgrd_is_running() AS repmgrd_running,
       repmgr.repmgrd_is_paused() AS repmgrd_paused",
                "repmgr.get_new_primary() AS new_primary",
                "",
            ),
        };
        let told = if self.told { told } else { "NULL::int AS new_primary" };
        let joins = format!("\n CROSS JOIN pg_control_system() s{joins}");
        let nodes = nodes_of(schema, self.conf);
        role::query(&[&[RECEIVER, state, told, &nodes], more].concat(), &joins)
    }
}

/// Which of the two ways there is, and which privileges this user lacks for it; from the catalogs,
/// which everybody may read, so that it answers in no language but SQL's.
const SURVEY: &str = "
WITH part(schema, kind, name, needed) AS (VALUES
       ('rolecall', 'relation', 'nodes', true),
       ('rolecall', 'function', 'repmgrd_state', true),
       ('rolecall', 'function', 'new_primary', false),
       ('repmgr', 'relation', 'nodes', true),
       ('repmgr', 'function', 'get_local_node_id', true),
       ('repmgr', 'function', 'get_upstream_node_id', true),
       ('repmgr', 'function', 'get_upstream_last_seen', true),
       ('repmgr', 'function', 'repmgrd_is_running', true),
       ('repmgr', 'function', 'repmgrd_is_paused', true),
       ('repmgr', 'function', 'get_new_primary', false)),
found AS (
SELECT p.schema, p.name, p.needed, coalesce(c.oid, f.oid) IS NOT NULL AS there, l.lacks,
       has_column_privilege(c.oid, a.attnum, 'SELECT') AS conf
  FROM part p
  LEFT JOIN pg_namespace n ON n.nspname = p.schema
  LEFT JOIN pg_class c ON p.kind = 'relation' AND c.relnamespace = n.oid AND c.relname = p.name
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'config_file'
  LEFT JOIN pg_proc f ON p.kind = 'function' AND f.pronamespace = n.oid AND f.proname = p.name
        AND f.pronargs = 0
 CROSS JOIN LATERAL (VALUES
       (CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
             THEN format('USAGE ON SCHEMA %I', p.schema) END),
       (CASE WHEN NOT (has_table_privilege(c.oid, 'SELECT')
                       OR has_any_column_privilege(c.oid, 'SELECT'))
             THEN format('SELECT ON %I.%I', p.schema, p.name) END),
       (CASE WHEN NOT has_function_privilege(f.oid, 'EXECUTE')
             THEN format('EXECUTE ON FUNCTION %I.%I()', p.schema, p.name) END)) l(lacks))
SELECT current_database()::text AS database,
       bool_and(there) FILTER (WHERE schema = 'rolecall' AND needed) AS view,
       string_agg(DISTINCT lacks, ', ') FILTER (WHERE schema = 'rolecall' AND needed) AS view_lacks,
       bool_or(there) FILTER (WHERE schema = 'repmgr' AND needed) AS plain,
       string_agg(DISTINCT name, ', ') FILTER (WHERE schema = 'repmgr' AND needed AND NOT there)
       AS plain_absent,
       string_agg(DISTINCT lacks, ', ') FILTER (WHERE schema = 'repmgr' AND needed) AS plain_lacks,
       bool_and(there AND lacks IS NULL) FILTER (WHERE schema = 'rolecall' AND NOT needed) AS view_told,
       bool_and(there AND lacks IS NULL) FILTER (WHERE schema = 'repmgr' AND NOT needed) AS plain_told,
       coalesce(bool_or(conf) FILTER (WHERE schema = 'rolecall'), false) AS view_conf,
       coalesce(bool_or(conf) FILTER (WHERE schema = 'repmgr'), false) AS plain_conf
  FROM found";

/// Finds the way that is open. [`ErrorKind::NotRepmgr`] where there is none, [`ErrorKind::Grant`]
/// with every missing privilege where one is there and closed.
pub(crate) async fn survey(connector: &mut Connector) -> Result<Way, SourceError> {
    let row = connector.ask(SURVEY).await?;
    let database: String = column(&row, "database")?;
    let view: bool = column(&row, "view")?;
    let view_lacks: Option<String> = column(&row, "view_lacks")?;
    let plain: bool = column(&row, "plain")?;
    let plain_absent: Option<String> = column(&row, "plain_absent")?;
    let plain_lacks: Option<String> = column(&row, "plain_lacks")?;
    let denied = |lacks: String| {
        let user = connector.user();
        connector.failed(ErrorKind::Grant, format_args!("user {user:?} is not granted {lacks}"))
    };
    match (view, view_lacks, plain, plain_absent, plain_lacks) {
        (true, None, ..) => Ok(Way {
            by: By::View,
            conf: column(&row, "view_conf")?,
            told: column(&row, "view_told")?,
        }),
        (_, _, true, None, None) => Ok(Way {
            by: By::Plain,
            conf: column(&row, "plain_conf")?,
            told: column(&row, "plain_told")?,
        }),
        (true, Some(lacks), ..) | (_, _, true, None, Some(lacks)) => Err(denied(lacks)),
        (_, _, true, Some(absent), _) => Err(connector.failed(
            ErrorKind::NotRepmgr,
            format_args!("schema repmgr has no {absent}: expected repmgr 4.4 or later"),
        )),
        (_, _, false, ..) => Err(connector.failed(
            ErrorKind::NotRepmgr,
            format_args!("database {database:?} does not have the extension repmgr"),
        )),
    }
}
