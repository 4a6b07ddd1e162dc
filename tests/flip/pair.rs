//! Two servers that take turns, and an HAProxy that finds the primary in two ways.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::client::{Clients, TABLE};
use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, Haproxy, Postgres, Recorder, Rolecall, Server,
    Session, Shutdown, eventually, now,
};
use crate::needs::Needs;
use crate::responder::respond;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");
/// What the shipped file says for both of its checks, and what stands for it here.
const SHIPPED_INTER: &str = "inter 500ms ";
const INTER: &str = "inter 100ms ";

/// The usual way's interval: what the promotions are spread over.
const USUAL_INTER: Duration = Duration::from_secs(3);
/// Longest wait for anything: several times what the usual way takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often recovery is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Longest wait for one look.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How often a client comes to write, on each way.
const WRITE_EVERY: Duration = Duration::from_millis(10);

/// How long clients waited for one new primary.
pub struct Waited {
    pub rolecall: Duration,
    pub httpchk: Duration,
}

/// Everything that runs.
pub struct Pair {
    primary: Postgres,
    standby: Postgres,
    haproxy: Haproxy,
    rolecall_front: SocketAddr,
    httpchk_front: SocketAddr,
    _rolecalls: [Rolecall; 2],
    /// Last: it is dropped after everything that stands on it.
    ground: Ground,
}

impl Pair {
    /// Starts everything.
    pub fn set(needs: &Needs) -> Self {
        let ground = Ground::new();
        let mut primary = Postgres::init(&ground, "pg1", ground.host(1));
        primary.start();
        let mut standby = Postgres::standby_of(&ground, "pg2", ground.host(2), &primary);
        standby.start();
        primary.execute(TABLE);
        primary.wait_caught_up(&standby);
        // For later, when it is a standby; the standby knows its primary from the base backup.
        primary.execute(&format!(
            "alter system set primary_conninfo = '{} application_name=pg1'",
            standby.conninfo()
        ));

        let rolecall = |n: u8, server: &Postgres| {
            respond(ground.addr(n, HTTP_PORT), server.addr());
            let config = rolecall_config(server, ground.addr(n, AGENT_PORT));
            let name = format!("rolecall{n}");
            let mut rolecall = Rolecall::new(&ground, &name, &needs.rolecall, &config);
            rolecall.start();
            rolecall
        };
        let rolecalls = [rolecall(1, &primary), rolecall(2, &standby)];

        let rolecall_front = ground.addr(3, FRONT_PORT);
        let httpchk_front = ground.addr(4, FRONT_PORT);
        let configuration = haproxy_config(&ground, httpchk_front, &primary, &standby);
        let variables = [
            ("ROLECALL_PG1", primary.addr().to_string()),
            ("ROLECALL_PG2", standby.addr().to_string()),
            ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
            ("ROLECALL_BIND_RW", rolecall_front.to_string()),
        ];
        let haproxy = Haproxy::start(&ground, &needs.haproxy, &configuration, &variables);
        Self {
            primary,
            standby,
            haproxy,
            rolecall_front,
            httpchk_front,
            _rolecalls: rolecalls,
            ground,
        }
    }

    /// The primary's name.
    pub fn primary(&self) -> &str {
        self.primary.name()
    }

    /// Stops the primary, promotes the standby, waits until clients of both ways have written to
    /// it, and makes the old primary its standby. The `n`-th of `all`.
    pub fn flip(&mut self, n: u32, all: u32) -> Waited {
        self.settle();
        // A promotion may fall anywhere between two checks. Without this, all would fall at the
        // same place, because each begins when a check has shown that the last one is over.
        std::thread::sleep(USUAL_INTER * n / all);

        self.primary.stop(Shutdown::Fast);
        let new = self.standby.addr();
        let mut session = Session::connect(new, LOOK_WITHIN).expect("a session on the standby");
        let looks = Recorder::start(LOOK_EVERY, move || {
            let recovery = session.value("select pg_is_in_recovery()").expect("an answer");
            Some((now(), recovery == "t"))
        });
        let began = now();
        let rolecall = Clients::start(self.rolecall_front, WRITE_EVERY);
        let httpchk = Clients::start(self.httpchk_front, WRITE_EVERY);
        self.standby.sql("select pg_promote(false)");
        looks.wait_since(0, PATIENCE, "the end of recovery", |(_, recovery)| !recovery);
        // The later bound would flatter; the earlier one is 2 ms before it.
        let in_recovery = looks.stop().into_iter().rfind(|(_, recovery)| *recovery);
        let promoted = in_recovery.map_or(began, |(at, _)| at);

        let rolecall = first_write(rolecall, new, promoted);
        let httpchk = first_write(httpchk, new, promoted);

        std::mem::swap(&mut self.primary, &mut self.standby);
        self.follow();
        Waited { rolecall: rolecall.since(promoted), httpchk: httpchk.since(promoted) }
    }

