//! What Patroni's answers say. Total: no input panics.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::{Observation, Replay};
use crate::look::patroni::Patroni;
use crate::look::role::{Lsn, Role, Timeline};
use crate::look::text;
use crate::source::patroni::tags;

/// Most bytes of Patroni's word for a state that are kept; its longest known one has 35.
const MAX_STATE: usize = 64;

/// The lock is held, or the replica serves.
pub(crate) const HELD: u16 = 200;

/// The lock is not held, or the replica does not serve.
pub(crate) const NOT_HELD: u16 = 503;

/// The one request of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `GET /primary`: 200 for the holder of the lock alone.
    Primary,
    /// `GET /read-only?lag=N`: 200 for the holder of the lock, and for a replica that is wanted and not
    /// further behind.
    ReadOnly,
}

/// What an answer says.
///
/// * 503: no leader's answer, whatever the body. Where that cannot be read, [`ErrorKind::NoBody`]: a no for
///   writes, silence for reads.
/// * 200: the body must be a JSON object with a `state`. A state other than `running` is told before
///   any other key counts, but for a leader that is starting and takes writes; a running server must name its role, and a key that is there must be of
///   its type (JSON's null counts as absent: Patroni says it of a timeline it could not learn).
/// * A role that is none of a server that may be used (`demoted`, `uninitialized`, `promoted` or a
///   word of a later version) is a no without a role. An observation without one is never the leader.
/// * `replay` is known of a replica from 3.0.4 on, where Patroni has a `replication_state`.
///
/// Errors: [`ErrorKind::Status`] for any other status, whose body is not looked at, and
/// [`ErrorKind::Malformed`].
pub fn read_answer(asked: Asked, status: u16, body: &[u8]) -> Result<Observation, SourceError> {
    match status {
        NOT_HELD => read_status(asked, false, body).map_err(|error| {
            SourceError::new(ErrorKind::NoBody, format_args!("status 503, {error}"))
        }),
        HELD => read_status(asked, true, body),
        other => Err(SourceError::new(
            ErrorKind::Status,
            format_args!("expected status 200 or 503, got {other}{}", not_patroni(other)),
        )),
    }
}

/// What answers with such a status where Patroni is meant.
fn not_patroni(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; hint: Patroni asks for no password when it is read, so a proxy or another service \
             answers here: let `url` point to Patroni's own restapi.listen"
        }
        502 | 504 => {
            "; hint: a proxy answers, and the Patroni behind it does not: let `url` point to \
             Patroni itself"
        }
        301 | 302 | 307 | 308 => {
            "; hint: rolecall follows no redirection: let `url` point to Patroni itself, with \
             https if it has a certificate"
        }
        _ => "",
    }
}

