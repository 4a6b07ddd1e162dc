//! A look whose time is up says who was silent, and how far it had come with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rolecall::config::{self, PasswordFrom};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::source::RoleSource;
use rolecall::source::command::Command;
use rolecall::source::patroni::Patroni;
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use rolecall::source::tcp::Tcp;
use rolecall::watch::poller;

/// Of a look: each of these ends by it.
const LOOK: Duration = Duration::from_millis(600);

/// What a server says to each of the messages that it reads; then it is silent, and stays.
type Script = &'static [&'static [u8]];

const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// `AuthenticationSASL` with SCRAM-SHA-256.
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

fn server(script: Script) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            answer(&mut stream, script);
            held.push(stream);
        }
    });
    addr
}

fn answer(stream: &mut TcpStream, script: Script) {
    for says in script {
        let heard = stream.read(&mut [0; 1024]);
        if heard.is_err() || stream.write_all(says).is_err() {
            return;
        }
    }
}

fn dropped(mut source: impl RoleSource) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let SourceError { kind, detail } =
        runtime.block_on(poller::look(&mut source, LOOK)).unwrap_err();
    runtime.shutdown_background();
    assert_eq!(kind, ErrorKind::Timeout, "{detail}");
    let said = detail.strip_prefix("no answer within 600 ms: ");
    said.unwrap_or_else(|| panic!("{detail}")).to_owned()
}

fn postgres_at(conninfo: &str, resolver: Resolver) -> String {
    let conninfo = conninfo.parse().unwrap();
    let settings = config::Postgres { conninfo, password: PasswordFrom::Nowhere };
    dropped(Postgres::new(&settings, LOOK, resolver).unwrap())
}

fn postgres(addr: SocketAddr, more: &str) -> String {
    let conninfo = format!("host={} port={} user=u {more}", addr.ip(), addr.port());
    postgres_at(&conninfo, Resolver::system())
}

fn patroni(addr: SocketAddr, scheme: &str) -> String {
    let url = format!("{scheme}://{addr}");
    dropped(Patroni::new(&config::Patroni::at(&url), Resolver::system()).unwrap().within(LOOK))
}

/// A name server that never answers.
fn nobody() -> Resolver {
    Resolver::with(|_| {
        std::thread::sleep(LOOK * 4);
        Err(std::io::Error::other("too late"))
    })
}

#[test]
fn of_postgresql_it_is_the_connection_the_handshake_the_login_or_the_query() {
    for (script, more, says) in [
        (&[] as Script, "sslmode=disable", "took the connection, and did not answer the login"),
        (
            &[],
            "sslmode=require",
            "took the connection, and did not say whether it offers TLS, or did not end the handshake",
        ),
        (
            &[b"S"],
            "sslmode=require",
            "took the connection, and did not say whether it offers TLS, or did not end the handshake",
        ),
        (&[b"N"], "sslmode=prefer", "took the connection, and did not answer the login"),
        (
            &[SCRAM],
            "sslmode=disable password=p",
            "took the connection, and did not answer the login",
        ),
        (&[LET_IN], "sslmode=disable", "let the user in, and did not answer the query"),
    ] {
        let addr = server(script);
        let (ip, port) = (addr.ip(), addr.port());
        let said = postgres(addr, more);
        assert_eq!(said, format!("host={ip} port={port} (at {addr}) {says}"), "{more}");
    }
    let said = postgres_at("host=db1.test user=u", nobody());
    assert_eq!(said, "host=db1.test port=5432 has no address yet: the name servers do not answer");
}

#[test]
fn a_socket_is_named_as_conninfo_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
    let place = dir.path().display();
    let said = postgres_at(&format!("host={place} user=u"), Resolver::system());
    assert_eq!(
        said,
        format!("host={place} port=5432 took the connection, and did not answer the login")
    );
    drop(socket);
}

#[test]
fn of_several_hosts_each_is_named() {
    let (one, other) = (server(&[]), server(&[]));
    let conninfo = format!(
        "host={},{} port={},{} user=u sslmode=disable",
        one.ip(),
        other.ip(),
        one.port(),
        other.port()
    );
    let said = postgres_at(&conninfo, Resolver::system());
    // The second is not asked beside one that took the connection.
    let wanted = format!(
        "host={} port={} (at {one}) took the connection, and did not answer the login",
        one.ip(),
        one.port()
    );
    assert_eq!(said, wanted);
}

#[test]
fn of_patroni_it_is_the_request_or_the_rest_of_the_answer_and_the_url_is_there() {
    let begun: Script = &[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"];
    for (script, scheme, says) in [
        (&[] as Script, "http", "took the connection, and did not answer the request"),
        (begun, "http", "began to answer the request, and did not end"),
    ] {
        let addr = server(script);
        let said = patroni(addr, scheme);
        assert_eq!(said, format!("http://{addr}/primary (at {addr}) {says}"));
    }
    // Of https the library does not tell the connection from the handshake.
    let addr = server(&[]);
    let said = patroni(addr, "https");
    let wanted = format!(
        "connecting to https://{addr}/primary, nothing answers at {addr}, or the TLS handshake there does not end"
    );
    assert_eq!(said, wanted);
    let named = Patroni::new(&config::Patroni::at("http://joe:secret@db1.test:8008"), nobody());
    let said = dropped(named.unwrap().within(LOOK));
    assert_eq!(
        said,
        "http://db1.test:8008/primary has no address yet: the name servers do not answer"
    );
}

#[test]
fn a_port_and_a_program_are_named_too() {
    let addr = server(&[]);
    let settings = config::Tcp {
        address: config::Address { host: addr.ip().to_string(), port: addr.port() },
        user: None,
    };
    let said = dropped(Tcp::new(&settings, Resolver::system()));
    assert_eq!(
        said,
        format!("{addr} took the connection, and did not say a word of PostgreSQL's protocol")
    );
    let said = dropped(Command::new(vec!["sleep".to_owned(), "60".to_owned()]));
    assert_eq!(said, "sleep did not end, and was killed");
}
