//! What a program of the operator's prints: its exit code, its output, and after a zero byte what it complains.

#![no_main]

use rolecall::fuzzing::command;
use rolecall::look::error::MOST_DETAIL;
use rolecall_fuzz::{cleaned, split, target};

target!(|data| {
    let Some((code, data)) = data.split_first() else { return };
    let (output, complaint) = split(data, b"\0");
    match command(*code, output, complaint) {
        Ok(seen) => {
            assert_eq!(*code, 0);
            let word = String::from_utf8_lossy(output).trim_ascii().to_owned();
            assert_eq!(seen.role.is_none(), word == "none", "{seen:?}");
        }
        Err(error) => cleaned(&error.detail, MOST_DETAIL),
    }
});
