//! The rows of pg_auto_failover's monitor, and the standbys of a server.

#![no_main]

use rolecall::fuzzing::pg_auto_failover::{followers, rows};
use rolecall::look::auto_failover::Known;
use rolecall::look::error::MOST_DETAIL;
use rolecall::look::stamp::Stamp;
use rolecall::source::pg_auto_failover::{MAX_FOLLOWERS, MAX_ROWS};
use rolecall_fuzz::{cleaned, target, text};

target!(|data| {
    match followers(text(data)) {
        Ok(count) => assert!(count <= MAX_FOLLOWERS),
        Err(error) => cleaned(&error.detail, MOST_DETAIL),
    }
    let rows = match rows(text(data)) {
        Ok(rows) => rows,
        Err(error) => return cleaned(&error.detail, MOST_DETAIL),
    };
    assert!(rows.len() <= MAX_ROWS);
    for row in &rows {
        cleaned(&row.name, 255);
        cleaned(&row.host, 255);
        assert!(row.timeline.0 > 0 && row.system != Some(0), "{row:?}");
    }
    let me = rows.first().map(|row| row.id);
    let mut known = Known::default();
    let vouches = known.hear(Stamp::default(), me, rows);
    assert_eq!(vouches, known.vouched_at.is_some());
});
