//! A log that nobody takes keeps rolecall from nothing: it answers and it stops.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rolecall::host::clock::Clock;
use rolecall::look::stamp::Stamp;
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a busy machine, and far from for ever.
const WITHIN: Duration = Duration::from_secs(10);

fn now() -> Stamp {
    Clock::Boot.now()
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn stderr_that_nobody_reads_delays_no_answer_and_no_stop() {
    let (stderr, _nobody_reads) = UnixStream::pair().unwrap();
    stderr.set_nonblocking(true).unwrap();
    while (&stderr).write(&[b'x'; 4096]).is_ok() {}
    while (&stderr).write(b"x").is_ok() {}
    stderr.set_nonblocking(false).unwrap();

    let addr = free();
    let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"))
        .args(["run", "--source", "static", "--role", "primary", "--listen", &addr.to_string()])
        .stderr(Stdio::from(OwnedFd::from(stderr)))
        .spawn()
        .unwrap();
    let began = now();
    let answer = loop {
        let mut answer = String::new();
        if let Ok(mut asked) = TcpStream::connect(addr) {
            asked.set_read_timeout(Some(WITHIN)).unwrap();
            let _ = asked.read_to_string(&mut answer);
        }
        if !answer.is_empty() || now().since(began) > WITHIN {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    kill_process(Pid::from_child(&rolecall), Signal::TERM).unwrap();
    let began = now();
    let ended = loop {
        if let Some(ended) = rolecall.try_wait().unwrap() {
            break Some(ended);
        }
        if now().since(began) > WITHIN {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = rolecall.kill();
    let _ = rolecall.wait();
    assert!(answer.to_ascii_lowercase().contains("ready"), "{answer:?}");
    assert!(ended.is_some_and(|ended| ended.success()), "SIGTERM: {ended:?}");
}
