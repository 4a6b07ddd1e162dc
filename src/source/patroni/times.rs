//! How long Patroni's leader lock lives, from `GET /config`.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::look::error::{ErrorKind, SourceError};
use crate::look::patroni::Times;

/// Patroni's own defaults, in seconds; a key that is not in its configuration has them.
const DEFAULTS: (u64, u64, u64) = (30, 10, 10);

/// How much of a value that is no time is shown, in characters.
const MOST_SHOWN: usize = 40;

/// The least `loop_wait` and `retry_timeout`, in seconds: Patroni 3 and 4 take them for anything shorter,
/// whatever `/config` says (`_validate_and_adjust_timeouts` of 3.3.11 and 4.1.5). They raise a short
/// `ttl`, too, which 2.1.7 does not; and where `loop_wait + 2 x retry_timeout` is longer than `ttl`, they
/// shorten both. Neither is counted on here: it leaves more of the lock.
const LEAST: (u64, u64) = (1, 3);

/// Seconds as Patroni takes them: it hands whatever stands there to Python's `int()`, so that a quoted
/// number counts, and a fraction is cut. What is below zero is as good as nothing. `None` where `int()`
/// raises, and Patroni goes on with what it had; `tests/real/patroni_times.rs` asks it.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Bool(truth) => Some(u64::from(*truth)),
        Value::Number(number) => {
            let whole = |number: f64| Duration::try_from_secs_f64(number.max(0.0)).ok();
            number.as_u64().or_else(|| Some(whole(number.as_f64()?)?.as_secs()))
        }
        Value::String(text) => {
            let text = text.trim();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            // Python lets single underscores stand between digits.
            let groups = || digits.split('_');
            let fit = groups().all(|g| !g.is_empty() && g.bytes().all(|b| b.is_ascii_digit()));
            let number = fit.then(|| groups().collect::<String>().parse().ok()).flatten();
            number.map(|seconds| if text.starts_with('-') { 0 } else { seconds })
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads the body of `/config`. [`ErrorKind::Malformed`] where it is no object, or a time no number.
pub fn read(body: &[u8]) -> Result<Times, SourceError> {
    let config: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        let what = format_args!("expected Patroni's configuration as JSON: {error}");
        SourceError::new(ErrorKind::Malformed, what)
    })?;
    let time = |key: &str, default, least: u64| {
        let Some(value) = config.get(key) else { return Ok(Duration::from_secs(default)) };
        let seconds = seconds(value).ok_or_else(|| {
            let shown: String = value.to_string().chars().take(MOST_SHOWN).collect();
            let what = format_args!("expected seconds as Patroni's `{key}`, got {shown}");
            SourceError::new(ErrorKind::Malformed, what)
        })?;
        Ok(Duration::from_secs(seconds.max(least)))
    };
    Ok(Times {
        ttl: time("ttl", DEFAULTS.0, 0)?,
        loop_wait: time("loop_wait", DEFAULTS.1, LEAST.0)?,
        retry_timeout: time("retry_timeout", DEFAULTS.2, LEAST.1)?,
    })
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
            (r#"{"ttl":"-5"}"#, 0),
            (r#"{"ttl":-1}"#, 0),
            (r#"{"ttl":true,"loop_wait":true,"retry_timeout":false}"#, 0),
            // Patroni takes 1 and 3 for these.
            (r#"{"ttl":20,"loop_wait":0,"retry_timeout":"0"}"#, 16),
            (r#"{"ttl":20,"loop_wait":0.5,"retry_timeout":2.9}"#, 16),
            (r#"{"ttl":20,"loop_wait":-10,"retry_timeout":-10}"#, 16),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap().span().as_secs(), seconds, "{body}");
        }
    }

    #[test]
    fn what_patroni_cannot_read_is_not_known() {
        for body in ["", "[]", "null", "<html>", r#"{"ttl":30"#, r#"{"ttl":1e300}"#] {
            assert_eq!(read(body.as_bytes()).unwrap_err().kind, ErrorKind::Malformed, "{body}");
        }
        let long = format!(r#"{{"ttl":"{}"}}"#, "x".repeat(1000));
        let error = read(long.as_bytes()).unwrap_err();
        assert!(
            error.detail.ends_with(&format!("got \"{}", "x".repeat(MOST_SHOWN - 1))),
            "{error}"
        );
        for value in
            [r#""20s""#, r#""2__0""#, r#""_20""#, r#""""#, r#""+ 20""#, r#""20.0""#, "[]", "null"]
        {
            for key in ["ttl", "loop_wait", "retry_timeout"] {
                let error = read(format!(r#"{{"{key}":{value}}}"#).as_bytes()).unwrap_err();
                let wanted = format!("expected seconds as Patroni's `{key}`, got {value}");
                assert_eq!((error.kind, &*error.detail), (ErrorKind::Malformed, &*wanted));
            }
        }
    }
}
