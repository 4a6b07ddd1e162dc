//! Servers that are not what they say: a false Patroni and false PostgreSQL servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait of a false server for the other side.
const WITHIN: Duration = Duration::from_secs(3);
/// Most of what the other side may send.
const MOST: usize = 1 << 20;

/// `AuthenticationOk`, and the messages that ask for a proof.
pub const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";
pub const IN_CLEAR: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
pub const AS_MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";
pub const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

/// A server with a thread for each connection; dropped, it takes no more of them.
pub struct Server {
    at: SocketAddr,
    over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves each connection; `serve` is told which one it is, from 0 on.
    ///
    /// # Panics
    /// Nobody can listen there.
    pub fn start(
        at: SocketAddr,
        serve: impl Fn(&mut TcpStream, u64) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("listen on {at}: {e}"));
        let at = listener.local_addr().expect("its own address");
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts, serve) = (Arc::clone(&over), Arc::clone(&served), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (serve, number) = (Arc::clone(&serve), counts.fetch_add(1, Ordering::Relaxed));
                std::thread::spawn(move || {
                    let bounded = stream
                        .set_read_timeout(Some(WITHIN))
                        .and_then(|()| stream.set_write_timeout(Some(WITHIN)));
                    // The other side may hang up in the middle.
                    let _ = bounded.and_then(|()| serve(&mut stream, number));
                });
            }
        });
        Self { at, over, served, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// How many connections came.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It sees the flag with the next connection.
        let woken = TcpStream::connect(self.at).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// A Patroni whose node is the leader, as long as it may be.
pub fn patroni(at: SocketAddr) -> Server {
    Server::start(at, |stream, _| {
        head(stream)?;
        let body = br#"{"state":"running","role":"primary","timeline":3}"#;
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n")?;
        stream.write_all(body)
    })
}

/// Reads the head of a request.
pub fn head(stream: &mut TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    let mut part = [0; 1024];
    while !read.windows(4).any(|end| end == b"\r\n\r\n") && read.len() < MOST {
        match stream.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => read.extend_from_slice(&part[..n]),
        }
    }
    Ok(())
}

/// Reads the body of a message: the first one of a connection, or another one behind its tag.
pub fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(MOST);
    let mut body = vec![0; length.saturating_sub(4).min(MOST)];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Reads the first message of a connection, having no TLS.
pub fn startup(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let first = message(stream)?;
    if first == [4, 210, 22, 47] {
        stream.write_all(b"N")?;
        return message(stream);
    }
    Ok(first)
}

/// A message of PostgreSQL's.
pub fn said(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// Asks for SCRAM with this salt and so many iterations, and never ends it well.
pub fn challenge(stream: &mut TcpStream, salt: u64, iterations: u32) -> io::Result<()> {
    stream.write_all(SCRAM)?;
    stream.read_exact(&mut [0])?;
    let first = String::from_utf8_lossy(&message(stream)?).into_owned();
    let nonce = first.rsplit("r=").next().unwrap_or_default();
    let asked = format!("\0\0\0\x0br={nonce}x,s={salt:08},i={iterations}");
    stream.write_all(&said(b'R', asked.as_bytes()))?;
    stream.read_exact(&mut [0])?;
    message(stream).map(drop)
}

/// An error of a server, with this SQLSTATE and text.
pub fn error(code: &str, text: &str) -> Vec<u8> {
    said(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}
