//! One GET request on a connection of its own, which is gone with its answer: a server may freeze where
//! connections stay open, and one that is dropped with a look leaves nothing behind.
//!
//! A client of reqwest for each address, so that the addresses of a name share the time of a look as
//! [`crate::source::dial`] has it. The first connection that is made is asked, and no other.

mod gate;

use std::error::Error;
use std::fmt;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use reqwest::header::{CONNECTION, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use rustls::ClientConfig;

use crate::look::error::SourceError;
use crate::source::dial::{Dialer, Failed};
use crate::source::resolve::Resolver;
use crate::source::stage::Stage;
use gate::Gate;

/// Most bytes of the names and values in a head: more than any honest one has. reqwest cannot be told how much is
/// read; that is hyper's own bound, 100 lines and some 400 KiB.
const MAX_HEAD: usize = 16 * 1024;

/// Where a server is and how it is asked.
pub struct Server<'a> {
    pub resolver: &'a Resolver,
    pub dialer: &'a Dialer,
    /// A name or an address, whatever the URL calls it.
    pub host: &'a str,
    /// Of use where the URL is one of https.
    pub tls: &'a ClientConfig,
}

/// What is asked.
pub struct Request<'a> {
    /// With the name that the certificate must have, and the port. A user and a password go as
    /// `Authorization`.
    pub url: Url,
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

/// Why there is no answer. Nothing in it repeats the URL.
#[derive(Debug)]
pub enum Broken {
    /// The name has no address.
    Before(SourceError),
    /// No address could be connected to.
    Unreached(Failed),
    /// The handshake failed, or broke off.
    Handshake(reqwest::Error),
    /// After the handshake.
    Http(reqwest::Error),
    /// The head is longer than any honest one.
    LongHead,
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
            Self::Handshake(error) | Self::Http(error) => match io_within(error) {
                Some(error) => write!(f, "{error}"),
                None => match within::<hyper::Error>(error) {
                    Some(error) => write!(f, "{error}"),
                    None => write!(f, "{error}"),
                },
            },
            Self::LongHead => {
                write!(f, "expected an HTTP head of at most {MAX_HEAD} bytes, got more")
            }
            Self::TooLong => f.write_str("the answer is longer than rolecall reads"),
            Self::Request => f.write_str("the request is not valid"),
        }
    }
}

/// What of this type an error rests on.
pub fn within<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(here) = cause {
        if let Some(found) = here.downcast_ref() {
            return Some(found);
        }
        cause = here.source();
    }
    None
}

/// The error of the system, or of TLS, that an error rests on.
pub(crate) fn io_within(error: &reqwest::Error) -> Option<&io::Error> {
    let mut found: &io::Error = within(error)?;
    // The connector wraps what a handshake ends with into another.
    while let Some(inner) = found.get_ref().and_then(|inner| inner.downcast_ref()) {
        found = inner;
    }
    Some(found)
}

/// How much of a body is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Not,
    Whole,
    /// Nothing, where it takes longer.
    Within(Duration),
}

/// Asks once. `body_of` says of a status whether its body is of interest, and how long it is waited for
/// where that is bounded. No deadline of its own otherwise.
pub async fn get(
    server: &Server<'_>,
    asked: &Request<'_>,
    body_of: impl Fn(u16) -> Wanted,
) -> Result<Answer, Broken> {
    server.dialer.waits_for(Stage::Name);
    let addresses = server.resolver.lookup(server.host).await.map_err(Broken::Before)?;
    let encrypted = asked.url.scheme() == "https";
    server.dialer.waits_for(if encrypted { Stage::Encrypted } else { Stage::Head });
    let port = asked.url.port_or_known_default().ok_or(Broken::Request)?;
    let connect = |addr| connect(server, asked, addr);
    let connected = server.dialer.race(server.resolver, server.host, &addresses, port, connect);
    let connected = connected.await.map_err(Broken::Unreached)??;
    server.dialer.waits_for(Stage::Head);
    connected.gate.open();
    let response = connected.sending.await.map_err(http)?;
    let head = response.headers().iter();
    if head.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > MAX_HEAD {
        return Err(Broken::LongHead);
    }
    let status = response.status().as_u16();
    server.dialer.waits_for(Stage::Body);
    let (body, ended) = match body_of(status) {
        Wanted::Not => (Vec::new(), Ok(())),
        Wanted::Whole => read(response, asked.most).await,
        Wanted::Within(time) => {
            let read = tokio::time::timeout(time, read(response, asked.most)).await;
            read.unwrap_or((Vec::new(), Ok(())))
        }
    };
    Ok(Answer { status, body, ended })
}

