//! Ends sessions of clients at a server that is out of recovery and on this host, and no others.
//!
//! One statement asks and acts, so that what it rests on is true at the moment of the act, whatever
//! was believed before: a standby is never touched, nor a server that sees this connection come from
//! another host. Of the sessions of the clients that were named it ends those of ordinary users:
//! never a superuser's, never replication (a walsender), never a background worker, never one of the
//! user that asks; and none that began after the connection that asks: the node was out when that one
//! began, and whoever came later may have come for a better reason.
//!
//! It takes `rolecall.end_sessions()`, as packaging/sql/fence.sql makes it, where that is there; else
//! the user's own privileges, `pg_signal_backend` and `pg_read_all_stats`.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::config::Whose;
use crate::look::error::{ErrorKind, SourceError};
use crate::source::pg::{Connector, column};

/// Whose sessions are ended; the same text stands in packaging/sql/fence.sql, and a test says so.
/// `clients` and `roles` are arrays, one of them NULL.
const STATEMENT: &str = "
SELECT pg_is_in_recovery() AS in_recovery, here.beside,
       (SELECT count(*) FILTER (WHERE told)
          FROM (SELECT pg_terminate_backend(a.pid) AS told
                  FROM pg_stat_activity a
                  JOIN pg_roles r ON r.oid = a.usesysid
                 WHERE NOT pg_is_in_recovery()
                   AND here.beside
                   AND (a.client_addr <<= ANY (clients) OR a.usename = ANY (roles))
                   AND a.backend_type = 'client backend'
                   AND NOT r.rolsuper
                   AND a.usename <> session_user
                   AND a.pid <> pg_backend_pid()
                   AND a.backend_start <= (SELECT me.backend_start FROM pg_stat_activity me
                                            WHERE me.pid = pg_backend_pid())
                OFFSET 0) ended) AS told
  FROM (SELECT inet_client_addr() IS NOT DISTINCT FROM inet_server_addr()
            OR inet_client_addr() <<= ANY ('{127.0.0.0/8,::1}'::inet[]) AS beside) here";

/// Which way is open to this user, from the catalogs, which everybody may read.
const SURVEY: &str = "
SELECT coalesce(bool_or(has_schema_privilege(n.oid, 'USAGE')
                        AND has_function_privilege(f.oid, 'EXECUTE')), false) AS by_function,
       pg_has_role('pg_signal_backend', 'USAGE') AS signals,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees,
       current_user::text AS me
  FROM pg_proc f
  JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = 'rolecall'
 WHERE f.proname = 'end_sessions' AND f.pronargs = 2";

/// Ends sessions at one server.
pub struct Sessions {
    connector: Connector,
    statement: String,
    by_function: String,
    /// Known once it was found out.
    way: Option<Way>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Function,
    Plain,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was not to be done any more.
    CalledOff,
    /// The server is in recovery: nothing was done.
    InRecovery,
    /// So many sessions were told to end.
    Told(u64),
}

impl Sessions {
    /// Work begins: what was waited for by an earlier one is no matter any more.
    pub fn begin(&self) {
        self.connector.begin();
    }

    /// What is said of work that was dropped: who was silent, and at what.
    pub fn waited_for(&self) -> Option<String> {
        self.connector.waited_for()
    }

    /// Those of `whose` at the server of `connector`.
    pub fn new(connector: Connector, whose: &Whose) -> Self {
        let (clients, roles) = arrays(whose);
        let statement =
            format!("WITH whose(clients, roles) AS (SELECT {clients}, {roles}){STATEMENT}, whose");
        let by_function = format!("SELECT * FROM rolecall.end_sessions({clients}, {roles})");
        Self { connector, statement, by_function, way: None }
    }

    /// Finds out what this user may do there.
    ///
    /// # Errors
    /// [`ErrorKind::Grant`] with every privilege that is missing; else as [`Connector::ask`].
    pub(crate) async fn survey(&mut self) -> Result<(), SourceError> {
        let row = self.connector.ask(SURVEY).await?;
        let me: String = column(&row, "me")?;
        let (signals, sees) = (column(&row, "signals")?, column(&row, "sees")?);
        self.way = match column(&row, "by_function")? {
            true => Some(Way::Function),
            false if signals && sees => Some(Way::Plain),
            false => None,
        };
        if self.way.is_some() {
            return Ok(());
        }
        let mut lacks = String::new();
        for (has, role) in [(signals, "pg_signal_backend"), (sees, "pg_read_all_stats")] {
            if !has {
                let comma = if lacks.is_empty() { "" } else { ", " };
                // Writing to a string cannot fail.
                let _ = write!(lacks, "{comma}{role}");
            }
        }
        let what = format_args!(
            "user {me:?} may not end sessions: run packaging/sql/fence.sql on the server, or \
             GRANT {lacks} TO \"{me}\""
        );
        Err(self.connector.failed(ErrorKind::Grant, what))
    }

    /// Ends them, if `still` says so once the connection stands.
    ///
    /// # Errors
    /// The server cannot be asked, this user may not do it ([`ErrorKind::Grant`]), or the server sees
    /// the connection come from another host ([`ErrorKind::Elsewhere`]). No deadline of its own.
    pub async fn end(&mut self, still: impl FnOnce() -> bool) -> Result<Ended, SourceError> {
        if self.way.is_none() {
            self.survey().await?;
        }
        let query = match self.way {
            Some(Way::Function) => &self.by_function,
            _ => &self.statement,
        };
        let answered = self.connector.ask_if(query, still).await;
        if answered.is_err() {
            // What was there may be gone, or closed: the next one finds out.
            self.way = None;
        }
        let Some(row) = answered? else { return Ok(Ended::CalledOff) };
        if column(&row, "in_recovery")? {
            return Ok(Ended::InRecovery);
        }
        if !column::<bool>(&row, "beside")? {
            let what = "to the server, this rolecall comes from another host";
            return Err(self.connector.failed(ErrorKind::Elsewhere, what));
        }
        let told: i64 = column(&row, "told")?;
        Ok(Ended::Told(u64::try_from(told).unwrap_or(0)))
    }
}

/// Both arrays, as SQL.
fn arrays(whose: &Whose) -> (String, String) {
    let array = |items: Vec<String>| {
        let items: Vec<_> =
            items.iter().map(|item| format!("'{}'", item.replace('\'', "''"))).collect();
        format!("ARRAY[{}]", items.join(", "))
    };
    match whose {
        Whose::Clients(nets) => {
            let forms = nets.iter().flat_map(both_forms).collect();
            (format!("{}::inet[]", array(forms)), "NULL::name[]".to_owned())
        }
        Whose::Roles(roles) => {
            ("NULL::inet[]".to_owned(), format!("{}::name[]", array(roles.clone())))
        }
    }
}

/// A network as it is, and an IPv4 one also as IPv6 has it.
fn both_forms(net: &IpNet) -> Vec<String> {
    let mapped = match net {
        IpNet::V4(v4) => Some(format!("{}/{}", v4.addr().to_ipv6_mapped(), v4.prefix_len() + 96)),
        IpNet::V6(_) => None,
    };
    std::iter::once(net.to_string()).chain(mapped).collect()
}
