//! What the daemon's host runs out of on its network, and what others flood it with.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::links::{Apart, CLIENT, OWN, held_then_maint};
use super::{HOLD, LONG, is_root};
use crate::fixtures::netns::host as address;
use crate::fixtures::{AGENT_PORT, lacks_namespaces, now, say};

/// The few ports that outgoing connections may have, all of them taken.
const FROM: u16 = 40_000;
const TO: u16 = 40_003;
/// A flood has so many at least, on a busy machine too.
const LEAST: u32 = 2000;
/// SYNs in one burst, and the pause after it.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

#[test]
fn no_port_left_for_a_connection_takes_the_node_out_until_there_is_one() {
    if lacks_namespaces() {
        return;
    }
    let name = "no_port_left_for_a_connection_takes_the_node_out_until_there_is_one";
    let apart = Apart::new(name);
    let asked = apart.asked();
    let taken: Vec<TcpListener> = apart.net.space(OWN).inside(|| {
        (FROM..=TO).map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).collect()
    });
    let range = format!("echo '{FROM} {TO}' >/proc/sys/net/ipv4/ip_local_port_range");
    let began = now();
    apart.on(OWN, &["sh", "-c", &range]);
    asked.until(LONG);
    apart.says("MAINT");
    drop(taken);
    let ended = now();
    apart.says("READY");
    asked.were(held_then_maint(began, ended));
}

#[test]
fn a_flood_of_syns_stops_no_answer() {
    if lacks_namespaces() || !is_root() {
        return;
    }
    let apart = Apart::new("a_flood_of_syns_stops_no_answer");
    // Whom nobody has: what is answered to them goes to the other host, which takes it for nobody's.
    apart.on(OWN, &["ip", "route", "add", "198.18.0.0/15", "via", &address(CLIENT).to_string()]);
    let (over, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let asked = apart.asked();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            apart.net.space(CLIENT).enter();
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("root");
            socket.set_header_included_v4(true).expect("a raw socket");
            let to = SocketAddrV4::new(address(OWN), AGENT_PORT);
            while !over.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    // A full queue of the interface drops one, as a flood does.
                    let _ = socket.send_to(&syn(n, to), &to.into());
                }
                std::thread::sleep(PAUSE);
            }
        });
        asked.until(LONG + HOLD);
        over.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    say(&format!("a_flood_of_syns_stops_no_answer: {sent} SYNs"));
    assert!(sent > LEAST, "{sent}");
    asked.were_ready();
    apart.says("READY");
}

/// The `n`th SYN, from an address and a port of its own (RFC 791, RFC 9293).
fn syn(n: u32, to: SocketAddrV4) -> Vec<u8> {
    let from = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + n % 0x1_ffff);
    let port = 1024 + u16::try_from(n % 60_000).unwrap_or_default();
    let mut tcp = Vec::from(port.to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(n.to_be_bytes());
    // No acknowledgement; five words of header, SYN, a window, and the sum and the urgent pointer as 0.
    tcp.extend([0, 0, 0, 0, 0x50, 0x02, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &to.ip().octets(), &[0, 6, 0, 20], &tcp].concat();
    let sum = checksum(&pseudo).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    // The kernel fills in the length, the id and the sum of this one.
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.ip().octets());
    packet.extend(tcp);
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}
