//! The messages of PostgreSQL's protocol up to the end of a login (manual, "Message Formats").

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::wire::TooLong;

/// Most bytes of one message before the login is over; libpq's own bound for an error is 30,000.
pub const MAX_LOGIN_MESSAGE: usize = 32 * 1024;

/// Protocol 3.0
const VERSION: [u8; 4] = [0, 3, 0, 0];

/// A message of the server.
pub(super) struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// Reads the next message that is no notice.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    loop {
        let tag = stream.read_u8().await?;
        if !matches!(tag, b'R' | b'E' | b'N') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, stranger(tag)));
        }
        let length = stream.read_u32().await? as usize;
        let Some(length) = length.checked_sub(4) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message has no length"));
        };
        if length > MAX_LOGIN_MESSAGE {
            return Err(io::Error::other(TooLong(MAX_LOGIN_MESSAGE)));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if tag != b'N' {
            return Ok(Message { tag, body });
        }
    }
}

/// Who answers with this byte, which begins no answer of PostgreSQL's, and how to find out more.
pub(super) fn stranger(first: u8) -> String {
    let who = match first {
        // "HTTP/1.1 400", "SSH-2.0-OpenSSH"
        b'H' => "it answers as an HTTP server does".to_owned(),
        b'S' => "it answers as an SSH server does".to_owned(),
        other => format!("its answer begins with {:?}", char::from(other)),
    };
    format!(
        "the program that listens there does not speak PostgreSQL's protocol: {who}; hint: ss \
         -ltnp on that host shows which program listens on the port; SHOW port and SHOW \
         listen_addresses show where PostgreSQL listens"
    )
}

/// The message with which a client begins.
pub(super) fn startup(settings: &[(&str, &str)]) -> Vec<u8> {
    let mut body = VERSION.to_vec();
    for word in settings.iter().flat_map(|(key, value)| [key, value]) {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    body.push(0);
    [length(&body).as_slice(), &body].concat()
}

/// What a client answers to a question for a proof.
pub(super) fn proof(body: &[u8]) -> Vec<u8> {
    [b"p".as_slice(), &length(body), body].concat()
}

/// The length of a message with this body, which counts itself.
pub(super) fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes()
}

/// An error in the server's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
}

impl Said {
    /// Reads the body of an error.
    pub fn read(body: &[u8]) -> Self {
        let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
        let mut said = Self { code: String::new(), message: String::new(), detail: None };
        for (kind, text) in fields {
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => said.code = text,
                b'M' => said.message = text,
                b'D' => said.detail = Some(text),
                _ => {}
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::error::ErrorKind;
    use crate::source::pg::wire::io_kind;

    #[tokio::test]
    async fn a_message_is_read_up_to_a_bound_and_notices_are_passed_over() {
        let mut notice = b"N\0\0\0\x06ab".to_vec();
        notice.extend_from_slice(b"R\0\0\0\x08\0\0\0\0");
        let message = read(&mut notice.as_slice()).await.unwrap();
        assert_eq!((message.tag, message.body), (b'R', vec![0; 4]));
        for (bytes, kind) in [
            (b"E\x3f\xff\xff\xff".as_slice(), Some(ErrorKind::TooLong)),
            (b"R\0\0\0\x03", None),
            (b"HTTP/1.1", None),
            (b"R\0\0\0\x08\0", Some(ErrorKind::Unreachable)),
        ] {
            let error = read(&mut &*bytes).await.map(|_| ()).unwrap_err();
            assert_eq!(io_kind(&error), kind, "{bytes:?}: {error}");
        }
    }

    #[test]
    fn an_error_is_read_whatever_else_it_has() {
        let said = Said::read(b"SFATAL\0C28P01\0Mno \xff\0Dwhy\0Fauth.c\0\0");
        assert_eq!((&*said.code, &*said.message), ("28P01", "no \u{fffd}"));
        assert_eq!(said.detail.as_deref(), Some("why"));
        assert_eq!(Said::read(b"").code, "");
    }
}
