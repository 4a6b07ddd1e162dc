//! Patroni's REST API, by the strict rule: one `GET /primary` a look.
//!
//! What rolecall rests on, measured on Patroni 2.1.7, 3.3.11 and 4.1.5:
//!
//! * The status is the lock, the body is not: a stale old primary says `503` with
//!   `"role": "primary"`. So **503 is a no, whatever the body**.
//! * Status 200 does not mean that PostgreSQL works: it is said with `"state": "stopping"`, `"unknown"`
//!   or `"crashed"`, and with `"role": "replica"` during a promotion. So **200 counts only with a body
//!   that says a role and `"state": "running"`**.
//! * The leader's role is `master` up to 3.x, `primary` from 4.0.
//! * Answers are HTTP/1.0, ended by closing the connection, sometimes without any header: a
//!   truncated body shows only as invalid JSON.
//! * Five idle connections freeze the whole API of some versions. So there is one request in flight,
//!   and its connection is closed with the answer, or with the look.
//!
//! Everything else (other statuses, silence, a body of another form) shows nothing.

use std::error::Error;
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::header::{CONNECTION, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::observation::{ErrorKind, Observation, Replay, SourceError};
use crate::role::{Lsn, Role, Timeline};
use crate::source::RoleSource;
use crate::source::resolve::Resolver;

/// Most bytes of a body that are read. A leader's is some 600 and 170 more per standby.
pub const MAX_BODY: usize = 64 * 1024;

/// How long the body of a 503 is waited for: the status alone is the no, the body only says more.
const NO_BODY_WAIT: Duration = Duration::from_millis(250);

/// Most characters of Patroni's word for a state that are kept; its longest known one has 35.
const MAX_STATE: usize = 64;

/// The lock is held.
const HELD: u16 = 200;

/// The lock is not held.
const NOT_HELD: u16 = 503;

/// One Patroni.
pub struct Patroni {
    client: Client,
    url: Url,
    /// The URL in messages: without user and password.
    shown: String,
}

/// A URL that is not the base of a Patroni REST API. Does not repeat it, it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL such as http://127.0.0.1:8008, {0}")]
pub struct BadUrl(String);

impl Patroni {
    /// A source that asks the REST API under `url`, such as `http://127.0.0.1:8008`; a path before
    /// `/primary` is kept, a slash at the end makes no difference.
    ///
    /// Errors where `url` is not plain `http` with a host, or has a query or a fragment.
    pub fn new(url: &str, resolver: Resolver) -> Result<Self, BadUrl> {
        let url = endpoint(url)?;
        let client = Client::builder()
            .dns_resolver(resolver)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BadUrl(error.without_url().to_string()))?;
        Ok(Self { client, shown: shown(&url), url })
    }

    async fn ask(&self) -> Result<Observation, SourceError> {
        let request = self.client.get(self.url.clone());
        let request = request.header(CONNECTION, HeaderValue::from_static("close"));
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        match response.status().as_u16() {
            NOT_HELD => {
                let body = timeout(NO_BODY_WAIT, read_body(&mut response)).await;
                read_answer(NOT_HELD, &body.ok().and_then(Result::ok).unwrap_or_default())
            }
            HELD => read_answer(HELD, &read_body(&mut response).await?),
            other => read_answer(other, &[]),
        }
    }
}

impl RoleSource for Patroni {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let shown = &self.shown;
        let looked = self.ask().await;
        looked.map_err(|error| SourceError::new(error.kind, format_args!("{shown}: {error}")))
    }
}