/// A request that waits at its gate. Dropped, its connection ends without a byte of it.
struct Connected {
    gate: Gate,
    sending: Pin<Box<dyn Future<Output = reqwest::Result<Response>> + Send>>,
}

/// Connects to this address. What the system refuses leaves another one to be tried; what fails after that is
/// what became of the server.
async fn connect(
    server: &Server<'_>,
    asked: &Request<'_>,
    addr: SocketAddr,
) -> io::Result<Result<Connected, Broken>> {
    let gate = Gate::default();
    let Some(request) = request(server, asked, addr, gate.clone()) else {
        return Ok(Err(Broken::Request));
    };
    let mut sending = Box::pin(request.send());
    let ended = tokio::select! {
        biased;
        ended = &mut sending => ended,
        () = gate.reached() => return Ok(Ok(Connected { gate, sending })),
    };
    match ended {
        Err(error) if error.is_builder() => Ok(Err(Broken::Request)),
        Err(error) => match of_system(&error) {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(Err(Broken::Handshake(error.without_url()))),
        },
        // Nothing is answered before the gate is open; if it were, it is the answer.
        answered => Ok(Ok(Connected { gate, sending: Box::pin(ready(answered)) })),
    }
}

/// The number of the error with which the system ended an attempt to connect. What ends a handshake, an error
/// of the system or not, is wrapped by the connector.
fn of_system(error: &reqwest::Error) -> Option<i32> {
    within::<io::Error>(error)?.raw_os_error()
}

fn http(error: reqwest::Error) -> Broken {
    Broken::Http(error.without_url())
}

/// The request, by a client that knows no other address. A client costs little, and keeps nothing for the next
/// look.
fn request(
    server: &Server<'_>,
    asked: &Request<'_>,
    addr: SocketAddr,
    gate: Gate,
) -> Option<RequestBuilder> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(server.tls.clone())
        // Where the URL has an address, that is the one.
        .resolve(asked.url.host_str()?, addr)
        .connector_layer(gate)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
        .build()
        .ok()?;
    let request =
        client.get(asked.url.clone()).header(CONNECTION, HeaderValue::from_static("close"));
    Some(asked.headers.iter().fold(request, |request, (name, value)| request.header(*name, value)))
}

