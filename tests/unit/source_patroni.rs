//! The Patroni source against servers that answer well, badly, slowly or not at all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rolecall::config;
use rolecall::config::conninfo::ClientCertificate;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::patroni::Patroni as Says;
use rolecall::look::role::Role;
use rolecall::source::RoleSource;
use rolecall::source::patroni::{MAX_BODY, Patroni};
use rolecall::source::resolve::Resolver;
use rolecall::verdict::policy::Hysteresis;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// No test waits longer for what must happen.
const SOON: Duration = Duration::from_secs(10);

const LEADER: &str = r#"{"state":"running","role":"primary","timeline":3}"#;
const REPLICA: &str = r#"{"state":"running","role":"replica"}"#;

fn asking(url: &str, resolver: Resolver) -> Patroni {
    // PostgreSQL's own port is another test's: tests/unit/patroni_port.rs.
    let server_port = config::ServerPort::NotAsked;
    let settings = config::Patroni { server_port, ..config::Patroni::at(url) };
    Patroni::new(&settings, resolver).unwrap()
}

/// A port of the test's own, and a source that asks there.
async fn fake() -> (TcpListener, Patroni) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, asking(&url, Resolver::system()))
}

/// Takes the next connection and reads the head of its request.
async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// What a look and the server it looks at came to.
async fn both<L, S>(look: impl Future<Output = L>, serve: impl Future<Output = S>) -> (L, S) {
    let both = async { tokio::join!(look, serve) };
    timeout(SOON, both).await.expect("the look and its server end")
}

/// Waits until the source has closed the connection.
async fn closed(mut stream: TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 64])).await.expect("the socket is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "more than one request on a connection: {read:?}");
}

/// One look at a server that answers with these bytes and ends the connection.
async fn look(answer: impl AsRef<[u8]>) -> Result<Observation, SourceError> {
    let (listener, mut source) = fake().await;
    let serve = async {
        let (mut stream, _) = asked(&listener).await;
        // A source that has read enough closes, whatever is still to come.
        let _ = stream.write_all(answer.as_ref()).await;
        let _ = stream.shutdown().await;
        closed(stream).await;
    };
    let (seen, ()) = both(source.observe(), serve).await;
    seen
}

fn leader() -> Observation {
    let timeline = Some(rolecall::look::role::Timeline(3));
    Observation {
        leader: Some(true),
        timeline,
        patroni: Some(Says::default()),
        tags: Some(Arc::default()),
        ..Observation::of(Role::Primary)
    }
}

#[tokio::test]
async fn an_answer_is_read_with_and_without_headers_and_length() {
    let length = LEADER.len();
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\nServer: BaseHTTP/0.6 Python/3.11\r\nContent-Type: application/json\r\n\r\n"
            .to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
    ] {
        let end = if head.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
        assert_eq!(look(format!("{head}{LEADER}{end}")).await, Ok(leader()), "{head}");
    }
}

#[tokio::test]
async fn a_503_is_a_no_however_its_body_ends() {
    let replica = Observation {
        leader: Some(false),
        patroni: Some(Says::default()),
        tags: Some(Arc::default()),
        ..Observation::of(Role::Replica)
    };
    let seen = look(format!("HTTP/1.0 503 Service Unavailable\r\n\r\n{REPLICA}")).await;
    assert_eq!(seen, Ok(replica));

    let long = "x".repeat(MAX_BODY + 1);
    for rest in [
        "\r\n",
        "\r\n<html>no</html>",
        "Content-Length: 99\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\nzz",
        &format!("\r\n{long}"),
    ] {
        let seen = look(format!("HTTP/1.1 503 No\r\n{rest}")).await;
        assert_eq!(seen.unwrap_err().kind, ErrorKind::NoBody, "{rest:.40}");
    }
}

