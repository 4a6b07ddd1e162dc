//! A reload changes everything at one moment: no answer mixes the old configuration with the new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::fixtures::{Ground, Heard, Rolecall, ask, held, say};

const RELOADS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(10);

fn config(role: &str, services: &[(&str, &str, String)]) -> String {
    let service = |(name, role, listen): &(&str, &str, String)| {
        format!("[[service]]\nname = \"{name}\"\nroles = [\"{role}\"]\nlisten = \"{listen}\"\n")
    };
    let services: String = services.iter().map(service).collect();
    format!("[source]\nkind = \"static\"\nrole = \"{role}\"\n{services}")
}

/// Asks as fast as it can until told to stop; returns everything that was heard.
fn hammer(addr: std::net::SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<Heard>> {
    let stop = Arc::clone(stop);
    spawn(move || {
        let mut heard = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            heard.push(ask(addr, PATIENCE).heard);
        }
        heard
    })
}

/// Reloads to and fro between two configurations under a hammer at `port` of host 1.
fn only_ever_says(line: &str, role: &str, a: &[(&str, &str, u16)], b: &[(&str, &str, u16)]) {
    let ground = Ground::new();
    let [a, b] = [a, b].map(|services| {
        let place = |(name, role, port): &_| (*name, *role, ground.addr(1, *port).to_string());
        config(role, &services.iter().map(place).collect::<Vec<_>>())
    });
    let mut rolecall = Rolecall::new(&ground, "reloads", env!("CARGO_BIN_EXE_rolecall"), &a);
    rolecall.start();
    let stop = Arc::new(AtomicBool::new(false));
    let hammers: Vec<_> = (0..2).map(|_| hammer(ground.addr(1, 5571), &stop)).collect();
    for _ in 0..RELOADS / 2 {
        for config in [&b, &a] {
            rolecall.write_config(config);
            rolecall.reload();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let heard: Vec<_> = hammers.into_iter().flat_map(|h| h.join().expect("a hammer")).collect();
    say(&format!("{RELOADS} reloads, {} answers, all {line:?}", heard.len()));
    let other = heard.iter().find(|heard| **heard != Heard::Said(line.to_owned()));
    assert_eq!(other, None, "of {} answers", heard.len());
}

#[test]
fn a_port_never_answers_for_the_service_of_another() {
    only_ever_says(
        "MAINT\n",
        "replica",
        &[("x", "primary", 5571)],
        &[("x", "replica", 5572), ("y", "primary", 5571)],
    );
}

#[test]
fn a_service_that_gets_another_name_stays_ready() {
    only_ever_says("READY\n", "primary", &[("x", "primary", 5571)], &[("y", "primary", 5571)]);
}

#[test]
fn a_reload_that_leaves_an_inherited_socket_to_nobody_is_refused() {
    let ground = Ground::new();
    let addr = |port: u16| ground.addr(1, port);
    let both = [("x", "primary", addr(5571).to_string()), ("y", "replica", addr(5572).to_string())];
    let sockets = vec![held(addr(5571)), held(addr(5572))];
    let mut rolecall = Rolecall::new(
        &ground,
        "inherited",
        env!("CARGO_BIN_EXE_rolecall"),
        &config("primary", &both),
    )
    .sockets(sockets);
    rolecall.start();
    rolecall.write_config(&config("primary", &both[..1]));
    rolecall.reload();
    let refused = [
        "the configuration was not reloaded",
        &format!("socket passed on by systemd at {}", addr(5572)),
        "rolecall.socket",
    ];
    rolecall.wait_log(PATIENCE, &refused);
    assert_eq!(ask(addr(5572), PATIENCE).heard, Heard::Said("MAINT\n".to_owned()));
    rolecall.write_config(&config("primary", &both));
    rolecall.restart();
}

#[test]
fn an_address_that_takes_in_an_open_one_needs_a_restart() {
    let ground = Ground::new();
    let here = ground.addr(1, 5571);
    let of = |listen: String| config("primary", &[("x", "primary", listen)]);
    let mut rolecall =
        Rolecall::new(&ground, "overlap", env!("CARGO_BIN_EXE_rolecall"), &of(here.to_string()));
    rolecall.start();
    // Every address takes the one in that is bound already: it cannot be bound beside it.
    rolecall.write_config(&of("5571".to_owned()));
    rolecall.reload();
    rolecall.wait_log(PATIENCE, &["was not reloaded", "rolecall opened", "restart rolecall"]);
    assert_eq!(ask(here, PATIENCE).heard, Heard::Said("READY\n".to_owned()));
}
