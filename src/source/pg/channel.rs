//! The way to a server: a stream, encrypted as `sslmode` says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ring::digest;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::login::{Encrypted, Refused};
use super::wire::io_kind;
use crate::observation::ErrorKind;
use crate::source::tls::{Attempt, end};

/// Asks whether the server can do TLS (manual, "SSL Session Encryption").
pub(super) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

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
        b'N' => return Err(tls("server does not support TLS")),
        _ => {
            let what = "the server answers the question for TLS with nonsense".to_owned();
            return Err(Refused::Is(ErrorKind::Malformed, what));
        }
    }
    let name = ServerName::try_from(name.to_owned()).map_err(tls)?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.map_err(|error| match io_kind(&error) {
        Some(ErrorKind::Tls) | None => tls(error),
        Some(_) => Refused::Io(error),
    })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let encrypted = Encrypted::Tls(certificate.and_then(|der| hash(der)));
    let ends = certificate.and_then(|der| end(der));
    Ok(Channel { encrypted, ends, stream: Box::new(stream) })
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
}

impl Entered {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, to_tell: LET_IN }
    }
}

impl AsyncRead for Entered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.to_tell.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
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
