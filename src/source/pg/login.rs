//! The beginning of a connection, up to the server's word that the user is let in.
//!
//! tokio-postgres does the rest. What it would do here it does on the thread that looks, and it tells
//! nobody how the server asked; here nothing is answered before [`super::proof`] has judged it.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::keys::Keyring;
use super::message::{Message, Said, proof, read, startup};
use super::proof::Demand;
use super::scram::{Bound, First};
use crate::config::conninfo::{ChannelBinding, Method};
use crate::config::secret::Secret;
use crate::look::error::{ErrorKind, SourceError};
use crate::source::stage::Stage;

/// Who wants in, and where.
pub(super) struct Who<'a> {
    pub user: &'a str,
    pub dbname: &'a str,
    pub application_name: &'a str,
    /// Settings for the session.
    pub options: &'a str,
    pub password: Option<&'a Secret>,
    pub keyring: &'a Keyring,
    /// Is told what the login waits for.
    pub waits_for: &'a (dyn Fn(Stage) + Sync),
}

/// How the connection is encrypted.
pub(super) enum Encrypted {
    Not,
    /// What a login can be bound to: the hash of the server's certificate, where it has one.
    Tls(Option<Vec<u8>>),
}

/// Why the user was not let in.
#[derive(Debug)]
pub(super) enum Refused {
    /// In the server's words.
    Said(Said),
    /// The connection broke off, or carried nonsense.
    Io(io::Error),
    /// The server asks for a password, and there is none for it.
    NoPassword,
    /// Anything else.
    Is(ErrorKind, String),
    /// It came to no login.
    Before(SourceError),
}