    /// Starts the server that was stopped as a standby of the other one. After a clean stop it has
    /// nothing that the other one lacks, so it can follow as it is.
    fn follow(&mut self) {
        let signal = self.standby.data().join("standby.signal");
        std::fs::write(&signal, "").expect("standby.signal");
        if let Some(user) = self.ground.user() {
            chown(&signal, Some(user.uid), Some(user.gid)).expect("chown");
        }
        self.standby.start();
        self.primary.wait_caught_up(&self.standby);
    }

    /// Waits until both ways know which server is which.
    fn settle(&self) {
        let up = |s: &Server| s.status == "UP";
        let unused = |s: &Server| s.is_maint() || s.is_down();
        for way in ["postgres_rw", "httpchk"] {
            let server = |server: &Postgres| format!("{way}/{}", server.name());
            self.haproxy.wait(&server(&self.primary), PATIENCE, "is in use", up);
            self.haproxy.wait(&server(&self.standby), PATIENCE, "is out of use", unused);
        }
    }
}

/// When the server at `addr` first took a row after `since`; then the clients are sent home.
fn first_write(clients: Clients, addr: SocketAddr, since: Stamp) -> Stamp {
    let first = eventually(PATIENCE, "a write on the new primary", || {
        clients.first_by(addr, since).ok_or("none yet")
    });
    drop(clients);
    first
}

fn rolecall_config(server: &Postgres, agent: SocketAddr) -> String {
    format!(
        "[haproxy]\nagent_inter = \"100ms\"\n\n\
         [source]\nkind = \"postgres\"\ninterval = \"100ms\"\nconninfo = \"{}\"\n\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n",
        server.conninfo()
    )
}

/// A folder with the shipped file, its intervals shortened, and the usual way beside it, as
/// Patroni's documentation has it. HAProxy reads a folder in order.
fn haproxy_config(ground: &Ground, bind: SocketAddr, pg1: &Postgres, pg2: &Postgres) -> PathBuf {
    let folder = ground.dir().join("haproxy");
    std::fs::create_dir(&folder).expect("a folder in a new directory");
    let shipped = std::fs::read_to_string(SHIPPED).expect("haproxy/haproxy.cfg");
    let found = shipped.lines().filter(|l| l.trim().starts_with("default-server"));
    let found = found.flat_map(|l| l.matches(SHIPPED_INTER)).count();
    assert_eq!(found, 2, "haproxy/haproxy.cfg no longer says `{SHIPPED_INTER}` for both checks");
    ground.write("haproxy/1-rolecall.cfg", &shipped.replace(SHIPPED_INTER, INTER));
    let usual = format!(
        "listen httpchk\n    mode tcp\n    bind {bind}\n    option httpchk\n    \
         http-check expect status 200\n    \
         timeout connect 2s\n    timeout client 30m\n    timeout server 30m\n    \
         default-server inter {}s fall 3 rise 2 on-marked-down shutdown-sessions\n    \
         server pg1 {} check port {HTTP_PORT}\n    server pg2 {} check port {HTTP_PORT}\n",
        USUAL_INTER.as_secs(),
        pg1.addr(),
        pg2.addr()
    );
    ground.write("haproxy/2-httpchk.cfg", &usual);
    folder
}
