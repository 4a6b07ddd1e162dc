//! How long Patroni's leader lock lives, from `GET /config`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::observation::{ErrorKind, SourceError};

/// Patroni's own defaults, in seconds; a key that is not in its configuration has them.
const DEFAULTS: (u64, u64, u64) = (30, 10, 10);

/// The times of a Patroni cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    ttl: Duration,
    loop_wait: Duration,
    retry_timeout: Duration,
}

/// The keys that are read; the configuration has many more.
#[derive(Deserialize)]
struct Config {
    ttl: Option<Value>,
    loop_wait: Option<Value>,
    retry_timeout: Option<Value>,
}

/// Seconds as Patroni takes them: it hands whatever stands there to Python's `int()`, so that a quoted
/// number counts, and a fraction is cut (tried on 2.1.7, 3.3.11 and 4.1.5). Below zero they are none.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let digits = text.trim().strip_prefix('+').unwrap_or(text.trim());
            // Python lets single underscores stand between digits.
            let groups = || digits.split('_');
            let fit = groups().all(|g| !g.is_empty() && g.bytes().all(|b| b.is_ascii_digit()));
            fit.then(|| groups().collect::<String>().parse().ok()).flatten()
        }
        _ => None,
    }
}

/// A number without its fraction; `None` where it is below zero or beyond any time.
fn whole(number: f64) -> Option<u64> {
    let seconds = Duration::try_from_secs_f64(number).ok()?;
    Some(seconds.as_secs())
}

impl Times {
    /// Reads the body of `/config`. [`ErrorKind::Malformed`] where it is no object, or a time no number.
    pub fn read(body: &[u8]) -> Result<Self, SourceError> {
        let config: Config = serde_json::from_slice(body).map_err(|error| {
            let what = format_args!("expected Patroni's configuration as JSON: {error}");
            SourceError::new(ErrorKind::Malformed, what)
        })?;
        let read = |key: &str, value: Option<Value>, default| {
            let known = value.as_ref().map_or(Some(default), seconds);
            known.map(Duration::from_secs).ok_or_else(|| {
                let what = format_args!("expected seconds as Patroni's `{key}`");
                SourceError::new(ErrorKind::Malformed, what)
            })
        };
        Ok(Self {
            ttl: read("ttl", config.ttl, DEFAULTS.0)?,
            loop_wait: read("loop_wait", config.loop_wait, DEFAULTS.1)?,
            retry_timeout: read("retry_timeout", config.retry_timeout, DEFAULTS.2)?,
        })
    }

    /// From a renewal of the lock that was seen to the earliest moment at which another node can have it.
    pub fn span(self) -> Duration {
        self.ttl.saturating_sub(self.loop_wait).saturating_sub(self.retry_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_lock() {
        for (body, seconds) in [
            (r#"{"ttl":30,"loop_wait":10,"retry_timeout":10,"postgresql":{"use_slots":true}}"#, 10),
            ("{}", 10),
            (r#"{"ttl":20,"loop_wait":1,"retry_timeout":3,"maximum_lag_on_failover":1048576}"#, 16),
            (r#"{"ttl":60}"#, 40),
            (r#"{"ttl":20,"loop_wait":10,"retry_timeout":20}"#, 0),
            // Generators that quote every number are in use, and Patroni runs with them.
            (r#"{"ttl":"20","loop_wait":"10","retry_timeout":"5"}"#, 5),
            (r#"{"ttl":" 20 ","loop_wait":"+1","retry_timeout":"0_3"}"#, 16),
            (r#"{"ttl":20.9,"loop_wait":1.0,"retry_timeout":3.5}"#, 16),
        ] {
            assert_eq!(Times::read(body.as_bytes()).unwrap().span().as_secs(), seconds, "{body}");
        }
        for body in ["", "[]", "null", r#"{"ttl":-1}"#, "<html>", r#"{"ttl":30"#]
            .into_iter()
            .chain([r#"{"ttl":"20s"}"#, r#"{"ttl":"2__0"}"#, r#"{"ttl":"_20"}"#, r#"{"ttl":""}"#])
            .chain([r#"{"ttl":"-5"}"#, r#"{"ttl":[]}"#, r#"{"ttl":1e300}"#, r#"{"ttl":true}"#])
        {
            assert_eq!(
                Times::read(body.as_bytes()).unwrap_err().kind,
                ErrorKind::Malformed,
                "{body}"
            );
        }
    }
}
