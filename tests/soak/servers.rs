//! False servers that try everything in turn.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::false_servers::{
    AS_MD5, IN_CLEAR, LET_IN, Server, challenge, error, head, said, startup,
};

/// What a terminal must never be shown.
const EVIL: &str =
    "a\u{1b}[2J\nb\u{202e}c\u{9b}d\r2026-01-01T00:00:00Z INFO verdict changed: ready";

/// A Patroni that answers each request in another wrong way.
pub fn patroni(at: SocketAddr) -> Server {
    Server::start(at, |stream, number| {
        if number % 10 == 0 {
            return silence(stream);
        }
        head(stream)?;
        match number % 10 {
            1 => endless(stream, b"HTTP/1.0 200 OK\r\n\r\n{\"state\":\"running\", ", b"\"a\": 1, "),
            2 => endless(stream, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\n\r\n"),
            3 => endless(stream, b"HTTP/1.1 200 OK\r\n", b"X-A: bbbbbbbbbbbbbbbbbbbbbbbbb\r\n"),
            4 => {
                let deep = "[".repeat(60_000);
                stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{deep}").as_bytes())
            }
            5 => {
                let body = format!("{{\"state\":{EVIL:?},\"role\":{EVIL:?},\"timeline\":-1}}");
                stream.write_all(format!("HTTP/1.0 503 {EVIL}\r\n\r\n{body}").as_bytes())
            }
            6 => {
                let place = stream.local_addr()?;
                let redirect = format!("HTTP/1.0 302 Found\r\nLocation: http://{place}/\r\n\r\n");
                stream.write_all(redirect.as_bytes())
            }
            7 => {
                drip(stream, b"HTTP/1.0 200 OK\r\n\r\n{\"state\":\"running\",\"role\":\"primary\"}")
            }
            8 => stream.write_all(&[0xff; 4096]),
            _ => stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"),
        }
    })
}

/// A PostgreSQL that treats each login in another wrong way.
pub fn postgres(at: SocketAddr) -> Server {
    Server::start(at, |stream, number| {
        if number % 12 == 0 {
            return silence(stream);
        }
        startup(stream)?;
        match number % 12 {
            1 => answer(stream, LET_IN),
            2 => answer(stream, IN_CLEAR),
            3 => answer(stream, AS_MD5),
            4 => challenge(stream, number, 100_000),
            5 => challenge(stream, number, u32::MAX),
            6 => answer(stream, &error(&"7".repeat(200_000), EVIL)),
            7 => endless(stream, &said(b'N', &[0; 1024]), &said(b'N', EVIL.as_bytes())),
            8 => stream.write_all(b"N\x3f\xff\xff\xff"),
            9 => answer(stream, &[LET_IN, &said(b'T', &vec![0xff; 30_000])].concat()),
            10 => drip(stream, LET_IN),
            _ => stream.write_all(&[0; 4096]),
        }
    })
}

/// Says this and listens to what comes.
fn answer(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words)?;
    stream.read(&mut [0; 4096]).map(drop)
}

/// Says nothing until the other side gives up.
fn silence(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

/// Says this over and over until the other side gives up, at a pace that leaves others the machine.
fn endless(stream: &mut TcpStream, first: &[u8], more: &[u8]) -> io::Result<()> {
    stream.write_all(first)?;
    let more = more.repeat(8192 / more.len());
    loop {
        stream.write_all(&more)?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A byte at a time.
fn drip(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    for byte in words {
        stream.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