/// Reads to the end, or to one chunk beyond `most`; and what ended it, where that was not its end.
async fn read(mut response: Response, most: usize) -> (Vec<u8>, Result<(), Broken>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > most => {
                return (body, Err(Broken::TooLong));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(http(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::conninfo::{SslMode, TlsSettings};
    use crate::source::tls::{PeerEnd, client_config};

    /// Of a look.
    const LOOK: Duration = Duration::from_secs(20);

    struct Ground {
        listener: TcpListener,
        resolver: Resolver,
        dialer: Dialer,
        tls: ClientConfig,
    }

    impl Ground {
        /// Somebody listens at the last of these addresses.
        async fn new(before: &[IpAddr]) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut all = before.to_vec();
            all.push(Ipv4Addr::LOCALHOST.into());
            let unused = TlsSettings::of(SslMode::Disable);
            Self {
                listener,
                resolver: Resolver::with(move |_| Ok(all.clone())),
                dialer: Dialer::new(LOOK),
                tls: client_config(&unused, &PeerEnd::default()).unwrap(),
            }
        }

        fn server(&self) -> Server<'_> {
            let Self { resolver, dialer, tls, .. } = self;
            Server { resolver, dialer, host: "db1", tls }
        }

        fn addr(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }

        fn asked(&self) -> Request<'static> {
            let url =
                format!("http://joe:secret@other.invalid:{}/primary?lag=1", self.addr().port());
            Request { url: url.parse().unwrap(), headers: &[], most: 10 }
        }

        /// What is asked, and is answered so.
        async fn serve(&self, answer: &str) -> String {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        }
    }

    /// The kind: two addresses are connected to at one moment, of whatever servers. One is asked.
    #[tokio::test]
    async fn a_connection_that_is_not_taken_ends_without_a_byte() {
        let ground = Ground::new(&[]).await;
        let (server, asked) = (ground.server(), ground.asked());
        let left = connect(&server, &asked, ground.addr()).await.unwrap().unwrap();
        let (mut second, _) = ground.listener.accept().await.unwrap();
        // However long it has, and whoever polls it.
        let waits = tokio::spawn(left.sending);
        let get = get(&server, &asked, |_| Wanted::Whole);
        let (answer, _) = tokio::join!(get, ground.serve("HTTP/1.0 200 OK\r\n\r\nyes"));
        assert_eq!(answer.unwrap().body, b"yes");
        waits.abort();
        let mut all = Vec::new();
        second.read_to_end(&mut all).await.unwrap();
        assert!(all.is_empty(), "{}", String::from_utf8_lossy(&all));
    }

    #[tokio::test]
    async fn the_next_address_is_asked_where_one_is_refused_and_told_all_that_the_url_says() {
        let [.., c, d] = std::process::id().to_be_bytes();
        let ground = Ground::new(&[Ipv4Addr::new(127, 93, c, d.clamp(1, 254)).into()]).await;
        let (server, asked) = (ground.server(), ground.asked());
        let get = get(&server, &asked, |_| Wanted::Whole);
        let (answer, head) = tokio::join!(get, ground.serve("HTTP/1.0 200 OK\r\n\r\nyes"));
        let answer = answer.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"yes"[..]));
        assert!(head.starts_with("get /primary?lag=1 http/1.1\r\n"), "{head}");
        for line in [
            &*format!("host: other.invalid:{}", ground.addr().port()),
            "connection: close",
            // joe:secret
            "authorization: basic am9lonnly3jlda==",
        ] {
            assert!(head.lines().any(|sent| sent == line), "{line}: {head}");
        }
    }

    #[tokio::test]
    async fn failures_are_told_in_words_without_the_url() {
        let ground = Ground::new(&[]).await;
        let (server, asked) = (ground.server(), ground.asked());
        let lines = "A: b\r\n".repeat(101);
        for (answer, says) in [
            ("", "connection closed before message completed"),
            ("SSH-2.0\r\n\r\n", "invalid HTTP version parsed"),
            (&*format!("HTTP/1.0 200 OK\r\n{lines}\r\n"), "message head is too large"),
        ] {
            let get = get(&server, &asked, |_| Wanted::Whole);
            let (broken, _) = tokio::join!(get, ground.serve(answer));
            assert_eq!(broken.unwrap_err().to_string(), says, "{answer:?}");
        }
        let get_long = get(&server, &asked, |_| Wanted::Whole);
        let long = ground.serve("HTTP/1.0 200 OK\r\n\r\nmore than ten");
        let (answer, _) = tokio::join!(get_long, long);
        assert!(matches!(answer.unwrap().ended, Err(Broken::TooLong)));
        let (addr, tls) = (ground.addr(), &ground.tls);
        drop(ground.listener);
        let server =
            Server { resolver: &ground.resolver, dialer: &ground.dialer, host: "db1", tls };
        let broken = get(&server, &asked, |_| Wanted::Whole).await.unwrap_err();
        assert_eq!(broken.to_string(), format!("{addr}: Connection refused (os error 111)"));
    }
}
