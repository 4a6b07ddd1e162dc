//! The bodies of Patroni's answers: /primary and /read-only, /cluster, /config.

#![no_main]

use rolecall::fuzzing::{read_members, read_times};
use rolecall::look::error::{MOST_DETAIL, SourceError};
use rolecall::look::observation::Observation;
use rolecall::source::patroni::{Asked, MAX_BODY, read_answer};
use rolecall_fuzz::{cleaned, target};

fn failed(error: &SourceError) {
    cleaned(&error.detail, MOST_DETAIL);
}

fn seen(asked: Asked, status: u16, look: Result<Observation, SourceError>) {
    let seen = match look {
        Ok(seen) => seen,
        Err(error) => return failed(&error),
    };
    assert!([200, 503].contains(&status));
    assert!(status == 200 || seen.leader != Some(true), "503 is a no: {seen:?}");
    if let Some(word) = &seen.not_running {
        cleaned(word, 64);
    }
    let serves = seen.leader == Some(true) && seen.not_running.is_none();
    assert!(!serves || seen.patroni.is_some(), "{seen:?}");
    let over = seen.patroni.and_then(|says| says.over_lag);
    assert!(over.is_none() || asked == Asked::ReadOnly, "{seen:?}");
    assert!(over != Some(true) || status == 503, "{seen:?}");
}

target!(|data| {
    if data.len() > MAX_BODY {
        return;
    }
    for asked in [Asked::Primary, Asked::ReadOnly] {
        for status in [200, 503, 500] {
            seen(asked, status, read_answer(asked, status, data));
        }
    }
    match read_members(data) {
        Ok(members) => {
            // A member is at least `{"name":""}`.
            assert!(members.len() <= data.len() / 11);
            for member in members {
                cleaned(&member.name, 128);
                cleaned(member.host.as_deref().unwrap_or_default(), 255);
                let _ = member.is_at("http://10.0.0.1:8008");
            }
        }
        Err(error) => failed(&error),
    }
    match read_times(data) {
        Ok(times) => drop(times.span()),
        Err(error) => failed(&error),
    }
});
