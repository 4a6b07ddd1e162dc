//! What is said where somebody else answers than who is meant: each in words, with a command or a key that helps.
//! What PostgreSQL and Patroni themselves refuse is in `tests/real`.

mod catalogue;
mod scan;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use rolecall::config::{self, PasswordFrom};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::source::patroni::Patroni;
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use rolecall::watch::poller;
use socket2::SockRef;

/// No look may take longer.
const SOON: Duration = Duration::from_secs(20);

/// Who answers.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// Says this once it was asked something.
    Says(&'static [u8]),
    /// Says this at once.
    Greets(&'static [u8]),
    /// Closes once it was asked something.
    Closes,
    /// The same with a reset.
    Resets,
}

const HTTP: Who =
    Who::Says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
const SSH: Who = Who::Greets(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
const MYSQL: Who = Who::Greets(b"\x4a\x00\x00\x00\x0a8.0.36\x00");
const REDIS: Who = Who::Says(b"-ERR unknown command\r\n");

fn status(line: &'static str) -> Who {
    let text = format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n<>");
    Who::Says(Box::leak(text.into_bytes().into_boxed_slice()))
}

/// The port of such a server, which lives as long as the test.
fn serve(who: Who) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The other side may hang up in the middle.
            let _ = stream.and_then(|stream| answer(stream, who));
        }
    });
    port
}

fn answer(mut stream: TcpStream, who: Who) -> std::io::Result<()> {
    if let Who::Greets(says) = who {
        stream.write_all(says)?;
    }
    let _asked = stream.read(&mut [0; 1024])?;
    match who {
        Who::Says(says) => stream.write_all(says)?,
        Who::Resets => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
        Who::Greets(_) | Who::Closes => {}
    }
    Ok(())
}

fn look(postgres: bool, words: &str) -> SourceError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let looked = if postgres {
        let conninfo = words.parse().unwrap();
        let settings = config::Postgres { conninfo, password: PasswordFrom::Nowhere };
        let mut source = Postgres::new(&settings, SOON, Resolver::system()).unwrap();
        runtime.block_on(poller::look(&mut source, SOON))
    } else {
        let mut source = Patroni::new(&config::Patroni::at(words), Resolver::system()).unwrap();
        runtime.block_on(poller::look(&mut source, SOON))
    };
    looked.expect_err(words)
}

/// In words: no name of a library's source, and a hint, of its own or of its kind.
fn is_in_words(error: &SourceError) {
    let known = ["OpenSSH", "PostgreSQL"];
    let named = regex::Regex::new(r"(?-u)\b[A-Z][a-z]+[A-Z][A-Za-z]+\b|[A-Za-z]+\(|\{").unwrap();
    let found: Vec<_> = named.find_iter(&error.detail).map(|found| found.as_str()).collect();
    assert!(found.iter().all(|word| known.contains(word)), "{found:?}: {error}");
    assert!(!error.kind.hint().is_empty());
}

#[test]
fn who_is_no_postgresql_is_named_with_what_finds_out_more() {
    let no = "does not speak PostgreSQL's protocol";
    let listens = "hint: ss -ltnp";
    for (who, sslmode, kind, said) in [
        (HTTP, "prefer", ErrorKind::Malformed, ["as an HTTP server does", listens]),
        (HTTP, "disable", ErrorKind::Malformed, ["as an HTTP server does", listens]),
        (SSH, "disable", ErrorKind::Malformed, ["as an SSH server does", listens]),
        (SSH, "prefer", ErrorKind::Malformed, ["as an SSH server does", listens]),
        (SSH, "require", ErrorKind::Tls, ["something that is not TLS", "TLS"]),
        (MYSQL, "prefer", ErrorKind::Malformed, [no, listens]),
        (REDIS, "require", ErrorKind::Malformed, [no, listens]),
        (
            Who::Closes,
            "prefer",
            ErrorKind::Unreachable,
            ["closed without an answer", "hint: the server's log"],
        ),
        (
            Who::Closes,
            "disable",
            ErrorKind::Unreachable,
            ["closed without an answer", "hint: the server's log"],
        ),
        (Who::Resets, "disable", ErrorKind::Unreachable, ["broken off", "hint: the server's log"]),
    ] {
        let port = serve(who);
        let error =
            look(true, &format!("host=127.0.0.1 port={port} user=u dbname=d sslmode={sslmode}"));
        assert_eq!(error.kind, kind, "{who:?} {sslmode}: {error}");
        assert!(said.iter().all(|said| error.detail.contains(said)), "{who:?} {sslmode}: {error}");
        is_in_words(&error);
    }
}

#[test]
fn what_cannot_be_reached_says_what_shows_why() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    for (conninfo, kind, command) in [
        (format!("host=127.0.0.1 port={free}"), ErrorKind::ServerDown, "ss -ltn"),
        ("host=/nowhere".to_owned(), ErrorKind::ServerDown, "SHOW unix_socket_directories"),
        ("host=nowhere.invalid".to_owned(), ErrorKind::Unresolved, "getent ahosts"),
    ] {
        let error = look(true, &format!("{conninfo} user=u dbname=d"));
        assert_eq!(error.kind, kind, "{conninfo}: {error}");
        assert!(error.kind.hint().contains(command), "{conninfo}");
        is_in_words(&error);
    }
}

#[test]
fn who_is_no_patroni_is_named_with_what_helps() {
    let https = "hint: use https";
    for (who, kind, said) in [
        (REDIS, ErrorKind::Malformed, ["the answer is not HTTP", "ss -ltnp"]),
        (Who::Closes, ErrorKind::Unreachable, ["closed", https]),
        (Who::Resets, ErrorKind::Unreachable, ["broken off", https]),
        (
            status("401 Unauthorized"),
            ErrorKind::Status,
            ["got 401", "hint: Patroni asks for no password"],
        ),
        (
            status("403 Forbidden"),
            ErrorKind::Status,
            ["got 403", "hint: Patroni asks for no password"],
        ),
        (status("404 Not Found"), ErrorKind::Status, ["got 404", ""]),
        (
            status("302 Found"),
            ErrorKind::Status,
            ["got 302", "hint: rolecall follows no redirection"],
        ),
        (status("502 Bad Gateway"), ErrorKind::Status, ["got 502", "hint: a proxy answers"]),
        (status("200 OK"), ErrorKind::Malformed, ["expected Patroni's status as JSON", ""]),
    ] {
        let port = serve(who);
        let error = look(false, &format!("http://127.0.0.1:{port}"));
        assert_eq!(error.kind, kind, "{who:?}: {error}");
        assert!(said.iter().all(|said| error.detail.contains(said)), "{who:?}: {error}");
        is_in_words(&error);
    }
    // Who speaks first, and hangs up, may have done both before the request is on the way.
    for who in [SSH, MYSQL] {
        let error = look(false, &format!("http://127.0.0.1:{}", serve(who)));
        assert!([ErrorKind::Malformed, ErrorKind::Unreachable].contains(&error.kind), "{error}");
        assert!(error.detail.contains("ss -ltnp"), "{who:?}: {error}");
        is_in_words(&error);
    }
    let error = look(false, &format!("https://127.0.0.1:{}", serve(HTTP)));
    assert_eq!(error.kind, ErrorKind::Mismatch, "{error}");
    is_in_words(&error);
}
