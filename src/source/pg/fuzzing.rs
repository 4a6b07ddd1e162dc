//! The door of the targets in fuzz/.

use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::hash;
use super::explain::words;
use super::keys::Keyring;
use super::login::{Encrypted, Refused, Who, login};
use super::proof::Demand;
use super::scram::{Bound, First, Keys, Parameters};
use crate::config::conninfo::Conninfo;

/// Logs in as `conninfo` says, and says whether it was let in; else what is told of it, which nobody has
/// cleaned yet. `known`: it is known who the server is.
pub async fn logged_in(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    conninfo: &Conninfo,
    known: bool,
    certificate: Option<&[u8]>,
) -> Result<(), String> {
    let (keyring, password) = (Keyring::new(), conninfo.password.as_ref());
    let who = Who {
        user: conninfo.user.as_deref().unwrap_or("u"),
        dbname: conninfo.dbname.as_deref().unwrap_or("d"),
        application_name: &conninfo.application_name,
        options: "",
        password,
        keyring: &keyring,
        waits_for: &|_| {},
    };
    let demand = Demand {
        require: conninfo.require_auth,
        binding: conninfo.channel_binding,
        password: password.is_some(),
        known,
    };
    let encrypted = certificate.map_or(Encrypted::Not, |der| Encrypted::Tls(hash(der)));
    let refused = match login(stream, &who, encrypted, demand).await {
        Ok(()) => return Ok(()),
        Err(refused) => refused,
    };
    Err(match refused {
        Refused::Said(said) => words(&said),
        Refused::Io(error) => error.to_string(),
        Refused::NoPassword => "no password".to_owned(),
        Refused::Is(_, what) => what,
        Refused::Before(error) => error.to_string(),
    })
}

/// What was made of a server's challenge, and of its last word.
pub struct Exchange {
    /// Salt and iterations of the challenge.
    pub asked: (Vec<u8>, u32),
    /// What the client sends then.
    pub proof: String,
    /// Whether the last word proves that the server knows the password.
    pub proven: bool,
}

/// The part of SCRAM that reads what the server sends, with a nonce of `nonce`; its keys are made with one
/// iteration, whatever is asked.
///
/// # Errors
/// What is wrong with the challenge.
pub fn scram(
    nonce: &[u8; 18],
    challenge: &[u8],
    last: &[u8],
    binding: Option<Vec<u8>>,
) -> Result<Exchange, &'static str> {
    let first = First::new(binding.map_or(Bound::Not, Bound::To), nonce);
    let challenge = first.answered(challenge)?;
    let (salt, iterations) = (challenge.asked.salt.clone(), challenge.asked.iterations);
    let keys = Keys::of("pencil", &Parameters { salt: salt.clone(), iterations: 1 });
    let (proof, proven) = (challenge.proof(&keys), challenge.is_proven(&keys, last));
    Ok(Exchange { asked: (salt, iterations), proof, proven })
}

/// What SCRAM's first message has of `nonce`, with which a challenge begins.
pub fn first(nonce: &[u8; 18]) -> String {
    First::new(Bound::Not, nonce).message()
}

/// The hash that a login is bound to, of this certificate.
pub fn certificate_hash(der: &[u8]) -> Option<Vec<u8>> {
    hash(der)
}
