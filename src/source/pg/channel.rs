//! The way to a server: a stream, encrypted as `sslmode` says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};

use ring::digest;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::login::{Encrypted, Refused};
use super::message::stranger;
use super::wire::io_kind;
use crate::look::error::ErrorKind;
use crate::source::tls::{Attempt, end, said};

/// Asks whether the server can do TLS (manual, "SSL Session Encryption").
pub(super) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What is said of a server that has no TLS.
const NO_TLS: &str = "the server does not support TLS; hint: run ALTER SYSTEM SET ssl = on there, \
                      with server.crt and server.key in its data directory, and SELECT \
                      pg_reload_conf(); or set sslmode=prefer, if the connection need not be \
                      encrypted";

/// `AuthenticationOk`
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";

/// Anything that carries bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream on which nothing of the protocol has been said yet.
pub(super) struct Channel {
    pub stream: Box<dyn Stream>,
    pub encrypted: Encrypted,
    /// When the server's certificate ends, in seconds since 1970.
    pub ends: Option<i64>,
}

/// Encrypts `stream` as this attempt wants it; the certificate is judged by `config`, for `name`.
pub(super) async fn open(
    mut stream: Box<dyn Stream>,
    attempt: Attempt,
    config: Option<Arc<ClientConfig>>,
    name: &str,
) -> Result<Channel, Refused> {
    let plain = |stream| Channel { stream, encrypted: Encrypted::Not, ends: None };
    let config = match config {
        Some(config) if attempt != Attempt::Disable => config,
        _ => return Ok(plain(stream)),
    };
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => {}
        b'N' if attempt == Attempt::Prefer => return Ok(plain(stream)),
        b'N' => return Err(tls(NO_TLS)),
        other => return Err(Refused::Is(ErrorKind::Malformed, stranger(other))),
    }
    // What is no name of a certificate fits none, and where no name is asked for it is of no matter.
    let nobody = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    let name = ServerName::try_from(name.to_owned()).unwrap_or(nobody);
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| match (tls_within(&error), io_kind(&error)) {
        (Some(why), _) => tls(said(why)),
        (None, Some(ErrorKind::Tls) | None) => tls(error),
        (None, Some(_)) => Refused::Io(error),
    })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let encrypted = Encrypted::Tls(certificate.and_then(|der| hash(der)));
    let ends = certificate.and_then(|der| end(der));
    Ok(Channel { encrypted, ends, stream: Box::new(stream) })
}

/// An error of the stream, for a person.
pub(super) fn plainly(error: &io::Error) -> String {
    if let Some(tls) = tls_within(error) {
        return said(tls);
    }
    let hint = "the server's log says why; a proxy whose server is gone also does this, as does a \
                server that expects TLS from the start";
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!("the connection was closed without an answer; hint: {hint}")
        }
        io::ErrorKind::ConnectionReset => {
            format!("the connection was broken off (connection reset); hint: {hint}")
        }
        _ => error.to_string(),
    }
}

/// The error of the TLS library that an error of the stream holds.
fn tls_within(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls(what: impl std::fmt::Display) -> Refused {
    Refused::Is(ErrorKind::Tls, format!("error performing TLS handshake: {what}"))
}

/// The hash of a certificate that a login is bound to, by the algorithm of its own signature, MD5 and
/// SHA-1 replaced (RFC 5929, section 4.1). `None` where the signature has no hash of its own, as Ed25519.
pub(super) fn hash(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    let algorithm = match certificate.signature_algorithm.oid.to_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, der).as_ref().to_vec())
}

/// A stream on which the login is over, for a crate that would begin with one: what it sends for it is
/// dropped, and it is told at once that it is let in.
pub(super) struct Entered {
    stream: Box<dyn Stream>,
    to_tell: &'static [u8],
    greeting: Greeting,
    backend: Backend,
}

/// The process that the server said would serve this connection; 0 until it has. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Backend(Arc<AtomicI32>);

impl Backend {
    pub fn get(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

impl Entered {
    pub fn new(stream: Box<dyn Stream>, backend: Backend) -> Self {
        Self { stream, to_tell: LET_IN, greeting: Greeting::default(), backend }
    }
}

/// Reads along what a server says between the login and its first readiness, for the process number that is
/// in `BackendKeyData`.
#[derive(Debug, Default)]
struct Greeting {
    /// Tag, length and the first four bytes of the message that is read.
    head: Vec<u8>,
    /// Bytes of it that are still to come.
    left: usize,
    over: bool,
}

impl Greeting {
    /// Tag, length, and a number.
    const HEAD: usize = 9;

    /// The number, where these bytes end it.
    fn heard(&mut self, mut bytes: &[u8]) -> Option<i32> {
        while !self.over && !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let Some((tag, rest)) = self.head.split_first() else { continue };
            let Some(length) = rest.first_chunk::<4>() else { continue };
            let length = u32::from_be_bytes(*length) as usize;
            match *tag {
                b'K' => {
                    if let Some(number) = rest.get(4..8).and_then(|n| n.first_chunk::<4>()) {
                        self.over = true;
                        return Some(i32::from_be_bytes(*number));
                    }
                }
                // Ready, or an error: it has said none.
                b'Z' | b'E' => self.over = true,
                _ => {
                    self.left = length.saturating_sub(4);
                    self.head.clear();
                }
            }
            if self.head.len() >= Self::HEAD {
                self.over = true;
            }
        }
        None
    }
}

impl AsyncRead for Entered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.to_tell.is_empty() {
            let before = buf.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
            if let Some(pid) = self.greeting.heard(buf.filled().get(before..).unwrap_or_default()) {
                self.backend.0.store(pid, Ordering::Relaxed);
            }
            return polled;
        }
        let (told, rest) = self.to_tell.split_at(self.to_tell.len().min(buf.remaining()));
        buf.put_slice(told);
        self.to_tell = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Entered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.to_tell.is_empty() {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_read_along_however_the_bytes_come() {
        let said = b"S\0\0\0\x0aa\0b\0c\0K\0\0\0\x0c\0\0\x12\x34abcdZ\0\0\0\x05I";
        for piece in 1..said.len() {
            let mut greeting = Greeting::default();
            let found: Vec<_> =
                said.chunks(piece).filter_map(|bytes| greeting.heard(bytes)).collect();
            assert_eq!(found, [0x1234], "{piece}");
        }
        let mut none = Greeting::default();
        assert_eq!(none.heard(b"Z\0\0\0\x05IK\0\0\0\x0c\0\0\x12\x34abcd"), None);
    }
}
