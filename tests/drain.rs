//! Orders on the real HAProxy, with a session open: a replica that drains, a primary that is taken out.

#[path = "fixtures/mod.rs"]
mod fixtures;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, Haproxy, PG_PORT, Rolecall, eventually, haproxies, missing, now,
};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that says its number to whoever connects, and then what it is told.
fn echo(addr: SocketAddr, number: u8) {
    let listener = TcpListener::bind(addr).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream?;
                stream.write_all(&[b'0' + number])?;
                let mut told = [0];
                while stream.read(&mut told)? > 0 {
                    stream.write_all(&told)?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
}

/// A session through HAProxy.
struct Session(TcpStream);

impl Session {
    /// Its server's number and the session; `None` where HAProxy has no server for it.
    fn open(front: SocketAddr) -> Option<(u8, Self)> {
        let mut stream = TcpStream::connect(front).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut number = [0];
        stream.read_exact(&mut number).ok()?;
        Some((number[0] - b'0', Self(stream)))
    }

    fn lives(&mut self) -> bool {
        let mut said = [0];
        self.0.write_all(b"x").is_ok() && matches!(self.0.read(&mut said), Ok(1))
    }
}

/// Two nodes, a rolecall for both, HAProxy in front of them.
struct Stage {
    ground: Ground,
    haproxy: Haproxy,
    _rolecall: Rolecall,
}

impl Stage {
    /// `None` after saying what is missing.
    fn new(service: &str, roles: [&str; 2]) -> Option<Self> {
        let Some((_, program)) = haproxies().into_iter().next() else {
            missing("haproxy");
            return None;
        };
        let ground = Ground::new();
        let dir = ground.dir().display().to_string();
        let mut config = format!(
            "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
             [[service]]\nname = \"{service}\"\nroles = [\"{service}\"]\nreply = \"full\"\n"
        );
        let mut servers = String::new();
        for (number, role) in (1..).zip(roles) {
            let word = ground.write(&format!("role{number}"), role);
            let (agent, server) = (ground.addr(number, AGENT_PORT), ground.addr(number, PG_PORT));
            echo(server, number);
            let _ = writeln!(
                config,
                "[[node]]\nname = \"n{number}\"\nlisten = {{ {service} = \"{agent}\" }}\n\
                 source = {{ kind = \"command\", command = [\"/bin/cat\", \"{}\"], interval = \"100ms\" }}",
                word.display()
            );
            let _ = writeln!(
                servers,
                "  server n{number} {server} check inter 200ms agent-check agent-inter 100ms agent-addr {} \
                 agent-port {} on-marked-down shutdown-sessions",
                agent.ip(),
                agent.port()
            );
        }
        let front = ground.addr(3, FRONT_PORT);
        let cfg = format!(
            "global\n  stats socket {dir}/haproxy.sock level admin\n\
             defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1m\n  timeout server 1m\n\
             listen pg\n  bind {front}\n  balance roundrobin\n{servers}"
        );
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        let cfg = ground.write("haproxy.cfg", &cfg);
        let haproxy = Haproxy::start(&ground, &program, &cfg, &[]);
        Some(Self { ground, haproxy, _rolecall: rolecall })
    }

    fn front(&self) -> SocketAddr {
        self.ground.addr(3, FRONT_PORT)
    }

    fn says(&self, arguments: &[&str]) {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(self.ground.dir().join("rolecall.toml")).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn wait(&self, number: u8, status: &str) -> String {
        let server = format!("pg/n{number}");
        self.haproxy.wait(&server, PATIENCE, status, |s| s.status.starts_with(status)).last_agent
    }
}

#[test]
fn a_drained_replica_keeps_its_session_and_gets_no_new_one() {
    let Some(stage) = Stage::new("replica", ["replica", "replica"]) else { return };
    stage.wait(1, "UP");
    stage.wait(2, "UP");
    let (number, mut session) = Session::open(stage.front()).expect("a server");
    let other = 3 - number;
    stage.says(&["drain", &format!("n{number}"), "--reason", "minor upgrade"]);
    let told = stage.wait(number, "DRAIN");
    assert!(told.contains("ordered drain") && told.contains("minor upgrade"), "{told}");
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let began = now();
        let (new, _) = Session::open(stage.front()).expect("the other server");
        longest = longest.max(now().since(began));
        assert_eq!(new, other);
        assert!(session.lives(), "the open session goes on");
    }
    println!("drain of a replica: 50 new connections waited {longest:?} at most");
    stage.says(&["maint", &format!("n{number}")]);
    stage.wait(number, "MAINT");
    assert!(!session.lives(), "maint ends it");
    stage.says(&["auto", &format!("n{number}")]);
    stage.wait(number, "UP");
}

#[test]
fn a_primary_is_taken_out_by_a_switchover_at_once() {
    let Some(stage) = Stage::new("primary", ["primary", "replica"]) else { return };
    stage.wait(1, "UP");
    stage.wait(2, "MAINT");
    let (number, mut session) = Session::open(stage.front()).expect("a server");
    assert_eq!(number, 1);
    stage.says(&["drain", "primary/n1", "--for", "10m"]);
    let began = now();
    stage.wait(1, "DRAIN");
    assert!(session.lives(), "the open session goes on until the switchover");
    assert!(Session::open(stage.front()).is_none(), "and nobody new comes");
    // The switchover: first nobody is the primary, then the other one is.
    std::fs::write(stage.ground.dir().join("role1"), "replica").unwrap();
    // The order would keep sessions; a node that is no primary any more must lose them all the same.
    stage.wait(1, "MAINT");
    assert!(!session.lives(), "no session is left on the old primary");
    std::fs::write(stage.ground.dir().join("role2"), "primary").unwrap();
    eventually(PATIENCE, "a connection to the new primary", || {
        match Session::open(stage.front()) {
            Some((2, _)) => Ok(()),
            Some((other, _)) => panic!("a connection reached n{other}"),
            None => Err("no server"),
        }
    });
    println!("switchover: new connections waited {:?}", now().since(began));
}
