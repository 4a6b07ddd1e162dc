//! What looks on beside HAProxy: which servers take writes, and a check written the usual way.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use serde_json::Value;

use crate::fixtures::{PgError, Recorder, Session, now, web};

/// Longest single wait for a server.
const WITHIN: Duration = Duration::from_secs(1);

/// Whether a server took writes at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Writable {
    pub at: Stamp,
    pub writes: bool,
    /// It answered.
    pub alive: bool,
}

/// Asks a server every 50 ms, over one session as long as it lives. No answer is a no.
pub fn writable(pg: SocketAddr) -> Recorder<Writable> {
    let mut session = None;
    Recorder::start(Duration::from_millis(50), move || {
        let at = now();
        let mut look = || -> Result<String, PgError> {
            let open = match session.take() {
                Some(open) => open,
                None => Session::connect(pg, WITHIN)?,
            };
            session.insert(open).value(
                "select not pg_is_in_recovery() and \
                 current_setting('default_transaction_read_only') = 'off'",
            )
        };
        let said = look();
        if said.is_err() {
            session = None;
        }
        let alive = said.is_ok();
        Some(Writable { at, writes: said.is_ok_and(|s| s == "t"), alive })
    })
}

/// What the usual check made of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// When the answer was there. Until the next one HAProxy keeps this one.
    pub at: Stamp,
    /// `role == "master"`, as it is usually written.
    pub master: bool,
    /// The same with 4.x's word.
    pub primary: bool,
    /// Status, role and state of the answer are those of a leader that works: rolecall's rule, without
    /// its memory.
    pub strict: bool,
}

/// The check as it is usually written: asks `GET /` without a timeout, does not look at the status,
/// compares the role. It is stopped by what ends its Patroni.
pub fn usual_check(rest: SocketAddr) -> Recorder<Usual> {
    Recorder::start(Duration::from_millis(100), move || {
        let answer = web::request(rest, "GET /", "", None).ok();
        let body = answer.as_ref().and_then(|a| serde_json::from_str::<Value>(&a.body).ok());
        let word = |key: &str| body.as_ref().and_then(|b| b[key].as_str()).unwrap_or_default();
        let master = word("role") == "master";
        let primary = master || word("role") == "primary";
        let held = answer.as_ref().is_some_and(|a| a.status == 200);
        let strict = held && primary && word("state") == "running";
        Some(Usual { at: now(), master, primary, strict })
    })
}