#[tokio::test]
async fn every_other_answer_shows_nothing_and_says_what_it_was() {
    let spaces = " ".repeat(MAX_BODY - LEADER.len());
    let long = format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}{spaces}");
    let longer = format!("{long} ");
    assert_eq!(look(long).await, Ok(leader()), "the bound itself is read");

    for (answer, kind, detail) in [
        ("", ErrorKind::Unreachable, "connection closed before message completed"),
        ("HTTP/1.0 200", ErrorKind::Unreachable, "connection closed"),
        ("SSH-2.0-OpenSSH_9.2\r\n", ErrorKind::Malformed, "HTTP"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}P\r\n", ErrorKind::Malformed, "HTTP"),
        ("HTTP/1.0 200 OK\r\n\r\n", ErrorKind::Malformed, "expected Patroni's status as JSON"),
        ("HTTP/1.0 200 OK\r\n\r\n{\"state\": \"runn", ErrorKind::Malformed, "EOF while parsing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", ErrorKind::Unreachable, ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", ErrorKind::Unreachable, ""),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", ErrorKind::Status, "200 or 503, got 502"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", ErrorKind::Status, "got 401"),
        (&longer, ErrorKind::TooLong, "expected an answer of at most 65536 bytes"),
    ] {
        let error = look(answer).await.unwrap_err();
        assert_eq!(error.kind, kind, "{answer:.60}: {error}");
        assert!(error.detail.starts_with("http://127.0.0.1:"), "{error}");
        assert!(error.detail.contains("/primary: "), "{error}");
        assert!(error.detail.contains(detail), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (listener, mut source) = fake().await;
    let here = listener.local_addr().unwrap();
    let serve = async {
        let (mut stream, _) = asked(&listener).await;
        let answer = format!("HTTP/1.0 302 Found\r\nLocation: http://{here}/leader\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        closed(stream).await;
    };
    let (seen, ()) = both(source.observe(), serve).await;
    assert_eq!(seen.unwrap_err().kind, ErrorKind::Status);
    nobody_waits(&listener).await;
}

/// The backlog is a queue: whoever came before the test's own connection would be taken before it.
async fn nobody_waits(listener: &TcpListener) {
    let mine = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, taken) = listener.accept().await.unwrap();
    assert_eq!(taken, mine.local_addr().unwrap(), "another connection was opened");
}

#[tokio::test]
async fn a_look_is_one_request_on_a_connection_that_ends_with_it() {
    let (listener, mut source) = fake().await;
    for _ in 0..3 {
        let serve = async {
            let (mut stream, head) = asked(&listener).await;
            let length = LEADER.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{LEADER}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            (stream, head.to_ascii_lowercase())
        };
        let (seen, (stream, head)) = both(source.observe(), serve).await;
        assert_eq!(seen, Ok(leader()));
        assert!(head.starts_with("get /primary http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        // The server offers to keep the connection; the source does not.
        closed(stream).await;
        nobody_waits(&listener).await;
    }
}

#[tokio::test]
async fn a_dropped_look_closes_its_connection_and_the_next_starts_clean() {
    for begun in ["", "HTTP/1.0 20", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n{\"state\""]
    {
        let (listener, mut source) = fake().await;
        let begin = async {
            let (mut stream, _) = asked(&listener).await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            // Lets the look read it before it is dropped.
            sleep(Duration::from_millis(20)).await;
            stream
        };
        let stream = tokio::select! {
            early = source.observe() => panic!("{begun:?}: {early:?}"),
            stream = begin => stream,
        };
        closed(stream).await;

        let serve = async {
            let (mut stream, _) = asked(&listener).await;
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (seen, ()) = both(source.observe(), serve).await;
        assert_eq!(seen, Ok(leader()), "{begun:?}");
    }
}

/// Sends `bytes` every few milliseconds until the source closes.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).await.is_ok() {
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_dripping_200_lasts_until_it_is_dropped() {
    for head in ["", "HTTP/1.0 200 OK\r\n\r\n"] {
        let (listener, mut source) = fake().await;
        let begin = async {
            let (mut stream, _) = asked(&listener).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = timeout(Duration::from_millis(100), drip(&mut stream, b"H")).await;
            stream
        };
        let mut stream = tokio::select! {
            early = source.observe() => panic!("{head:?}: {early:?}"),
            stream = begin => stream,
        };
        timeout(SOON, drip(&mut stream, b"H")).await.expect("the socket is closed");
    }
}

#[tokio::test]
async fn a_503_without_an_end_is_a_no_in_time() {
    for piece in [&b""[..], b" ", &[b'x'; 8192]] {
        let (listener, mut source) = fake().await;
        let serve = async {
            let (mut stream, _) = asked(&listener).await;
            stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\n\r\n").await.unwrap();
            if !piece.is_empty() {
                drip(&mut stream, piece).await;
            }
            closed(stream).await;
        };
        // The default timeout of a look.
        let look = timeout(Duration::from_millis(1500), source.observe());
        let (seen, ()) = both(look, serve).await;
        let error = seen.expect("a no in time").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoBody);
    }
}

#[tokio::test]
async fn a_200_without_an_end_is_too_long() {
    let (listener, mut source) = fake().await;
    let serve = async {
        let (mut stream, _) = asked(&listener).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        drip(&mut stream, &[b' '; 8192]).await;
    };
    let (seen, ()) = both(source.observe(), serve).await;
    assert_eq!(seen.unwrap_err().kind, ErrorKind::TooLong);
}

#[tokio::test]
async fn a_reset_is_unreachable_and_a_closed_port_refused() {
    let (listener, mut source) = fake().await;
    let serve = async {
        let (stream, _) = asked(&listener).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let (seen, ()) = both(source.observe(), serve).await;
    assert_eq!(seen.unwrap_err().kind, ErrorKind::Unreachable);

    // Bound, so that nobody else can have the port, and not listening.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    let url = format!("http://joe:secret@127.0.0.1:{port}/");
    let error = asking(&url, Resolver::system()).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    let detail = format!(
        "http://127.0.0.1:{port}/primary: 127.0.0.1:{port}: Connection refused (os error 111)"
    );
    assert_eq!(*error.detail, *detail);
}

#[tokio::test]
async fn a_name_is_resolved_by_the_resolver_and_its_last_addresses_serve() {
    static DEAD: AtomicBool = AtomicBool::new(false);
    let resolver = Resolver::with(|name| {
        assert_eq!(name, "db1.example");
        if DEAD.load(Ordering::SeqCst) {
            return Err(io::Error::other("no name server answers"));
        }
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    });
    let (listener, _) = fake().await;
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://db1.example:{port}");
    let mut source = asking(&url, resolver);
    for dead in [false, true] {
        DEAD.store(dead, Ordering::SeqCst);
        let serve = async {
            let (mut stream, head) = asked(&listener).await;
            assert!(head.contains(&format!("db1.example:{port}\r\n")), "{head}");
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (seen, ()) = both(source.observe(), serve).await;
        assert_eq!(seen, Ok(leader()));
    }

    let nowhere = Resolver::with(|_| Err(io::Error::other("no such name")));
    let error = asking(&url, nowhere).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unresolved);
    assert!(error.detail.ends_with("cannot resolve \"db1.example\": no such name"), "{error}");
}

/// Runs a test of this file again, in an environment full of proxies that nobody runs.
#[test]
fn proxies_in_the_environment_are_ignored() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "source_patroni::an_answer_is_read_with_and_without_headers_and_length"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, "http://127.0.0.1:1");
    }
    for name in ["no_proxy", "NO_PROXY", "REQUEST_METHOD"] {
        again.env_remove(name);
    }
    let done = again.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

// === TLS ===

/// An authority, and certificates by it for Patroni and for rolecall, as PEM files.
struct Papers {
    dir: tempfile::TempDir,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Papers {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
        let papers = Self { dir: tempfile::tempdir().unwrap(), authority };
        std::fs::write(papers.path("ca.pem"), papers.authority.pem()).unwrap();
        papers
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Writes NAME.pem and NAME.key, and returns them for a server.
    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2099, 1, 2);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }

    /// Serves HTTP over TLS with the certificate of `name`, one answer a connection.
    async fn serve(&self, name: &str, client_needed: bool) -> SocketAddr {
        let (chain, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if client_needed {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(
            builder.with_single_cert(chain, key).unwrap(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let _ =
                    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        addr
    }

    fn asking(&self, addr: SocketAddr, server_name: Option<&str>, client: Option<&str>) -> Patroni {
        let client = client.map(|name| ClientCertificate {
            cert: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        });
        let tls = config::PatroniTls {
            ca_file: Some(self.path("ca.pem")),
            client,
            server_name: server_name.map(str::to_owned),
        };
        let settings = config::Patroni { tls, ..config::Patroni::at(&format!("https://{addr}")) };
        Patroni::new(&settings, Resolver::system()).unwrap()
    }
}

/// 2099-01-02
const ENDS: i64 = 4_070_995_200;

#[tokio::test]
async fn a_certificate_must_be_signed_and_name_the_server_it_is_asked_for() {
    let papers = Papers::new();
    let addr = papers.serve("db1.test", false).await;
    // Asked at a loopback address, the certificate names the node.
    let seen = papers.asking(addr, Some("db1.test"), None).observe().await.unwrap();
    assert_eq!((seen.role, seen.leader), (Some(Role::Primary), Some(true)));
    assert_eq!(seen.expiry.peer, Some(ENDS));
    assert_eq!(seen.expiry.own, None);
    for name in [None, Some("db2.test")] {
        let error = papers.asking(addr, name, None).observe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PatroniTls, "{error}");
        assert!(error.detail.contains("not valid for name"), "{error}");
    }
    let others = Papers::new();
    let error = others.asking(addr, Some("db1.test"), None).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PatroniTls, "{error}");
    assert!(error.detail.contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let papers = Papers::new();
    let addr = papers.serve("db1.test", true).await;
    papers.issue("rolecall");
    let seen = papers.asking(addr, Some("db1.test"), Some("rolecall")).observe().await.unwrap();
    assert_eq!(seen.expiry.own, Some(ENDS));
    let error = papers.asking(addr, Some("db1.test"), None).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PatroniTls, "{error}");
}

#[tokio::test]
async fn http_and_https_that_meet_are_told_apart() {
    let papers = Papers::new();
    let secure = papers.serve("db1.test", false).await;
    let plain = asking(&format!("http://{secure}"), Resolver::system()).observe().await;
    let error = plain.unwrap_err();
    assert!(error.detail.contains("use https in `url`"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut source = papers.asking(listener.local_addr().unwrap(), Some("db1.test"), None);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.0 400 Bad request\r\n\r\n").await.unwrap();
        drop(stream);
    };
    let (seen, ()) = both(source.observe(), serve).await;
    assert_eq!(seen.unwrap_err().kind, ErrorKind::Mismatch);
}

#[tokio::test]
async fn rotated_files_are_used_and_broken_ones_change_nothing() {
    let papers = Papers::new();
    let addr = papers.serve("db1.test", true).await;
    papers.issue("rolecall");
    let mut source = papers.asking(addr, Some("db1.test"), Some("rolecall"));
    source.observe().await.unwrap();
    std::fs::write(papers.path("rolecall.pem"), "nothing").unwrap();
    source.observe().await.expect("rolecall keeps using the old files");
    std::fs::remove_file(papers.path("rolecall.key")).unwrap();
    source.observe().await.expect("and where one is gone");
    // Of another authority: it is used, and the server refuses it.
    let others = Papers::new();
    others.issue("rolecall");
    for file in ["rolecall.pem", "rolecall.key"] {
        std::fs::copy(others.path(file), papers.path(file)).unwrap();
    }
    assert_eq!(source.observe().await.unwrap_err().kind, ErrorKind::PatroniTls);
}

// === lag and times ===

#[tokio::test]
async fn a_replica_over_its_limit_is_asked_for_the_lower_mark() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lag = Some(Hysteresis { max: 16, resume: 12 });
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = config::Patroni { lag, ..config::Patroni::at(&url) };
    let mut source = Patroni::new(&settings, Resolver::system()).unwrap();
    for (status, asked_for) in [(200, 16), (503, 16), (503, 12), (200, 12), (200, 16)] {
        let serve = async {
            let (mut stream, head) = asked(&listener).await;
            let line = format!("GET /read-only?lag={asked_for} HTTP/1.1\r\n");
            assert!(head.starts_with(&line), "{head}");
            let answer = format!("HTTP/1.0 {status} X\r\n\r\n{REPLICA}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
        };
        let (seen, ()) = both(source.observe(), serve).await;
        assert_eq!(seen.unwrap().patroni.unwrap().over_lag, Some(status == 503));
    }
}

#[tokio::test]
async fn the_times_are_asked_for_between_looks_and_bound_what_is_said_of_the_lock() {
    let (listener, mut source) = fake().await;
    let body = "{\"ttl\":20,\"loop_wait\":1,\"retry_timeout\":3}";
    // The second time an operator had the configuration read again.
    for _ in 0..2 {
        source.renew();
        let serve = async {
            let (mut stream, head) = asked(&listener).await;
            assert!(head.starts_with("GET /config "), "{head}");
            stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
            drop(stream);
        };
        let ((), ()) = both(source.between_looks(), serve).await;
        // Asked once, and not again for half a minute.
        source.between_looks().await;
        let serve = async {
            let (mut stream, head) = asked(&listener).await;
            assert!(head.starts_with("GET /primary "), "{head}");
            stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}").as_bytes()).await.unwrap();
            drop(stream);
        };
        let (seen, ()) = both(source.observe(), serve).await;
        assert_eq!(seen.unwrap().patroni.unwrap().times.unwrap().span(), Duration::from_secs(16));
    }
    // Where the consensus store is lost it hangs; that is bounded, and nothing is known.
    let (listener, mut source) = fake().await;
    let hang = async {
        let (stream, _) = asked(&listener).await;
        closed(stream).await;
    };
    let ((), ()) = both(source.between_looks(), hang).await;
}

/// Of the two addresses of a name the first takes what it is sent and answers nothing, as a dead host.
#[tokio::test]
async fn a_name_of_which_one_address_is_dead_is_seen_within_a_look() {
    let alive = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = alive.local_addr().unwrap().port();
    let [.., c, d] = std::process::id().to_be_bytes();
    let dead = Ipv4Addr::new(127, 91, c, d.clamp(1, 254));
    let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = tcp();
    listener.bind(&SocketAddr::from((dead, port)).into()).unwrap();
    listener.listen(0).unwrap();
    // They fill its queue: the kernel drops what comes after.
    let filling = [tcp(), tcp(), tcp(), tcp()];
    for socket in &filling {
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&listener.local_addr().unwrap());
    }
    let dns = Resolver::with(move |_| Ok(vec![dead.into(), Ipv4Addr::LOCALHOST.into()]));
    let limit = Duration::from_millis(1500);
    let mut source = asking(&format!("http://db1.test:{port}"), dns).within(limit);
    for _ in 0..2 {
        let serve = async {
            let (mut stream, _) = asked(&alive).await;
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{LEADER}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let (seen, ()) = both(timeout(limit, source.observe()), serve).await;
        assert_eq!(seen.expect("within a look").unwrap().leader, Some(true));
    }
    drop(alive);
    let error = rolecall::watch::poller::look(&mut source, limit).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(error.detail.ends_with(&format!("nothing answers at {dead}:{port}")), "{error}");
}

/// A head is read up to a bound, however much comes.
#[tokio::test]
async fn a_head_without_end_is_not_read() {
    let long = "x".repeat(64 * 1024);
    let seen = look(format!("HTTP/1.0 200 OK\r\nX-Long: {long}\r\n\r\n{LEADER}")).await;
    seen.expect_err("a head of 64 KiB");
    let fits = "x".repeat(8 * 1024);
    let seen = look(format!("HTTP/1.0 200 OK\r\nX-Long: {fits}\r\n\r\n{LEADER}")).await;
    assert_eq!(seen, Ok(leader()));
}