fn read_status(asked: Asked, held: bool, body: &[u8]) -> Result<Observation, SourceError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format_args!("expected Patroni's status as JSON: {error}")))?;
    let Value::Object(object) = body else {
        return Err(malformed("expected Patroni's status as a JSON object"));
    };
    let keys = Keys { within: "", object: &object };
    let state: String = keys.required("state", "a string")?;
    if state != "running" && !(held && takes_writes(&state, &object)) {
        let role: Option<String> = keys.optional("role", "a string").unwrap_or_default();
        let mut seen = role.map_or_else(Observation::no_role, |role| of_role(held, &role));
        let state = text::plain(&state, MAX_STATE);
        seen.not_running = Some(state.into());
        return Ok(seen);
    }

    let role: String = keys.required("role", "a string")?;
    let mut seen = of_role(held, &role);
    let flag = |key| keys.optional(key, "true or false").map(Option::unwrap_or_default);
    // With quorum commit (Patroni 4) the primary waits for some of these, whichever are first.
    let (sync, quorum) = (flag("sync_standby")?, flag("quorum_standby")?);
    if seen.role == Some(Role::Replica) {
        seen.role = Some(match (sync, quorum) {
            (true, _) => Role::SyncReplica,
            (_, true) => Role::QuorumReplica,
            _ => Role::Replica,
        });
    }
    let timeline: Option<NonZeroU32> = keys.optional("timeline", "a number from 1 up")?;
    seen.timeline = timeline.map(|number| Timeline(number.get()));
    let tags: Option<Map<String, Value>> = keys.optional("tags", "an object")?;
    let tags = tags.unwrap_or_default();
    seen.no_load_balance = tags.get("noloadbalance").is_some_and(is_true);
    seen.tags = Some(Arc::new(tags::read(&tags)));

    let follows = seen.role.is_some_and(|role| role.fills(Role::Replica));
    let replica = follows || seen.role == Some(Role::StandbyLeader);
    if asked == Asked::ReadOnly && replica {
        // The status is about reads here, and no word of the lock.
        seen.leader = None;
    }
    let patroni: Option<Map<String, Value>> = keys.optional("patroni", "an object").ok().flatten();
    seen.patroni = Some(Patroni {
        paused: flag("pause")?,
        unlocked: flag("cluster_unlocked")?,
        failsafe: flag("failsafe_mode_is_active")?,
        pending_restart: flag("pending_restart")?,
        // A replica that is not wanted is answered 503 whatever its lag.
        over_lag: (asked == Asked::ReadOnly && replica && !seen.no_load_balance).then_some(!held),
        // A lock without them is held for a shorter time, and no worse: a look must not fail for them.
        dcs_last_seen: keys.optional("dcs_last_seen", "seconds").unwrap_or_default(),
        version: patroni.as_ref().and_then(version),
        ..Patroni::default()
    });

    let state: Option<String> = keys.optional("replication_state", "a string")?;
    // Of a replica that neither streams nor has an archive to follow a version that knows the key leaves it out.
    let left_out = follows && patroni.as_ref().is_some_and(says_replication_state);
    let streaming = state.map(|state| state == "streaming").or(left_out.then_some(false));
    let xlog: Map<String, Value> = keys.optional("xlog", "an object")?.unwrap_or_default();
    let xlog = Keys { within: "xlog.", object: &xlog };
    let written = xlog.optional("location", "a number of bytes")?;
    let replayed = xlog.optional("replayed_location", "a number of bytes")?;
    seen.lsn = written.or(replayed).map(Lsn);
    let paused = xlog.optional("paused", "true or false")?;
    seen.replay = streaming.zip(paused).map(|(streaming, paused)| Replay {
        streaming,
        paused,
        lag_bytes: None,
        lag_time: None,
    });
    Ok(seen)
}

/// Whether a server takes writes whose state is not `running` yet. Patroni sets that in the next round of its
/// loop, up to a second late; but only a server that answered Patroni's own query within this very look has a
/// place where it writes in the body, and a server in recovery has none (`get_postgresql_status` of 2.1.7,
/// 3.3.11 and 4.1.5). Status 200 says that the lock is its own.
fn takes_writes(state: &str, object: &Map<String, Value>) -> bool {
    let role = object.get("role").and_then(Value::as_str).and_then(|role| role.parse().ok());
    let writes_at = object.get("xlog").and_then(|xlog| xlog.get("location"));
    matches!(state, "starting" | "restarting")
        && role == Some(Role::Primary)
        && writes_at.is_some_and(Value::is_u64)
}

/// Major and minor number of Patroni's own version, such as `4.1.5`.
fn version(patroni: &Map<String, Value>) -> Option<(u16, u16)> {
    let mut numbers = patroni.get("version")?.as_str()?.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Whether a version tells of a replica whether it streams: from 3.0.4.
fn says_replication_state(patroni: &Map<String, Value>) -> bool {
    let numbers = patroni.get("version").and_then(Value::as_str).unwrap_or_default().split('.');
    let numbers: Vec<u16> = numbers.map_while(|part| part.parse().ok()).collect();
    numbers.as_slice() >= [3, 0, 4].as_slice()
}

fn of_role(held: bool, role: &str) -> Observation {
    match role.parse() {
        Ok(role) => Observation { leader: Some(held), ..Observation::of(role) },
        Err(_) => Observation::no_role(),
    }
}

/// Whether Patroni takes the value of a boolean tag for true: it asks Python's `bool`, and the
/// operator may have written `1` or `"yes"`.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The keys of a JSON object, and where it stands in the body.
struct Keys<'a> {
    within: &'static str,
    object: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn optional<T>(&self, key: &str, expected: &str) -> Result<Option<T>, SourceError>
    where
        T: DeserializeOwned,
    {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.wrong(key, expected)),
        }
    }

    fn required<T>(&self, key: &str, expected: &str) -> Result<T, SourceError>
    where
        T: DeserializeOwned,
    {
        self.optional(key, expected)?.ok_or_else(|| self.wrong(key, expected))
    }

    /// Does not repeat the value, which may be as long as the body.
    fn wrong(&self, key: &str, expected: &str) -> SourceError {
        malformed(format_args!("expected {expected} as `{}{key}`", self.within))
    }
}

fn malformed(detail: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Malformed, detail)
}
