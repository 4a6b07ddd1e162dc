//! Orders on a machine that is booted again.
//!
//! The clock of the boot is the host's in there: that it starts anew with a real boot, `tests/daemon/orders.rs`
//! shows.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use serde_json::Value;

use crate::deb::PEER;
use crate::fixtures::{Heard, ask, checker, now};
use crate::host::{AGENT, Host, SOON, hear, localhost};
use crate::machine::Down;

/// Two services that orders take out, and one of the same primary that nobody touches.
const SERVICES: &str = r#"
reply = "full"

[[service]]
name = "until_two"
roles = ["primary"]
listen = "5556"
reply = "full"

[[service]]
name = "as_seen"
roles = ["primary"]
listen = "5557"

[control]
"#;

const UNTIL_TWO: SocketAddr = localhost(5556);
const AS_SEEN: SocketAddr = localhost(5557);

const LASTS: Duration = Duration::from_secs(2 * 60 * 60);
/// Ends are kept by wall time in whole seconds.
const ROUNDED: Duration = Duration::from_secs(2);

/// Answers that are awaited after a boot.
const ANSWERS: usize = 100;

/// The orders as they are kept, without what counts by the clock of one boot.
fn kept(host: &Host) -> Value {
    let text = host.machine.sh("cat /var/lib/rolecall/orders.json");
    let mut kept: Value = serde_json::from_str(&text).expect("the orders");
    for order in kept["orders"].as_array_mut().expect("orders") {
        order.as_object_mut().expect("an order").remove("since_boot_ms");
        if let Some(ends) = order["ends"].as_object_mut() {
            ends.remove("boot_ms");
        }
    }
    kept["orders"].take()
}

/// What the daemon says of the order about a service.
fn order(host: &Host, service: &str) -> Value {
    let said = host.machine.said("rolecall status --json");
    let status: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let services = status["nodes"][0]["services"].as_array().expect("services").clone();
    let service = services.into_iter().find(|found| found["service"] == service);
    service.unwrap_or_else(|| panic!("no such service in {said}"))["order"].take()
}

/// The first and the last moment, from `zero` on, at which the order about a service may end.
fn ends(host: &Host, service: &str, zero: Stamp) -> [Duration; 2] {
    let began = now();
    let order = order(host, service);
    let left = order["ends_ms"].as_u64().unwrap_or_else(|| panic!("no end: {order}"));
    [began, now()].map(|at| at.since(zero) + Duration::from_millis(left))
}

fn ordered(line: &str, why: &str) -> bool {
    line.starts_with("maint up #") && line.contains(why)
}

pub fn an_order_outlives_a_boot(host: &mut Host) {
    host.configure(&format!("{PEER}{SERVICES}"));
    host.machine.sh(&format!(
        "systemctl restart rolecall.service
         rolecall maint primary --reason 'disk swap'
         runuser -u rolecall -- rolecall maint until_two --for {}s --reason 'new kernel'",
        LASTS.as_secs()
    ));
    let (zero, before) = (now(), kept(host));
    let before_ends = ends(host, "until_two", zero);
    let about = |host: &Host| {
        ["primary", "until_two"].map(|service| {
            let order = order(host, service);
            ["target", "order", "by", "why", "forced"].map(|field| order[field].clone())
        })
    };
    let (orders, ports) = (about(host), [(AGENT, "disk swap"), (UNTIL_TWO, "new kernel")]);
    let by = orders.each_ref().map(|order| order[2].as_str().unwrap_or_default());
    assert!(by[0].starts_with("root (") && by[1].starts_with("rolecall ("), "{orders:?}");
    assert_eq!(orders.each_ref().map(|order| &order[3]), ["disk swap", "new kernel"]);

    // Down in order, and nobody asks: no question at the socket has started what answers the first.
    host.machine.reboot(Down::InOrder);
    assert_eq!(host.machine.property("rolecall.service", "ActiveState"), "active");
    for (port, why) in ports {
        match ask(port, SOON).heard {
            Heard::Said(line) if ordered(&line, why) => println!("  booted again: {line:?}"),
            heard => panic!("the first answer after a boot: {heard:?}"),
        }
    }

    // Down at once, and somebody asks all the time.
    let every = Duration::from_millis(5);
    let askers = ports.map(|(port, why)| (checker(port, every, SOON), why));
    let marks = askers.each_ref().map(|(answers, _)| answers.mark());
    host.machine.reboot(Down::AtOnce);
    let nobody = |heard: &Heard| !matches!(heard, Heard::Said(line) if !line.is_empty());
    for ((answers, why), mark) in askers.into_iter().zip(marks) {
        let again = answers.mark();
        hear(&answers, ANSWERS);
        let tail = answers.since(again);
        let answers = answers.stop();
        let gap = answers[mark..].iter().filter(|check| nobody(&check.heard)).count();
        assert!(gap > 0, "the machine was never down");
        let other = answers.iter().find(|check| match &check.heard {
            Heard::Said(line) if !line.is_empty() => !ordered(line, why),
            _ => false,
        });
        assert!(other.is_none(), "something else than the order: {other:?}");
        assert!(!tail.iter().any(|check| nobody(&check.heard)), "{tail:?}");
        println!(
            "  killed and booted: {} answers, all ordered; {gap} with nobody",
            answers.len() - gap
        );
    }

    // What the orders stand against is a node that is ready.
    host.says_at(AS_SEEN, "READY\n");
    assert_eq!(about(host), orders);
    assert_eq!(kept(host), before);
    let after_ends = ends(host, "until_two", zero);
    let apart = |one: [Duration; 2], other: [Duration; 2]| other[0].saturating_sub(one[1]);
    let moved = apart(before_ends, after_ends).max(apart(after_ends, before_ends));
    assert!(moved <= ROUNDED, "the end moved: {before_ends:?}, {after_ends:?}");

    host.machine.sh("rolecall auto primary && rolecall auto until_two");
    host.configure(PEER);
    host.machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
}
