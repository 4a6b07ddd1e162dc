//! Servers that prove nothing, and those that would have the password: what is believed, what is sent,
//! and what it costs the others.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use rolecall::config::PasswordFrom;
use rolecall::look::error::ErrorKind;
use rolecall::source::RoleSource;
use tokio::time::timeout;

use super::{PASSWORD, assert_refused, look, refused, source, source_with};
use crate::fixtures::authority::Authority;
use crate::fixtures::lacks_postgres;
use crate::server::{PATIENCE, Server, put_private};

/// `AuthenticationOk`, and the messages that ask for a proof.
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const IN_CLEAR: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const AS_MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

/// Each way to be let in, with and without a proof, at a real server: the table of src/source/pg/proof.rs.
#[tokio::test]
async fn with_a_password_configured_only_a_server_that_proves_itself_is_believed() {
    if lacks_postgres() {
        return;
    }
    let hba = "host all trusted samehost trust\nhost all clear samehost password\n\
               host all hashed samehost md5\nhost all scram samehost scram-sha-256\n";
    let mut server = Server::init(hba, "ssl = on");
    let authority = Authority::new();
    let (cert, key) = authority.sign("db1.test");
    server.put_secret("data/server.crt", &cert);
    server.put_secret("data/server.key", &key);
    server.start();
    for role in ["trusted", "clear", "scram"] {
        server.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    }
    server.sql(&format!(
        "SET password_encryption = md5; CREATE ROLE hashed LOGIN PASSWORD '{PASSWORD}'"
    ));
    let to = |rest: &str| format!("host=db1.test hostaddr={} dbname=postgres {rest}", server.addr);
    let with = format!("password={PASSWORD}");
    let ca = authority.ca().display().to_string();
    let unproven = [
        (format!("user=trusted {with}"), "without asking for the configured password"),
        (
            format!("user=trusted {with} sslmode=disable"),
            "without asking for the configured password",
        ),
        (
            format!("user=trusted {with} sslmode=require"),
            "without asking for the configured password",
        ),
        (
            format!("user=trusted {with} require_auth=scram-sha-256"),
            "no authentication, which `require_auth`",
        ),
        ("user=trusted require_auth=!none".to_owned(), "no authentication, which `require_auth`"),
        (format!("user=clear {with}"), "in clear"),
        (format!("user=clear {with} sslmode=require"), "in clear"),
        (format!("user=clear {with} require_auth=!md5"), "in clear"),
        (format!("user=hashed {with}"), "as MD5"),
        (
            format!("user=hashed {with} require_auth=none,scram-sha-256"),
            "md5, which `require_auth`",
        ),
        (format!("user=scram {with} require_auth=!scram-sha-256"), "which `require_auth`"),
        (format!("user=scram {with} require_auth=password,md5,none"), "which `require_auth`"),
    ];
    for (words, said) in unproven {
        assert_refused(&to(&words), ErrorKind::Unproven, said).await;
    }
    let verified = format!("{with} sslmode=verify-full sslrootcert={ca}");
    let believed = [
        "user=trusted".to_owned(),
        "user=trusted require_auth=none".to_owned(),
        format!("user=trusted {with} require_auth=none,scram-sha-256"),
        format!("user=clear {with} require_auth=password"),
        format!("user=hashed {with} require_auth=md5"),
        format!("user=scram {with} require_auth=scram-sha-256"),
        format!("user=scram {with} require_auth=!none,!password,!md5"),
        format!("user=trusted {verified}"),
        format!("user=clear {verified}"),
        format!("user=hashed {verified}"),
        format!("user=clear {with} sslmode=require sslrootcert={ca}"),
    ];
    for words in believed {
        assert!(look(&to(&words)).await.is_ok(), "{words}: {:?}", look(&to(&words)).await);
    }
    // A passfile that has no line for this server: a password is configured all the same.
    let passfile = authority.dir.path().join("pgpass");
    put_private(&passfile, &format!("other:*:*:*:{PASSWORD}\n"));
    let from_file = source_with(&to("user=trusted"), PasswordFrom::Passfile(passfile));
    assert_eq!(refused(from_file).await.kind, ErrorKind::Unproven);

    // The socket that the operator names is in a directory that the operator trusts.
    let own =
        format!("host={} user=postgres dbname=postgres {with}", server.socket_dir().display());
    assert!(look(&own).await.is_ok());
    let strict = format!("{own} require_auth=scram-sha-256");
    assert_refused(&strict, ErrorKind::Unproven, "no authentication, which `require_auth`").await;
}

