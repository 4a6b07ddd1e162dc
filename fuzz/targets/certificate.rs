//! A server's certificate: when it ends, and the hash that a login is bound to.

#![no_main]

use rolecall::fuzzing::pg::certificate_hash;
use rolecall_fuzz::target;

target!(|data| {
    let _ = rolecall::source::tls::end(data);
    if let Some(hash) = certificate_hash(data) {
        assert!([32, 48, 64].contains(&hash.len()));
    }
});
