//! A server's part of SCRAM. `NONCE` in the data stands for what the client sent; the last word follows a
//! zero byte.

#![no_main]

use rolecall::fuzzing::pg::{first, scram};
use rolecall::source::pg::MAX_ITERATIONS;
use rolecall_fuzz::{split, target};

const NONCE: &[u8; 18] = b"eighteen random by";

target!(|data| {
    let Some((bound, data)) = data.split_first() else { return };
    let (challenge, last) = split(data, b"\0");
    let client = first(NONCE);
    let nonce = client.rsplit_once("r=").expect("a nonce").1;
    let (before, after) = split(challenge, b"NONCE");
    let named = before.len() < challenge.len();
    let sent = if named { [before, nonce.as_bytes(), after].concat() } else { challenge.to_vec() };
    let binding = (bound % 2 == 1).then(|| vec![7; 32]);
    let Ok(exchange) = scram(NONCE, &sent, last, binding) else { return };
    let (salt, iterations) = exchange.asked;
    assert!((1..=MAX_ITERATIONS).contains(&iterations));
    assert!(salt.len() <= sent.len());
    // It signs for the nonce of this login alone, and is believed by nobody who does not know the password.
    let parts: Vec<&str> = exchange.proof.split(',').collect();
    assert!(matches!(*parts, [c, r, p] if c.starts_with("c=")
        && r.strip_prefix("r=").is_some_and(|r| r.starts_with(nonce)) && p.starts_with("p=")));
    assert!(!exchange.proven, "{last:?}");
});
