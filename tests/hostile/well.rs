//! A rolecall that watches a healthy node beside others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Heard, Rolecall, ask, eventually, say, web};
use crate::meanwhile::Meanwhile;
use crate::servers::{self, Server};

/// More than anything here takes; reached only where it never comes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The password that nobody shall be told.
pub const PASSWORD: &str = "hunter2";

/// The one that is tried: `ROLECALL_PROGRAM`, else the one that is built.
pub fn program() -> String {
    let other = std::env::var("ROLECALL_PROGRAM").ok().filter(|program| !program.is_empty());
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_rolecall").to_owned())
}

/// The ground, the healthy node's Patroni and the daemon.
pub struct Well {
    pub ground: Ground,
    pub rolecall: Rolecall,
    case: &'static str,
    _patroni: Server,
}

impl Well {
    /// One of this case, with this text of configuration about other nodes.
    pub fn beside(case: &'static str, ground: Ground, nodes: &str) -> Self {
        Self::by(case, ground, &program(), nodes)
    }

    /// The same with another program, or a script that starts it.
    pub fn by(case: &'static str, ground: Ground, program: &str, nodes: &str) -> Self {
        let patroni = servers::patroni(ground.addr(5, 28008));
        let url = format!("http://{}", patroni.at());
        let (http, agent) = (ground.addr(1, HTTP_PORT), ground.addr(1, AGENT_PORT));
        let all = ground.addr(2, AGENT_PORT);
        let config = format!(
            "[http]\nlisten = \"{http}\"\n\
             [defaults]\ninterval = \"500ms\"\ntimeout = \"800ms\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{all}\"\n\
             agent_send = true\n\
             [[node]]\nname = \"well\"\nsource = {{ kind = \"patroni\", url = \"{url}\" }}\n\
             listen = {{ primary = \"{agent}\" }}\n{nodes}"
        );
        let rolecall = Rolecall::new(&ground, "rolecall", program, &config);
        Self { ground, rolecall, case, _patroni: patroni }
    }

    /// Starts it and waits until the healthy node is READY.
    pub fn start(&mut self) {
        self.rolecall.launch();
        self.is_ready();
    }

    pub fn is_ready(&self) {
        says(self.agent(), "READY\n");
    }

    /// Asks about the healthy node from now on.
    pub fn meanwhile(&self) -> Meanwhile {
        Meanwhile::of(self.case, self.agent())
    }

    /// The healthy node's agent port.
    pub fn agent(&self) -> SocketAddr {
        self.ground.addr(1, AGENT_PORT)
    }

    /// Where all nodes are asked for by name.
    pub fn questions(&self) -> SocketAddr {
        self.ground.addr(2, AGENT_PORT)
    }

    pub fn page(&self, path: &str) -> String {
        let http = self.ground.addr(1, HTTP_PORT);
        let answer = web::request(http, &format!("GET {path}"), "", Some(PATIENCE));
        answer.map_or_else(|error| error.to_string(), |answer| answer.body)
    }

    /// A script as a program.
    pub fn script(ground: &Ground, text: &str) -> PathBuf {
        let path = ground.write("start", &format!("#!/bin/sh\n{text}\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("mode");
        path
    }

    /// Says another figure of this case.
    pub fn figure(&self, what: &str) {
        say(&format!("{}: {what}", self.case));
    }

    /// The most memory that it ever had, in KiB, and the CPU that it has had, in milliseconds.
    pub fn costs(&self) -> (u64, u64) {
        let proc = format!("/proc/{}", self.rolecall.pid());
        let status = std::fs::read_to_string(format!("{proc}/status")).expect("status");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        let most = most.split_whitespace().next().and_then(|n| n.parse().ok()).expect("KiB");
        // Nanoseconds on a CPU, of each thread.
        let threads = std::fs::read_dir(format!("{proc}/task")).expect("threads");
        let cpu = threads.filter_map(|thread| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        (most, cpu.sum::<u64>() / 1_000_000)
    }
}

/// Waits until the agent port says this.
pub fn says(agent: SocketAddr, wanted: &str) {
    eventually(PATIENCE, &format!("{wanted:?} from {agent}"), || {
        match ask(agent, PATIENCE).heard {
            Heard::Said(said) if said == wanted => Ok(()),
            other => Err(other),
        }
    });
}

/// A node that is asked over PostgreSQL's protocol.
pub fn postgres(name: &str, at: SocketAddr, more: &str) -> String {
    format!(
        "[[node]]\nname = \"{name}\"\nsource = {{ kind = \"postgres\", conninfo = \"host={} port={} \
         user=u dbname=d {more}\" }}\n",
        at.ip(),
        at.port()
    )
}
