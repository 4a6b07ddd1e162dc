//! A name server that knows every name, and can stop to answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The head of a message, and the question's type A.
const HEAD: usize = 12;
const A: [u8; 2] = [0, 1];

/// How it answers.
#[derive(Default)]
struct Manner {
    silent: AtomicBool,
    knows_nobody: AtomicBool,
    /// How long it takes, in milliseconds.
    slow: AtomicU64,
    over: AtomicBool,
}

/// It answers until it is told to be silent; dropped, it ends.
pub struct Dns {
    manner: Arc<Manner>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Answers every name with `address`.
    ///
    /// # Panics
    /// Nobody can listen there: port 53 is root's.
    pub fn start(at: SocketAddr, address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}; hint: run as root"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        let manner = Arc::new(Manner::default());
        let own = Arc::clone(&manner);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !own.over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if own.silent.load(Ordering::Relaxed) {
                    continue;
                }
                let known = (!own.knows_nobody.load(Ordering::Relaxed)).then_some(address);
                let said = answer(&question[..length], known);
                let slow = Duration::from_millis(own.slow.load(Ordering::Relaxed));
                let socket = socket.try_clone().expect("dup");
                // Those who ask meanwhile do not wait for each other.
                std::thread::spawn(move || {
                    std::thread::sleep(slow);
                    let _ = socket.send_to(&said, from);
                });
            }
        });
        Self { manner, thread: Some(thread) }
    }

    /// Takes so long for every answer.
    pub fn be_slow(&self, slow: Duration) {
        let slow = u64::try_from(slow.as_millis()).unwrap_or(u64::MAX);
        self.manner.slow.store(slow, Ordering::Relaxed);
    }

    /// Says of every name that there is none.
    pub fn know_nobody(&self) {
        self.manner.knows_nobody.store(true, Ordering::Relaxed);
    }

    /// Answers nobody any more.
    pub fn be_silent(&self) {
        self.manner.silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.manner.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 1035: the question again, and one address for a question of type A; `None`: there is no such name.
fn answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let name = question[HEAD..].iter().position(|byte| *byte == 0).unwrap_or(0) + HEAD + 1;
    let asked = &question[..(name + 4).min(question.len())];
    let found = address.filter(|_| asked.get(name..name + 2) == Some(&A));
    let mut said = asked.to_vec();
    // An answer, recursion available, no error or NXDOMAIN; one question, and one answer or none.
    let code = if address.is_some() { 0x80 } else { 0x83 };
    said[2..HEAD].copy_from_slice(&[0x81, code, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    if let Some(address) = found {
        said.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        said.extend(address.octets());
    }
    said
}