/// The address of the one request.
fn endpoint(base: &str) -> Result<Url, BadUrl> {
    let mut url: Url = base.parse().map_err(|error| BadUrl(format!("this is none: {error}")))?;
    if url.scheme() != "http" || !url.has_host() {
        return Err(BadUrl("got another scheme".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadUrl("without a query and a fragment".into()));
    }
    let path = format!("{}/primary", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both can fail only for a URL without a host, which `endpoint` refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Reads to the end, or to one chunk beyond [`MAX_BODY`].
async fn read_body(response: &mut Response) -> Result<Vec<u8>, SourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            let detail = format_args!("expected at most {MAX_BODY} bytes, got more");
            return Err(SourceError::new(ErrorKind::TooLong, detail));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer to `GET /primary` says. Total: no input panics.
///
/// * 503: a no, whatever the body. It says more where it can be read, else [`Observation::no_role`].
/// * 200: the body must be a JSON object with a `state`. A state other than `running` is told before
///   any other key counts; a running server must name its role, and a key that is there must be of
///   its type (JSON's null counts as absent: Patroni says it of a timeline it could not learn).
/// * A role that is none of a server that may be used (`demoted`, `uninitialized`, `promoted` or a
///   word of a later version) is a no without a role. An observation without one is never the leader.
/// * `replay` is known where Patroni names a `replication_state`: from 3.0.4, while there is one.
///
/// Errors: [`ErrorKind::Status`] for any other status, whose body is not looked at, and
/// [`ErrorKind::Malformed`].
pub fn read_answer(status: u16, body: &[u8]) -> Result<Observation, SourceError> {
    match status {
        NOT_HELD => Ok(read_status(false, body).unwrap_or_else(|_| Observation::no_role())),
        HELD => read_status(true, body),
        other => Err(SourceError::new(
            ErrorKind::Status,
            format_args!("expected status 200 or 503, got {other}"),
        )),
    }
}

fn read_status(held: bool, body: &[u8]) -> Result<Observation, SourceError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format_args!("expected Patroni's status as JSON: {error}")))?;
    let Value::Object(object) = body else {
        return Err(malformed("expected Patroni's status as a JSON object"));
    };
    let keys = Keys { within: "", object: &object };
    let state: String = keys.required("state", "a word")?;
    if state != "running" {
        let role: Option<String> = keys.optional("role", "a word").unwrap_or_default();
        let mut seen = role.map_or_else(Observation::no_role, |role| of_role(held, &role));
        let state: String = state.chars().filter(|c| !c.is_control()).take(MAX_STATE).collect();
        seen.not_running = Some(state.into());
        return Ok(seen);
    }

    let role: String = keys.required("role", "a word")?;
    let mut seen = of_role(held, &role);
    let sync = keys.optional("sync_standby", "true or false")?.unwrap_or(false);
    if sync && seen.role == Some(Role::Replica) {
        seen.role = Some(Role::SyncReplica);
    }
    let timeline: Option<NonZeroU32> = keys.optional("timeline", "a number from 1 up")?;
    seen.timeline = timeline.map(|number| Timeline(number.get()));
    let tags: Option<Map<String, Value>> = keys.optional("tags", "an object")?;
    seen.no_load_balance = tags.is_some_and(|tags| tags.get("noloadbalance").is_some_and(is_true));

    let replication: Option<String> = keys.optional("replication_state", "a word")?;
    let xlog: Map<String, Value> = keys.optional("xlog", "an object")?.unwrap_or_default();
    let xlog = Keys { within: "xlog.", object: &xlog };
    let written = xlog.optional("location", "a number of bytes")?;
    let replayed = xlog.optional("replayed_location", "a number of bytes")?;
    seen.lsn = written.or(replayed).map(Lsn);
    let paused = xlog.optional("paused", "true or false")?;
    seen.replay = replication.zip(paused).map(|(state, paused)| Replay {
        streaming: state == "streaming",
        paused,
        lag_bytes: None,
        lag_time: None,
    });
    Ok(seen)
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

/// Sorts a failure by its innermost cause that says something.
fn failure(error: &reqwest::Error) -> SourceError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost: &dyn Error = error;
    let mut kind = ErrorKind::Unreachable;
    while let Some(here) = cause {
        if let Some(known) = here.downcast_ref::<SourceError>() {
            return known.clone();
        }
        if let Some(io) = here.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::ConnectionRefused {
                kind = ErrorKind::Refused;
            }
        } else if here.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            kind = ErrorKind::Malformed;
        }
        innermost = here;
        cause = here.source();
    }
    SourceError::new(kind, innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_under_the_base_and_is_shown_without_secrets() {
        for (base, asked) in [
            ("http://127.0.0.1:8008", "http://127.0.0.1:8008/primary"),
            ("http://[::1]:8008/", "http://[::1]:8008/primary"),
            ("http://db/patroni/n0//", "http://db/patroni/n0/primary"),
            ("http://joe:secret@db:1/a", "http://db:1/a/primary"),
        ] {
            assert_eq!(shown(&endpoint(base).unwrap()), asked);
        }
        for bad in ["", "db:8008", "https://db", "http://", "http://db/?lag=1", "http://db/#x"] {
            assert!(endpoint(bad).is_err(), "{bad:?}");
        }
        let error = endpoint("http://joe:secret@db:port/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
