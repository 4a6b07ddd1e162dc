//! Network interfaces and addresses of the daemon's own host.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use super::{Asked, HOLD, Host, LONG, WITHIN};
use crate::fixtures::netns::{Net, host as address};
use crate::fixtures::{AGENT_PORT, Check, Ground, Heard, ask, eventually, lacks_namespaces, now};
use crate::well::PATIENCE;

/// The host with the daemon, and the one with HAProxy.
pub(super) const OWN: u8 = 1;
pub(super) const CLIENT: u8 = 2;

/// A rolecall on a host of its own, in front of which another one asks.
pub(super) struct Apart {
    pub host: Host,
    pub net: Net,
}

impl Apart {
    pub(super) fn new(name: &'static str) -> Self {
        let ground = Ground::new();
        let net = Net::new(&ground, &[OWN, CLIENT]);
        let agent = SocketAddr::from((address(OWN), AGENT_PORT));
        let space = net.space(OWN);
        // Patroni beside it, asked by loopback.
        let patroni = |_: &Ground| SocketAddr::from(([127, 0, 0, 1], 28008));
        let line = "exec PROGRAM \"$@\"";
        let mut host = Host::at(name, ground, patroni, line, Some((space, agent)));
        host.rolecall.start();
        let apart = Self { host, net };
        apart.says("READY");
        apart
    }

    pub(super) fn agent() -> SocketAddr {
        (address(OWN), AGENT_PORT).into()
    }

    /// Asks from the other host.
    pub(super) fn asked(&self) -> Asked {
        let name = self.host.name;
        self.net.space(CLIENT).inside(|| Asked::of(name, Self::agent()))
    }

    pub(super) fn says(&self, word: &str) {
        let wanted = Heard::Said(format!("{word}\n"));
        eventually(PATIENCE, word, || {
            match self.net.space(CLIENT).inside(|| ask(Self::agent(), WITHIN)).heard {
                heard if heard == wanted => Ok(()),
                other => Err(other),
            }
        });
    }

    /// Runs a command on the daemon's host, or on the other one.
    pub(super) fn on(&self, id: u8, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let output = self.net.space(id).command(&command).output().expect(words[0]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
    }
}

/// READY until `hold` after the fault, then MAINT until it is over, and then READY again: what is right where the
/// source cannot be asked any more.
pub(super) fn held_then_maint(began: Stamp, ended: Stamp) -> impl Fn(&Check) -> bool {
    // A look that had begun before counts too, and one that comes after it.
    let slack = Duration::from_millis(1500);
    move |check| match &check.heard {
        Heard::Said(line) if line == "READY\n" => {
            check.at < began || check.at.since(began) <= HOLD + slack || check.at >= ended
        }
        Heard::Said(line) if line == "MAINT\n" => {
            check.at >= began && check.at.since(ended) <= slack
        }
        _ => false,
    }
}

#[test]
fn a_loopback_that_is_down_takes_the_node_out_and_up_brings_it_back() {
    if lacks_namespaces() {
        return;
    }
    let name = "a_loopback_that_is_down_takes_the_node_out_and_up_brings_it_back";
    let apart = Apart::new(name);
    let asked = apart.asked();
    let began = now();
    apart.on(OWN, &["ip", "link", "set", "lo", "down"]);
    asked.until(LONG);
    apart.says("MAINT");
    apart.on(OWN, &["ip", "link", "set", "lo", "up"]);
    let ended = now();
    apart.says("READY");
    asked.were(held_then_maint(began, ended));
}

#[test]
fn an_address_that_goes_and_comes_back_is_answered_on_again() {
    if lacks_namespaces() {
        return;
    }
    let name = "an_address_that_goes_and_comes_back_is_answered_on_again";
    let apart = Apart::new(name);
    let asked = apart.asked();
    asked.until(HOLD / 2);
    let own = format!("{}/24", address(OWN));
    let began = now();
    apart.on(OWN, &["ip", "addr", "del", &own, "dev", "eth0"]);
    std::thread::sleep(LONG);
    apart.on(OWN, &["ip", "addr", "add", &own, "dev", "eth0"]);
    let ended = now();
    apart.says("READY");
    asked.until(HOLD);
    // Nobody is heard without an address; whoever is heard says READY.
    asked.were(|check| match &check.heard {
        Heard::Said(line) => line == "READY\n",
        _ => began.since(check.at) <= check.took && check.at <= ended,
    });
}

#[test]
fn ipv6_that_is_switched_off_stops_no_answer() {
    if lacks_namespaces() {
        return;
    }
    let apart = Apart::new("ipv6_that_is_switched_off_stops_no_answer");
    let asked = apart.asked();
    let off = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    apart.on(OWN, &["sh", "-c", off]);
    asked.until(LONG);
    apart.on(OWN, &["sh", "-c", &off.replace('1', "0")]);
    asked.until(HOLD);
    asked.were_ready();
}