impl From<SourceError> for Refused {
    fn from(error: SourceError) -> Self {
        Self::Before(error)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Logs in over a stream of which nothing was read yet.
pub(super) async fn login(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: &Who<'_>,
    encrypted: Encrypted,
    demand: Demand,
) -> Result<(), Refused> {
    let settings = [
        ("client_encoding", "UTF8"),
        ("user", who.user),
        ("database", who.dbname),
        ("options", who.options),
        ("application_name", who.application_name),
    ];
    send(stream, &startup(&settings)).await?;
    let judge = |asked| demand.judge(asked, false).map_err(unproven);
    let (asks, body) = question(read(stream).await?)?;
    match asks {
        Asks::Nothing => return judge(Method::None),
        Asks::Password => {
            judge(Method::Password)?;
            send(stream, &proof(&terminated(password(who)?.expose())?)).await?;
        }
        Asks::Md5 => {
            judge(Method::Md5)?;
            let salt =
                body.try_into().map_err(|_| nonsense("its MD5 salt does not have four bytes"))?;
            let hash = md5_of(who.user, password(who)?.expose(), salt);
            send(stream, &proof(&terminated(&hash)?)).await?;
        }
        Asks::Sasl => scram(stream, who, encrypted, demand, &body).await?,
        Asks::Gss => {
            judge(Method::Gss)?;
            let what = "it asks for an authentication method that rolecall does not support \
                        (GSSAPI, SSPI, Kerberos)";
            return Err(Refused::Is(ErrorKind::Denied, what.to_owned()));
        }
        Asks::Other => {
            return Err(nonsense("it asks for a proof without saying which method to use"));
        }
    }
    match question(read(stream).await?)?.0 {
        Asks::Nothing => Ok(()),
        _ => Err(nonsense("it asks for a second proof")),
    }
}

async fn scram(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    who: &Who<'_>,
    encrypted: Encrypted,
    demand: Demand,
    mechanisms: &[u8],
) -> Result<(), Refused> {
    let offers = |wanted: &[u8]| mechanisms.split(|byte| *byte == 0).any(|one| one == wanted);
    let plus = offers(b"SCRAM-SHA-256-PLUS");
    let bound = match encrypted {
        Encrypted::Not if plus => return Err(nonsense("it offers channel binding without TLS")),
        Encrypted::Tls(Some(hash)) if demand.binding != ChannelBinding::Disable => {
            if plus {
                Bound::To(hash)
            } else {
                Bound::NotOffered
            }
        }
        Encrypted::Not | Encrypted::Tls(_) => Bound::Not,
    };
    if !offers(bound.mechanism().as_bytes()) {
        let what = "it offers no SASL method that rolecall supports (SCRAM-SHA-256)";
        return Err(Refused::Is(ErrorKind::Denied, what.to_owned()));
    }
    let is_bound = matches!(bound, Bound::To(_));
    demand.judge(Method::ScramSha256, is_bound).map_err(unproven)?;
    let password = password(who)?;
    let mut nonce = [0; 18];
    let random = SystemRandom::new().fill(&mut nonce);
    random.map_err(|_| io::Error::other("the operating system returns no random numbers"))?;
    let mechanism = bound.mechanism();
    let first = First::new(bound, &nonce);
    let message = first.message();
    let mut body = terminated(mechanism)?;
    // The message's own length does not count itself.
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(message.as_bytes());
    send(stream, &proof(&body)).await?;
    let challenge = first.answered(&step(read(stream).await?, CONTINUE)?).map_err(nonsense)?;
    (who.waits_for)(Stage::Keys);
    let keys = who.keyring.keys(password, &challenge.asked).await;
    (who.waits_for)(Stage::Login);
    let keys = keys.ok_or_else(|| {
        io::Error::other("the operating system cannot start the thread for SCRAM")
    })?;
    send(stream, &proof(challenge.proof(&keys).as_bytes())).await?;
    if !challenge.is_proven(&keys, &step(read(stream).await?, FINAL)?) {
        return Err(unproven("it does not know the password: its signature is wrong".to_owned()));
    }
    who.keyring.proved();
    Ok(())
}

/// How a server asks for a proof, by the number in its message.
enum Asks {
    Nothing,
    Password,
    Md5,
    Gss,
    Sasl,
    Other,
}

/// The number of the message in an exchange of SASL, and of its last one.
const CONTINUE: u32 = 11;
const FINAL: u32 = 12;

/// The question, and what comes with it.
fn question(message: Message) -> Result<(Asks, Vec<u8>), Refused> {
    let (number, body) = numbered(message)?;
    let asks = match number {
        0 => Asks::Nothing,
        3 => Asks::Password,
        5 => Asks::Md5,
        2 | 6 | 7 | 9 => Asks::Gss,
        10 => Asks::Sasl,
        _ => Asks::Other,
    };
    Ok((asks, body))
}

/// The body of a message within an exchange of SASL.
fn step(message: Message, wanted: u32) -> Result<Vec<u8>, Refused> {
    match numbered(message)? {
        (number, body) if number == wanted => Ok(body),
        // It has not proved anything.
        (0, _) => Err(unproven(
            "it accepted the login before it proved that it knows the password".to_owned(),
        )),
        _ => Err(nonsense("it broke off the SCRAM exchange")),
    }
}

fn numbered(Message { tag, mut body }: Message) -> Result<(u32, Vec<u8>), Refused> {
    if tag == b'E' {
        return Err(Refused::Said(Said::read(&body)));
    }
    let Some(number) = body.first_chunk().copied().map(u32::from_be_bytes) else {
        return Err(nonsense("its authentication request contains no number"));
    };
    Ok((number, body.split_off(4)))
}

fn password<'a>(who: &Who<'a>) -> Result<&'a Secret, Refused> {
    who.password.ok_or(Refused::NoPassword)
}

/// libpq's and the server's `pg_md5_encrypt`, twice.
fn md5_of(user: &str, password: &str, salt: [u8; 4]) -> String {
    use md5::{Digest, Md5};
    let hex = |first: &[u8], second: &[u8]| {
        let hash = Md5::new().chain_update(first).chain_update(second).finalize();
        hash.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    format!("md5{}", hex(hex(password.as_bytes(), user.as_bytes()).as_bytes(), &salt))
}

/// A text as the protocol writes it.
fn terminated(text: &str) -> Result<Vec<u8>, Refused> {
    if text.contains('\0') {
        let what = "a password with a zero byte cannot be sent".to_owned();
        return Err(Refused::Is(ErrorKind::Credential, what));
    }
    Ok([text.as_bytes(), b"\0"].concat())
}

fn unproven(what: String) -> Refused {
    Refused::Is(ErrorKind::Unproven, what)
}

fn nonsense(what: &str) -> Refused {
    Refused::Is(ErrorKind::Malformed, what.to_owned())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_is_as_postgresql_makes_it() {
        // What `SELECT 'md5' || md5(md5('secret' || 'u') || 'abcd')` says.
        assert_eq!(md5_of("u", "secret", *b"abcd"), "md5a05ce7e2d585968111cf9414346f1386");
    }
}
