//! What is done to the doors of a daemon, all at once and over and over.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;

/// Between two turns of an attacker: others shall have the machine, too.
const PAUSE: Duration = Duration::from_millis(20);

/// Connections that an attacker opens in one turn: a thousand in a second.
const AT_ONCE: usize = 20;

/// Whether to go on, and how much was done.
pub struct Siege {
    over: AtomicBool,
    /// Connections, datagrams and signals.
    pub blows: AtomicU64,
}

impl Siege {
    pub const fn new() -> Self {
        Self { over: AtomicBool::new(false), blows: AtomicU64::new(0) }
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn blow(&self) {
        self.blows.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits, and no longer than the siege goes on.
    pub fn rest(&self, for_: Duration) {
        let turns = for_.as_millis() / PAUSE.as_millis();
        for _ in 0..turns.max(1) {
            if self.goes_on() {
                std::thread::sleep(PAUSE.min(for_));
            }
        }
    }
}

/// Anything that an attacker holds open.
trait Held: Read + Write {
    fn make_nonblocking(&self);
}

impl Held for TcpStream {
    fn make_nonblocking(&self) {
        let _ = self.set_nonblocking(true);
    }
}

impl Held for UnixStream {
    fn make_nonblocking(&self) {
        let _ = self.set_nonblocking(true);
    }
}

/// Holds up to `many` connections that begin with `words` and say no more, each anew once it is closed.
fn hold<T: Held>(
    siege: &Siege,
    many: usize,
    words: &[u8],
    connect: impl Fn() -> std::io::Result<T>,
) {
    let mut held: Vec<T> = Vec::new();
    while siege.goes_on() {
        for _ in held.len()..many.min(held.len() + AT_ONCE) {
            let Ok(mut stream) = connect() else { break };
            let _ = stream.write_all(words);
            stream.make_nonblocking();
            held.push(stream);
            siege.blow();
        }
        held.retain_mut(|stream| {
            matches!(stream.read(&mut [0; 256]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        std::thread::sleep(PAUSE);
    }
}

/// Silent connections to a port, or such as stop in the middle of a word.
pub fn hold_tcp(siege: &Siege, to: SocketAddr, many: usize, words: &[u8]) {
    hold(siege, many, words, || TcpStream::connect(to));
}

/// The same at a Unix socket.
pub fn hold_unix(siege: &Siege, to: &Path, many: usize, words: &[u8]) {
    hold(siege, many, words, || UnixStream::connect(to));
}

/// Connections that are reset at once, or after garbage was sent.
pub fn storm(siege: &Siege, to: SocketAddr, garbage: &[u8]) {
    while siege.goes_on() {
        for _ in 0..10 {
            let Ok(mut stream) = TcpStream::connect(to) else { continue };
            stream.make_nonblocking();
            let _ = stream.write(garbage);
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            siege.blow();
        }
        std::thread::sleep(PAUSE);
    }
}

/// A word that drips, byte by byte.
pub fn drip(siege: &Siege, to: SocketAddr, words: &[u8]) {
    while siege.goes_on() {
        let Ok(mut stream) = TcpStream::connect(to) else { continue };
        siege.blow();
        for byte in words {
            if stream.write_all(&[*byte]).is_err() || !siege.goes_on() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Lines that are no questions, and questions that nobody waits for.
pub fn shout(siege: &Siege, to: &Path, words: &[u8]) {
    while siege.goes_on() {
        if let Ok(mut stream) = UnixStream::connect(to) {
            let _ = stream.write_all(words);
            siege.blow();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Wake-up calls, as many as find room.
pub fn poke(siege: &Siege, to: &Path) {
    let socket = UnixDatagram::unbound().expect("a socket");
    let _ = socket.set_nonblocking(true);
    while siege.goes_on() {
        for length in [0, 7, 128, 60_000] {
            if socket.send_to(&vec![b'x'; length], to).is_ok() {
                siege.blow();
            }
        }
        std::thread::sleep(PAUSE);
    }
}
