//! The Patroni source over TLS, beyond what `tests/unit/source_patroni.rs` asks: each version of TLS, dates,
//! servers that freeze or end too early, and what the log says of files that are replaced.

mod server;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rolecall::config::conninfo::ClientCertificate;
use rolecall::config::{self, PatroniTls};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::{Expiry, Observation};
use rolecall::look::role::Role;
use rolecall::source::patroni::Patroni;
use rolecall::source::resolve::Resolver;
use rolecall::watch::poller;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ServerConfig};
use server::{Authority, LEADER, Manner, Server, Signed, tls};
use tempfile::TempDir;

/// The years with which certificates end.
const END: i32 = 2100;
const LATER: i32 = 2101;
const PAST: i32 = 1999;

/// The beginnings of `END` and `LATER`, in seconds since 1970.
const AT_END: Option<i64> = Some(4_102_444_800);
const AT_LATER: Option<i64> = Some(4_133_980_800);

/// No look may take longer.
const SOON: Duration = Duration::from_secs(10);

/// The files of one source.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in its place in one step, as a tool that rotates certificates does.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
        self.path(name)
    }

    fn put_client(&self, signed: &Signed) -> ClientCertificate {
        ClientCertificate {
            cert: self.put("client.crt", &signed.cert),
            key: self.put("client.key", &signed.key),
        }
    }
}

fn source(scheme: &str, addr: SocketAddr, tls: PatroniTls) -> Patroni {
    let settings = config::Patroni { tls, ..config::Patroni::at(&format!("{scheme}://{addr}")) };
    Patroni::new(&settings, Resolver::system()).unwrap()
}

/// Trusts this authority, and expects the certificate of `db1`.
fn db1(files: &Files, authority: &Authority) -> PatroniTls {
    PatroniTls {
        ca_file: Some(files.put("ca.crt", &authority.pem)),
        client: None,
        server_name: Some("db1.example".to_owned()),
    }
}

async fn look(source: &mut Patroni) -> Result<Observation, SourceError> {
    poller::look(source, SOON).await
}

fn expiry(seen: Result<Observation, SourceError>) -> Expiry {
    let seen = seen.expect("a good look");
    assert_eq!((seen.role, seen.leader), (Some(Role::Primary), Some(true)));
    seen.expiry
}

/// A server whose certificate names `db1.example`, and who signed it.
fn trusted(manner: Manner) -> (Authority, Server) {
    let authority = Authority::new();
    let server = Server::new(tls(&authority.sign("db1.example", END), None, ALL_VERSIONS), manner);
    (authority, server)
}

#[tokio::test]
async fn a_certificate_of_nobody_known_or_of_the_past_is_refused() {
    let (_, server) = trusted(Manner::Whole);
    let files = Files::new();
    let mut stranger = source("https", server.addr, db1(&files, &Authority::new()));
    let error = look(&mut stranger).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PatroniTls, "{error}");

    // The operating system's authorities know it no better.
    let tls_of_system = PatroniTls { ca_file: None, ..db1(&files, &Authority::new()) };
    let settings = config::Patroni {
        tls: tls_of_system,
        ..config::Patroni::at(&format!("https://{}", server.addr))
    };
    match Patroni::new(&settings, Resolver::system()) {
        Ok(mut source) => assert_eq!(look(&mut source).await.unwrap_err().kind, error.kind),
        Err(none) => assert!(none.to_string().contains("trusts no authority"), "{none}"),
    }

    let authority = Authority::new();
    let over = tls(&authority.sign("db1.example", PAST), None, ALL_VERSIONS);
    let server = Server::new(over, Manner::Whole);
    let mut over = source("https", server.addr, db1(&files, &authority));
    let error = look(&mut over).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PatroniTls, "{error}");
    assert!(error.detail.contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_shown_where_patroni_requires_one() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let config = tls(&authority.sign("db1.example", END), Some(&authority), &[version]);
        let server = Server::new(config, Manner::Whole);
        let files = Files::new();
        let plain = db1(&files, &authority);
        let client = files.put_client(&authority.sign("rolecall", LATER));
        let with = PatroniTls { client: Some(client), ..plain.clone() };
        let ends = expiry(look(&mut source("https", server.addr, with)).await);
        assert_eq!(ends, Expiry { own: AT_LATER, peer: AT_END });

        // TLS 1.2 says so in the handshake, TLS 1.3 resets what looked complete.
        let error = look(&mut source("https", server.addr, plain.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PatroniTls, "{version:?}: {error}");
        assert!(error.kind.hint().contains("cert_file"), "{}", error.kind.hint());

        let client = files.put_client(&Authority::new().sign("rolecall", LATER));
        let strange = PatroniTls { client: Some(client), ..plain };
        let error = look(&mut source("https", server.addr, strange)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::PatroniTls, "{version:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_freezes_is_given_up_in_time() {
    let files = Files::new();
    for manner in [Manner::Frozen, Manner::Mute] {
        let (authority, server) = trusted(manner);
        let mut source = source("https", server.addr, db1(&files, &authority));
        let error = poller::look(&mut source, Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
    }
}

/// The body has no length: what ends it is the end of the connection, which anybody could forge. JSON has an
/// end of its own, and Patroni up to 2.1.4 just closes.
#[tokio::test]
async fn an_answer_whose_end_was_not_sealed_counts_where_it_is_whole() {
    let (authority, server) = trusted(Manner::NoCloseNotify);
    let files = Files::new();
    let seen = look(&mut source("https", server.addr, db1(&files, &authority))).await;
    assert_eq!(seen.map(|seen| seen.leader), Ok(Some(true)), "{LEADER}");
}

/// Where the log of a test goes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn rotated_files_are_used_and_bad_ones_change_nothing_and_are_told_once() {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    let _here = tracing::subscriber::set_default(log.finish());
    let said = || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();

    let authority = Authority::new();
    let required = |authority: &Authority| -> ServerConfig {
        tls(&authority.sign("db1.example", END), Some(authority), ALL_VERSIONS)
    };
    let server = Server::new(required(&authority), Manner::Whole);
    let files = Files::new();
    let client = Some(files.put_client(&authority.sign("rolecall", END)));
    let settings = PatroniTls { client, ..db1(&files, &authority) };
    let mut source = source("https", server.addr, settings);
    assert_eq!(expiry(look(&mut source).await).own, AT_END);

    files.put_client(&authority.sign("rolecall", LATER));
    assert_eq!(expiry(look(&mut source).await).own, AT_LATER);
    assert_eq!(said(), "");

    // Half written, and then another key's: the ones before stay in use.
    for bad in ["-----BEGIN CERTIFICATE-----\n", &authority.sign("rolecall", END).cert] {
        let before = said().matches("cannot be used").count();
        files.put("client.crt", bad);
        for _ in 0..3 {
            assert_eq!(expiry(look(&mut source).await).own, AT_LATER);
        }
        assert_eq!(said().matches("cannot be used").count(), before + 1, "{}", said());
        assert!(said().contains("client.crt"), "{}", said());
    }
    fs::remove_file(files.path("client.crt")).unwrap();
    assert_eq!(expiry(look(&mut source).await).own, AT_LATER);
    files.put_client(&authority.sign("rolecall", END));
    assert_eq!(expiry(look(&mut source).await).own, AT_END);

    // A new authority: nobody is trusted on the old one's word.
    files.put("ca.crt", &Authority::new().pem);
    assert_eq!(look(&mut source).await.unwrap_err().kind, ErrorKind::PatroniTls);
    files.put("ca.crt", &authority.pem);
    assert_eq!(expiry(look(&mut source).await).own, AT_END);
}
