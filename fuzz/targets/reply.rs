//! A line that an operator lets rolecall say to HAProxy.

#![no_main]

use rolecall::reply::grammar::Reply;
use rolecall_fuzz::{target, text};

target!(|data| {
    let text = text(data);
    match Reply::parse(text) {
        Ok(reply) => {
            let line = reply.line();
            let (end, words) = line.split_last().expect("a line");
            assert_eq!(*end, b'\n');
            assert!(words.len() <= 256 && words.iter().all(|byte| matches!(byte, b' '..=b'~')));
            let words = std::str::from_utf8(words).expect("ASCII");
            assert_eq!(Reply::parse(words).as_ref(), Ok(&reply));
            assert!(reply.description.is_none_or(|text| (1..=127).contains(&text.len())));
        }
        Err(error) => {
            let _ = (error.expected(), error.hint(), error.to_string());
        }
    }
});
