//! Whether somebody answers in PostgreSQL's protocol, without a login.
//!
//! Two ways, measured with PostgreSQL 15.18 and PgBouncer 1.18:
//!
//! * The question for TLS (`SSLRequest`). Whoever answers lives, and neither of the two writes a line about
//!   it (PostgreSQL with `log_connections` says "connection received", as of every connection).
//! * A startup message in a user's name, which is answered as a client would be: the server says that it is
//!   starting or stopping. PgBouncer logs each of them, PostgreSQL those whom its `pg_hba.conf` does not ask
//!   for a password.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::channel::SSL_REQUEST;
use super::explain::{Step, broken_kind, sqlstate_kind};
use super::message::{Said, read, startup};
use super::wire::Bounded;
use crate::look::error::ErrorKind;

/// The database that a startup message asks for. Whether it is there is no matter: that it is not is an
/// answer, too.
const DATABASE: &str = "postgres";

/// `AuthenticationOk`: who is let in at once says goodbye.
const LET_IN: [u8; 4] = [0; 4];

/// `Terminate`
const GOODBYE: [u8; 5] = *b"X\0\0\0\x04";

/// How long the end of a session that was let in is waited for. A server that is cut off logs that.
const GOODBYE_WITHIN: Duration = Duration::from_millis(100);

/// What the servers say who take no clients now.
const DATABASE_SYSTEM_IS: &str = "the database system is ";

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Somebody answers. Also who has no place for one more client: those who have one are well.
    Answered,
    /// A server lives and takes nobody now, in its own word: starting up, shutting down.
    Closed(String),
}

/// Asks over a connection on which nothing was said yet; in a user's name where there is one.
///
/// Errors where nobody answers, or not in this protocol. No deadline of its own.
pub(crate) async fn greet(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    user: Option<&str>,
) -> Result<Greeting, (ErrorKind, String)> {
    let mut stream = Bounded::new(stream);
    let greeted = match user {
        None => ask_for_tls(&mut stream).await,
        Some(user) => begin(&mut stream, user).await,
    };
    greeted.map_err(|error| (broken_kind(&error), error.to_string()))
}

async fn ask_for_tls(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<Greeting> {
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' | b'N' => Ok(Greeting::Answered),
        _ => Err(nonsense()),
    }
}

async fn begin(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    user: &str,
) -> std::io::Result<Greeting> {
    stream.write_all(&startup(&[("user", user), ("database", DATABASE)])).await?;
    let message = read(stream).await?;
    if message.tag == b'E' {
        let Said { code, message, .. } = Said::read(&message.body);
        let closed = sqlstate_kind(&code, Step::Connect) == ErrorKind::NotAccepting;
        let word = message.strip_prefix(DATABASE_SYSTEM_IS).unwrap_or(&message);
        return Ok(if closed { Greeting::Closed(word.to_owned()) } else { Greeting::Answered });
    }
    if message.body == LET_IN && stream.write_all(&GOODBYE).await.is_ok() {
        // Whatever comes of it, the server has answered.
        let _ = timeout(GOODBYE_WITHIN, copy(stream, &mut sink())).await;
    }
    Ok(Greeting::Answered)
}

fn nonsense() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not speak PostgreSQL's protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of these bytes of a server's.
    async fn told(user: Option<&str>, says: &[u8]) -> Result<Greeting, ErrorKind> {
        let (mut server, client) = tokio::io::duplex(1024);
        server.write_all(says).await.unwrap();
        let answers = async {
            // What is asked is read, so that nobody waits for room; then it ends.
            let _ = timeout(Duration::from_millis(20), server.read(&mut [0; 512])).await;
            drop(server);
        };
        let (greeted, ()) = tokio::join!(greet(client, user), answers);
        greeted.map_err(|(kind, _)| kind)
    }

    fn error(code: &str, message: &str) -> Vec<u8> {
        let body = format!("SFATAL\0C{code}\0M{message}\0\0");
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [b"E".as_slice(), &length, body.as_bytes()].concat()
    }

    #[tokio::test]
    async fn who_answers_the_question_for_tls_lives() {
        for (says, wanted) in [
            (b"S".as_slice(), Ok(Greeting::Answered)),
            (b"N", Ok(Greeting::Answered)),
            (b"", Err(ErrorKind::Unreachable)),
            (b"HTTP/1.1 400", Err(ErrorKind::Malformed)),
            (b"E", Err(ErrorKind::Malformed)),
        ] {
            assert_eq!(told(None, says).await, wanted, "{says:?}");
        }
    }

    #[tokio::test]
    async fn a_startup_message_is_answered_as_a_client_would_be() {
        let closed = |word: &str| Ok(Greeting::Closed(word.to_owned()));
        for (says, wanted) in [
            (b"R\0\0\0\x08\0\0\0\x05".to_vec(), Ok(Greeting::Answered)),
            (b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(), Ok(Greeting::Answered)),
            (error("57P03", "the database system is starting up"), closed("starting up")),
            (error("57P03", "the database system is shutting down"), closed("shutting down")),
            (error("57P01", "terminating connection"), closed("terminating connection")),
            // There is no place for one more, or nobody knows this user: it lives all the same.
            (error("53300", "sorry, too many clients already"), Ok(Greeting::Answered)),
            (error("08P01", "no more connections allowed"), Ok(Greeting::Answered)),
            (error("28000", "no pg_hba.conf entry"), Ok(Greeting::Answered)),
            (error("3D000", "no such database"), Ok(Greeting::Answered)),
            (b"SSH-2.0".to_vec(), Err(ErrorKind::Malformed)),
            (Vec::new(), Err(ErrorKind::Unreachable)),
        ] {
            assert_eq!(told(Some("rolecall"), &says).await, wanted, "{says:?}");
        }
    }
}
