//! One GET request on a connection of its own, which is gone with its answer: a server may freeze where
//! connections stay open, and one that is dropped with a look leaves nothing behind.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::observation::SourceError;
use crate::source::dial::{Dialer, Failed};
use crate::source::resolve::Resolver;

/// Most bytes of a head: more than any honest one, and as many as hyper takes lines.
const MAX_HEAD: usize = 16 * 1024;

/// Where a server is and how it is asked.
pub struct Server<'a> {
    pub resolver: &'a Resolver,
    pub dialer: &'a Dialer,
    /// A name or an address.
    pub host: &'a str,
    pub port: u16,
    /// With TLS, and the name that the certificate must have.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// What is asked.
pub struct Asked<'a> {
    /// The path, with its query.
    pub path: &'a str,
    /// The host as the server is told it.
    pub host: &'a str,
    pub headers: &'a [(&'static str, String)],
    /// Most bytes of the body that are read.
    pub most: usize,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The body, and what ended it too early where something did: it may be whole all the same.
    pub body: Vec<u8>,
    pub ended: Result<(), Broken>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Broken {
    /// The name has no address, or there is nothing to connect with.
    Before(SourceError),
    /// No address could be connected to.
    Unreached(Failed),
    /// The handshake failed, or broke off.
    Handshake(io::Error),
    /// After the handshake.
    Http(hyper::Error),
    /// The body is longer than is read.
    TooLong,
    /// What is asked cannot be written as a request.
    Request,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(error) => write!(f, "{error}"),
            Self::Unreached(Failed(all)) => {
                let shown: Vec<_> = all.iter().map(|(addr, e)| format!("{addr}: {e}")).collect();
                f.write_str(&shown.join("; "))
            }
            Self::Handshake(error) => write!(f, "{error}"),
            Self::Http(error) => match io_within(error) {
                Some(error) => write!(f, "{error}"),
                None => write!(f, "{error}"),
            },
            Self::TooLong => f.write_str("the answer is longer than is read"),
            Self::Request => f.write_str("what is asked is no request"),
        }
    }
}

/// The error of the system, or of TLS, that one of hyper holds.
pub fn io_within(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(here) = cause {
        if let Some(found) = here.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = here.source();
    }
    None
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Asks once. `with_body` says of a status whether its body is of interest, and how long it is waited for
/// where that is bounded. No deadline of its own otherwise.
pub async fn get(
    server: &Server<'_>,
    asked: &Asked<'_>,
    body_of: impl Fn(u16) -> Wanted,
) -> Result<Answer, Broken> {
    let stream = connect(server).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Broken::Http)?;
    let request = request(asked).ok_or(Broken::Request)?;
    let talk = async move {
        let response = sender.send_request(request).await.map_err(Broken::Http)?;
        let status = response.status().as_u16();
        let (body, ended) = match body_of(status) {
            Wanted::Not => (Vec::new(), Ok(())),
            Wanted::Whole => read(response, asked.most).await,
            Wanted::Within(time) => {
                let read = tokio::time::timeout(time, read(response, asked.most)).await;
                read.unwrap_or((Vec::new(), Ok(())))
            }
        };
        Ok(Answer { status, body, ended })
    };
    // The connection does its part of the work for as long as the answer is not there; what ends it is
    // told to who waits for the answer.
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut talk => answer,
        _ = &mut connection => talk.await,
    }
}

/// How much of a body is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Not,
    Whole,
    /// Nothing, where it takes longer.
    Within(Duration),
}

async fn connect(server: &Server<'_>) -> Result<Box<dyn Stream>, Broken> {
    let addresses = server.resolver.lookup(server.host).await.map_err(Broken::Before)?;
    let dialed = server.dialer.connect(server.resolver, server.host, &addresses, server.port);
    let stream: TcpStream = dialed.await.map_err(Broken::Unreached)?;
    let Some((config, name)) = &server.tls else { return Ok(Box::new(stream)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name.clone(), stream).await.map_err(Broken::Handshake)?;
    Ok(Box::new(stream))
}

fn request(asked: &Asked<'_>) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::get(asked.path)
        .header(HOST, asked.host)
        .header(CONNECTION, HeaderValue::from_static("close"))
        .header(USER_AGENT, concat!("rolecall/", env!("CARGO_PKG_VERSION")));
    for (name, value) in asked.headers {
        request = request.header(HeaderName::from_static(name), value);
    }
    request.body(Empty::new()).ok()
}

/// Reads to the end, or to one frame beyond `most`; and what ended it, where that was not its end.
async fn read(response: Response<Incoming>, most: usize) -> (Vec<u8>, Result<(), Broken>) {
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) if body.len() + data.len() > most => return (body, Err(Broken::TooLong)),
            Ok(Ok(data)) => body.extend_from_slice(&data),
            // Trailers say nothing here.
            Ok(Err(_)) => {}
            Err(error) => return (body, Err(Broken::Http(error))),
        }
    }
    (body, Ok(()))
}
