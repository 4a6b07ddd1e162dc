//! The shipped `haproxy/haproxy.cfg` with agents that say what the test wants, on every HAProxy
//! that can be run here: what the words do to a server, whatever rolecall is.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, Haproxy, PG_PORT, Server, ask, held, needed_haproxies, sampler,
};

/// The file as it is shipped.
pub const CFG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");
/// Its two servers.
pub const PG1: &str = "postgres_rw/pg1";
pub const PG2: &str = "postgres_rw/pg2";
/// More than it takes HAProxy to follow: an agent interval, a check and a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Fills the shipped file's variables with this ground's addresses.
pub fn addresses(ground: &Ground) -> Vec<(&'static str, String)> {
    vec![
        ("ROLECALL_PG1", ground.addr(1, PG_PORT).to_string()),
        ("ROLECALL_PG2", ground.addr(2, PG_PORT).to_string()),
        ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
        ("ROLECALL_BIND_RW", ground.addr(3, FRONT_PORT).to_string()),
    ]
}

/// An agent that says one line to everybody until it is told another one, or dropped.
struct Agent {
    socket: TcpListener,
    line: Arc<Mutex<&'static str>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn new(ground: &Ground, n: u8, line: &'static str) -> Self {
        let socket = held(ground.addr(n, AGENT_PORT));
        let line = Arc::new(Mutex::new(line));
        let stop = Arc::new(AtomicBool::new(false));
        let (ours, said, stopped) = (socket.try_clone().expect("dup"), line.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((mut client, _)) = ours.accept() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // HAProxy may have given up; that is its business.
                let _ = client.write_all(said.lock().expect("line").as_bytes());
            }
        });
        Self { socket, line, stop, thread: Some(thread) }
    }

    fn say(&self, line: &'static str) {
        *self.line.lock().expect("line") = line;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = ask(self.socket.local_addr().expect("bound"), SOON);
        let _ = self.thread.take().expect("once").join();
    }
}

/// Runs `test` once for every HAProxy here, named in what it prints.
pub fn on_every_haproxy(test: impl Fn(&Ground, &Path)) {
    for (version, program) in needed_haproxies() {
        println!("HAProxy {version}: {}", program.display());
        test(&Ground::new(), &program);
    }
}

#[test]
fn plain_words_move_a_server_between_up_and_maint_and_silence_takes_it_down() {
    on_every_haproxy(|ground, program| {
        let first = Agent::new(ground, 1, "READY\n");
        let second = Agent::new(ground, 2, "MAINT\n");
        let haproxy = Haproxy::start(ground, program, Path::new(CFG), &addresses(ground));
        let samples = sampler(haproxy.stats());
        // Not `UP 1/2`: fresh out of maintenance one failed check is enough, until one has passed.
        let up = |server: &str| haproxy.wait(server, SOON, "is up", |s| s.status == "UP");
        let maint =
            |server: &str| haproxy.wait(server, SOON, "is in maintenance", Server::is_maint);

        up(PG1);
        haproxy.wait(PG2, SOON, "has spoken", |s| s.is_maint() && s.agent_status == "CHECKED");
        first.say("MAINT\n");
        second.say("READY\n");
        maint(PG1);
        up(PG2);
        second.say("MAINT\n");
        first.say("READY\n");
        maint(PG2);
        up(PG1);
        haproxy.reload();
        up(PG1);
        maint(PG2);
        for sample in samples.all() {
            assert!(sample.servers.values().all(|s| !s.is_down()), "shown DOWN: {sample:?}");
        }

        drop(first);
        haproxy.wait(PG1, SOON, "is down once its agent is dead", Server::is_down);
        let _revived = Agent::new(ground, 1, "READY\n");
        up(PG1);
    });
}
