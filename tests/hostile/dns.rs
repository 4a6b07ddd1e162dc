//! A name server that knows every name, and can stop to answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The head of a message, and the question's type A.
const HEAD: usize = 12;
const A: [u8; 2] = [0, 1];

/// It answers until it is told to be silent; dropped, it ends.
pub struct Dns {
    silent: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
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
        let (silent, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (mute, ends) = (Arc::clone(&silent), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ends.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if !mute.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&answer(&question[..length], address), from);
                }
            }
        });
        Self { silent, over, thread: Some(thread) }
    }

    /// Answers nobody any more.
    pub fn be_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 1035: the question again, and one address for a question of type A.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let name = question[HEAD..].iter().position(|byte| *byte == 0).unwrap_or(0) + HEAD + 1;
    let asked = &question[..(name + 4).min(question.len())];
    let of_type_a = asked.get(name..name + 2) == Some(&A);
    let mut said = asked.to_vec();
    // An answer, recursion available, no error; one question, and one answer or none.
    said[2..HEAD].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(of_type_a), 0, 0, 0, 0]);
    if of_type_a {
        said.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        said.extend(address.octets());
    }
    said
}