/// A server of one connection after the other, on a thread that ends with the test's connections.
fn fake(serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The other side may hang up in the middle.
            let _ = stream.and_then(|mut stream| serve(&mut stream));
        }
    });
    at
}

fn conninfo(at: SocketAddr) -> String {
    let (ip, port) = (at.ip(), at.port());
    format!("host={ip} port={port} user=u dbname=d password={PASSWORD} sslmode=disable")
}

/// Reads the startup message, or another one behind its tag.
fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

#[tokio::test]
async fn an_impostor_is_told_nothing_of_the_password_and_believed_nothing() {
    for (asks, kind) in [
        (LET_IN, ErrorKind::Unproven),
        (IN_CLEAR, ErrorKind::Unproven),
        (AS_MD5, ErrorKind::Unproven),
        (b"R\0\0\0\x08\0\0\0\x07", ErrorKind::Denied),
        (b"R\0\0\0\x0c\0\0\0\x0aPLAIN\0", ErrorKind::Denied),
        (b"R\0\0\0\x08\0\0\0\x0c", ErrorKind::Malformed),
        (b"R\0\0\0\x04", ErrorKind::Malformed),
    ] {
        let (told, heard) = mpsc::channel();
        let at = fake(move |stream| {
            message(stream)?;
            stream.write_all(asks)?;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            let _ = told.send(rest);
            Ok(())
        });
        let error = timeout(PATIENCE, refused(source(&conninfo(at)))).await.expect("an end");
        assert_eq!(error.kind, kind, "{asks:?}: {error}");
        let sent = heard.recv_timeout(PATIENCE).unwrap();
        assert!(sent.is_empty(), "{asks:?}: was sent {:?}", String::from_utf8_lossy(&sent));
    }
}

/// Answers the first message of SCRAM with a challenge of this salt and so many iterations.
fn challenge(stream: &mut TcpStream, salt: u32, iterations: u32) -> std::io::Result<()> {
    message(stream)?;
    stream.write_all(SCRAM)?;
    stream.read_exact(&mut [0])?;
    let first = String::from_utf8(message(stream)?).unwrap();
    let nonce = first.rsplit("r=").next().unwrap();
    let first = format!("r={nonce}x,s={salt:08},i={iterations}");
    let length = u32::try_from(first.len() + 8).unwrap().to_be_bytes();
    stream.write_all(&[b"R", &length[..], b"\0\0\0\x0b", first.as_bytes()].concat())?;
    stream.read_exact(&mut [0])?;
    message(stream).map(drop)
}

#[tokio::test]
async fn who_does_not_know_the_password_cannot_end_scram_well() {
    let wrong = b"R\0\0\0\x36\0\0\0\x0cv=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    for ends in [LET_IN, wrong.as_slice(), b"R\0\0\0\x0a\0\0\0\x0cv="] {
        let at = fake(move |stream| {
            challenge(stream, 1, 4096)?;
            stream.write_all(&[ends, LET_IN].concat())?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        let error = refused(source(&conninfo(at))).await;
        assert_eq!(error.kind, ErrorKind::Unproven, "{ends:?}: {error}");
    }
}

/// A server that denies is left alone for a moment, and asked at once with another password.
#[tokio::test]
async fn a_server_that_denies_is_not_asked_again_at_once() {
    if lacks_postgres() {
        return;
    }
    let mut server = Server::init("host all all samehost scram-sha-256", "");
    server.start();
    server.sql(&format!("CREATE ROLE u LOGIN PASSWORD '{PASSWORD}'"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    put_private(&file, "wrong");
    let to = format!("host={} user=u dbname=postgres sslmode=disable", server.addr);
    let mut source = source_with(&to, PasswordFrom::File(file.clone()));
    let first = source.observe().await.unwrap_err();
    assert_eq!(first.kind, ErrorKind::Denied, "{first}");
    for _ in 0..5 {
        assert_eq!(source.observe().await.unwrap_err(), first);
    }
    let denied = |server: &Server| server.log().matches("authentication failed").count();
    assert_eq!(denied(&server), 1, "{}", server.log());
    put_private(&file, PASSWORD);
    source.observe().await.unwrap();
    put_private(&file, "wrong");
    source.observe().await.unwrap_err();
    server.sql("ALTER ROLE u PASSWORD 'wrong'");
    super::eventually(&mut source, Result::is_ok).await.unwrap();
    assert_eq!(denied(&server), 2, "{}", server.log());
    fs::remove_file(&file).unwrap();
}
