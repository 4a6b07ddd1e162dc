//! A booted machine with a PostgreSQL primary in it, and what is asked of it from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::fixtures::{
    Beat, Check, Ground, Haproxy, Heard, Recorder, Sample, ask, checker, eventually, haproxies,
    now, open_session, sampler,
};
use crate::machine::Machine;

/// Where the installed daemon is asked.
pub const AGENT: SocketAddr = localhost(5555);
/// Where HAProxy takes clients.
const FRONT: SocketAddr = localhost(5000);
/// The cluster that Debian makes for its PostgreSQL.
const POSTGRES: SocketAddr = localhost(5432);

/// Longest wait for anything but a watchdog; a loaded machine takes its time.
pub const SOON: Duration = Duration::from_secs(60);

/// How long the configured daemon keeps a yes that is not renewed.
pub const HOLD: Duration = Duration::from_secs(3);

/// `timeout check` of haproxy/haproxy.cfg.
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// The primary in HAProxy's words.
const PG1: &str = "postgres_rw/pg1";

pub const fn localhost(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// A machine, and this program in the same network.
pub struct Host {
    pub machine: Machine,
    pub ground: Ground,
}

#[allow(clippy::unused_self, reason = "its ports are those of this thread's network")]
impl Host {
    /// Boots the tree and lets HAProxy's clients in as `postgres`.
    pub fn boot(ground: Ground, tree: &Path, share: &Path) -> Self {
        let machine = Machine::boot(&ground, tree, share);
        machine.sh(
            "hba=$(echo /etc/postgresql/*/main/pg_hba.conf)
             sed -i '1i host postgres postgres 127.0.0.1/32 trust' $hba
             systemctl reload postgresql && systemctl is-active --quiet 'postgresql@*-main.service'",
        );
        Self { machine, ground }
    }

    /// Waits until the agent port says this.
    pub fn says(&self, line: &str) {
        self.says_at(AGENT, line);
    }

    /// Waits until another port says this.
    pub fn says_at(&self, port: SocketAddr, line: &str) {
        eventually(SOON, &format!("{line:?} from the agent port {port}"), || {
            match ask(port, SOON).heard {
                Heard::Said(said) if said == line => Ok(()),
                other => Err(other),
            }
        });
    }

    /// Asserts that nobody listens.
    pub fn refuses(&self) {
        assert_eq!(ask(AGENT, SOON).heard, Heard::Refused);
    }

    /// Writes the installed configuration.
    pub fn configure(&self, text: &str) {
        self.machine.sh(&format!("cat >/etc/rolecall/rolecall.toml <<'END'\n{text}\nEND"));
    }

    /// Asks as often as to see every gap; waits for each answer as long as it takes.
    pub fn checker(&self) -> Recorder<Check> {
        checker(AGENT, Duration::from_millis(5), SOON)
    }

    /// A session through HAProxy.
    pub fn clients(&self) -> Clients {
        let (_, program) =
            haproxies().into_iter().next().expect("haproxy; hint: make test-packaging");
        let cfg = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");
        let variables = [
            ("ROLECALL_PG1", POSTGRES.to_string()),
            // There is no way to it in this network.
            ("ROLECALL_PG2", "192.0.2.2:5432".to_owned()),
            ("ROLECALL_BIND_RW", FRONT.to_string()),
        ];
        let haproxy = Haproxy::start(&self.ground, &program, Path::new(cfg), &variables);
        haproxy.wait(PG1, SOON, "is up", |s| s.status == "UP");
        Clients {
            session: open_session(FRONT),
            samples: sampler(haproxy.stats()),
            _haproxy: haproxy,
        }
    }
}

/// HAProxy, and a session through it that is used all the time.
pub struct Clients {
    session: Recorder<Beat>,
    samples: Recorder<Sample>,
    _haproxy: Haproxy,
}

impl Clients {
    /// Asserts that the session lived, and that HAProxy never took the primary out.
    pub fn noticed_nothing(self) -> usize {
        let beats = self.session.stop();
        let backend = beats[0].answer.clone().expect("the session's first answer");
        let lost = beats.iter().find(|beat| beat.answer.as_ref() != Ok(&backend));
        assert!(lost.is_none(), "the session through HAProxy was lost: {lost:?}");
        for sample in self.samples.stop() {
            let server = &sample.servers[PG1];
            assert_eq!(server.status, "UP", "HAProxy noticed: {server:?}");
        }
        beats.len()
    }
}

/// Asserts that every question was answered READY; returns how many there were and the longest wait.
pub fn all_ready(checks: &[Check]) -> (usize, Duration) {
    let other = checks.iter().find(|check| check.heard != Heard::Said("READY\n".to_owned()));
    assert!(other.is_none(), "not READY: {other:?}");
    assert!(!checks.is_empty(), "nothing was asked");
    (checks.len(), checks.iter().map(|check| check.took).max().unwrap_or_default())
}

/// Waits until as many questions more have been answered.
pub fn hear(answers: &Recorder<Check>, more: usize) {
    let mark = answers.mark();
    eventually(SOON, "more answers", || match answers.mark() - mark {
        heard if heard < more => Err(heard),
        _ => Ok(()),
    });
}

/// How long `work` took.
pub fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    now().since(began)
}
