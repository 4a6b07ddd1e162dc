//! One daemon for many nodes, with real servers: a node that is ill delays no other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Heard, PG_PORT, Postgres, Rolecall, ask, eventually,
    lacks_postgres,
};

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at the well node that are waited for; one after the other with the node that hangs they would
/// take as many timeouts.
const LOOKS: u64 = 15;

fn metrics(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// How many looks at a node have ended so.
fn looks(addr: SocketAddr, node: &str, result: &str) -> u64 {
    let name =
        format!("rolecall_looks_total{{node=\"{node}\",source=\"postgres\",result=\"{result}\"}} ");
    let metrics = metrics(addr);
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |n| n.parse().unwrap())
}

#[test]
fn a_node_that_hangs_refuses_or_cannot_be_resolved_delays_no_other() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut server = Postgres::init(&ground, "pg1", ground.host(1));
    server.start();
    // Connections are taken by the kernel, and nobody says a word.
    let hung = TcpListener::bind(ground.addr(2, PG_PORT)).unwrap();
    let http = ground.addr(1, HTTP_PORT);
    let node = |n: u8, name: &str, conninfo: &str| {
        let agent = ground.addr(n, AGENT_PORT);
        format!(
            "[[node]]\nname = \"{name}\"\nsource = {{ conninfo = \"{conninfo}\" }}\n\
             listen = {{ primary = \"{agent}\" }}\n"
        )
    };
    let at = |n: u8| format!("host={} port={PG_PORT} user=x dbname=x", ground.host(n));
    let config = format!(
        "[defaults]\nkind = \"postgres\"\ninterval = \"200ms\"\ntimeout = \"2s\"\n\
         [http]\nlisten = \"{http}\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\n{}{}{}{}",
        node(2, "hung", &at(2)),
        node(3, "refusing", &at(3)),
        node(4, "nowhere", "host=nosuch.invalid user=x dbname=x"),
        node(1, "well", &server.conninfo()),
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config);
    rolecall.start();
    let says = |n: u8| ask(ground.addr(n, AGENT_PORT), PATIENCE).heard;
    assert_eq!(says(1), Heard::Said("READY\n".to_owned()), "{}", rolecall.log());
    let (before, timeouts) = (looks(http, "well", "good"), looks(http, "hung", "timeout"));
    eventually(PATIENCE, "more looks at the well node", || {
        match looks(http, "well", "good") - before {
            more if more >= LOOKS => Ok(()),
            more => Err(more),
        }
    });
    let waited = looks(http, "hung", "timeout") - timeouts;
    assert!(waited <= LOOKS / 3, "{LOOKS} looks took {waited} timeouts of another node");
    for n in [2, 3, 4] {
        assert_eq!(says(n), Heard::Said("MAINT\n".to_owned()));
    }
    assert!(looks(http, "refusing", "server_down") >= LOOKS / 3, "{}", metrics(http));
    assert!(
        metrics(http).contains("node=\"nowhere\",source=\"postgres\",result=\"unresolved\"")
            || metrics(http).contains("node=\"nowhere\",source=\"postgres\",result=\"timeout\"")
    );
    drop(hung);
}
