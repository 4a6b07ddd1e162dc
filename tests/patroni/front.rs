//! The shipped file of HAProxy, and where its clients come to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::fixtures::{AGENT_PORT, FRONT_PORT, Ground, PG_PORT};

/// The agent port of the read-only service, and the port of its clients.
pub const REPLICA_PORT: u16 = 25556;
pub const READ_PORT: u16 = 25001;
/// HAProxy's place in the block of addresses.
pub const CLIENT: u8 = 10;

/// Where clients come to who write, and who only read.
pub fn fronts(ground: &Ground) -> [SocketAddr; 2] {
    [FRONT_PORT, READ_PORT].map(|port| ground.addr(CLIENT, port))
}

/// Fills the shipped file's variables.
pub fn addresses(
    ground: &Ground,
    nodes: u8,
    fronts: &[SocketAddr; 2],
) -> Vec<(&'static str, String)> {
    let servers = ["ROLECALL_PG1", "ROLECALL_PG2", "ROLECALL_PG3"];
    let servers = (1..=nodes).zip(servers);
    let servers = servers.map(|(id, name)| (name, ground.addr(id, PG_PORT).to_string()));
    let others = [
        ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
        ("ROLECALL_REPLICA_PORT", REPLICA_PORT.to_string()),
        ("ROLECALL_BIND_RW", fronts[0].to_string()),
        ("ROLECALL_BIND_RO", fronts[1].to_string()),
    ];
    servers.chain(others).collect()
}

/// The file, with a line more in each pool for a third server.
pub fn with_servers(ground: &Ground, cfg: &Path, nodes: u8) -> PathBuf {
    if nodes == 2 {
        return cfg.to_owned();
    }
    let shipped = std::fs::read_to_string(cfg).expect("HAProxy's file");
    let mut text = String::new();
    for line in shipped.lines() {
        text.push_str(line);
        text.push('\n');
        if line.trim_start().starts_with("server pg2 ") {
            text.push_str(&line.replace("pg2", "pg3").replace("PG2", "PG3"));
            text.push('\n');
        }
    }
    assert_eq!(text.matches("server pg3 ").count(), 2, "a third server in both pools");
    ground.write("three.cfg", &text)
}
