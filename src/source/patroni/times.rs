//! How long Patroni's leader lock lives, from `GET /config`.

use std::time::Duration;

use serde::Deserialize;

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
    ttl: Option<u64>,
    loop_wait: Option<u64>,
    retry_timeout: Option<u64>,
}

impl Times {
    /// Reads the body of `/config`. [`ErrorKind::Malformed`] where it is no object, or a time no number.
    pub fn read(body: &[u8]) -> Result<Self, SourceError> {
        let config: Config = serde_json::from_slice(body).map_err(|error| {
            let what = format_args!("expected Patroni's configuration as JSON: {error}");
            SourceError::new(ErrorKind::Malformed, what)
        })?;
        let seconds = |value: Option<u64>, default| Duration::from_secs(value.unwrap_or(default));
        Ok(Self {
            ttl: seconds(config.ttl, DEFAULTS.0),
            loop_wait: seconds(config.loop_wait, DEFAULTS.1),
            retry_timeout: seconds(config.retry_timeout, DEFAULTS.2),
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
        ] {
            assert_eq!(Times::read(body.as_bytes()).unwrap().span().as_secs(), seconds, "{body}");
        }
        for body in ["", "[]", "null", r#"{"ttl":"30"}"#, r#"{"ttl":-1}"#, "<html>", r#"{"ttl":30"#]
        {
            assert_eq!(
                Times::read(body.as_bytes()).unwrap_err().kind,
                ErrorKind::Malformed,
                "{body}"
            );
        }
    }
}
