//! A name server for the servers of HAProxy.

use std::path::Path;

use crate::fixtures::process::Proc;
use crate::fixtures::{Ground, PG_PORT, command};

const DNS_PORT: u16 = 25053;
/// Its place in the block of addresses.
const DNS: u8 = 12;
const PROGRAM: &str = "/usr/sbin/dnsmasq";

/// Whether there is one.
pub fn are_known() -> bool {
    Path::new(PROGRAM).is_file()
}

/// Starts it; it knows both nodes by [`name`] and nothing else.
pub fn serve(ground: &Ground) -> Proc {
    let mut dnsmasq = command(Path::new(PROGRAM), ground.user());
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    dnsmasq.args(["--bind-interfaces", "--pid-file=", "--user=", "--group="]);
    dnsmasq.arg(format!("--listen-address={}", ground.host(DNS))).arg(format!("--port={DNS_PORT}"));
    for id in [1, 2] {
        dnsmasq.arg(format!("--host-record={},{}", name(id), ground.host(id)));
    }
    Proc::start("dnsmasq", dnsmasq, &ground.dir().join("dnsmasq.log"))
}

/// Replaces the addresses of the servers by their names, and tells who knows them.
pub fn named(ground: &Ground, mut env: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    for (variable, value) in &mut env {
        for (id, server) in [(1, "ROLECALL_PG1"), (2, "ROLECALL_PG2")] {
            if *variable == server {
                *value = format!("{}:{PG_PORT}", name(id));
            }
        }
    }
    env.push(("ROLECALL_DNS", ground.addr(DNS, DNS_PORT).to_string()));
    env
}

fn name(id: u8) -> String {
    format!("pg{id}.orders.test")
}
