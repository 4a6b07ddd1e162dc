//! The usual way's other half: an HTTP responder beside a server that says 200 for a primary.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::fixtures::{Session, held};

/// Longest wait for the client's request and for the server's answer.
const WITHIN: Duration = Duration::from_secs(1);

/// Answers every request at `listen` with 200 if `server` is out of recovery at that moment, else
/// with 503. Ends with the process.
pub fn respond(listen: SocketAddr, server: SocketAddr) {
    let socket: TcpListener = held(listen);
    std::thread::spawn(move || {
        while let Ok((client, _)) = socket.accept() {
            // HAProxy may have given up; that is its business.
            let _ = answer(client, server);
        }
    });
}

fn answer(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    client.set_read_timeout(Some(WITHIN))?;
    // A health check's request is one short segment.
    let _ = client.read(&mut [0; 1024])?;
    let status = if is_primary(server) { "200 OK" } else { "503 Service Unavailable" };
    write!(client, "HTTP/1.0 {status}\r\nContent-Length: 0\r\n\r\n")
}

fn is_primary(server: SocketAddr) -> bool {
    let session = Session::connect(server, WITHIN);
    let answer = session.and_then(|mut s| s.value("select pg_is_in_recovery()"));
    answer.is_ok_and(|answer| answer == "f")
}
