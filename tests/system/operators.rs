//! What operators see and do at HAProxy itself, as docs/operations.md tells them.

use std::net::SocketAddr;
use std::path::Path;

use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, Haproxy, Postgres, Rolecall, Server, Shutdown,
    Write, Written, eventually, held, open_session, say,
};
use crate::pair::{Pair, ROLECALL, no_row_went_astray, programs};
use crate::shipped_cfg::{CFG, PG1, PG2, SOON, addresses, on_every_haproxy};

/// The document whose commands these are.
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// A service, of these further keys, about a node whose role stands in the file `role`.
fn config(role: &Path, agent: SocketAddr, service: &str) -> String {
    format!(
        r#"
[source]
kind = "command"
command = ["/bin/cat", "{}"]
interval = "100ms"

[[service]]
name = "asked"
listen = "{agent}"
{service}
"#,
        role.display()
    )
}

/// A rolecall of node `n` that answers with its reason.
fn talkative(ground: &Ground, n: u8, role: &Path) -> Rolecall {
    let agent = ground.addr(n, AGENT_PORT);
    let config = config(role, agent, "roles = [\"primary\"]\nreply = \"full\"");
    let name = format!("rolecall{n}");
    let mut one = Rolecall::new(ground, &name, ROLECALL, &config).sockets(vec![held(agent)]);
    one.start();
    one
}

#[test]
fn full_answers_carry_the_reason_to_the_statistics_and_the_log() {
    on_every_haproxy(|ground, program| {
        let files = ["role1", "role2"].map(|name| ground.write(name, "replica\n"));
        // In one step, so that no look sees half of it.
        let becomes = |n: usize, word: &str| {
            let next = ground.write("next", &format!("{word}\n"));
            std::fs::rename(next, &files[n]).expect("role");
        };
        becomes(0, "primary");
        let _roles = [talkative(ground, 1, &files[0]), talkative(ground, 2, &files[1])];
        // The shipped file, and HAProxy's own page beside it.
        let page = ground.addr(3, HTTP_PORT);
        let shipped = std::fs::read_to_string(CFG).expect("haproxy.cfg");
        let stats =
            format!("listen stats\n  mode http\n  bind {page}\n  stats enable\n  stats uri /\n");
        let cfg = ground.write("haproxy.cfg", &format!("{shipped}\n{stats}"));
        let haproxy = Haproxy::start(ground, program, &cfg, &addresses(ground));
        let reason = |server: &str, out: bool, why: &str| {
            let said = |s: &Server| s.is_maint() == out && s.last_agent.contains(why);
            let seen = haproxy.wait(server, SOON, &format!("shows {why:?}"), said);
            say(&format!("{server} {}: {}", seen.status, seen.last_agent));
        };
        reason(PG2, true, "is replica");
        // Its table for people has a bare MAINT (seen on 2.6 and 3.0); what programs read says why.
        for form in ["csv", "json"] {
            let shown = request(page, &format!("GET /;{form}"), "", Some(SOON)).expect("a page");
            assert!(shown.body.contains("via agent : up (is replica)"), "{form}: {}", shown.body);
        }
        haproxy.wait(PG1, SOON, "is up", Server::is_up);
        becomes(0, "replica");
        reason(PG1, true, "is replica");
        becomes(1, "primary");
        haproxy.wait(PG2, SOON, "is up", Server::is_up);

        // HAProxy logs an agent's word when its check's result changes: the first, or after a failure.
        let logged = eventually(SOON, "the reason in HAProxy's log", || {
            let log = haproxy.log();
            let line = log.lines().find(|l| l.contains("Agent check") && l.contains("is replica"));
            line.map(str::to_owned).ok_or(log)
        });
        say(&format!("logged: {logged}"));
    });
}

#[test]
fn at_haproxy_a_server_stays_out_only_once_its_agent_is_disabled() {
    let Some(program) = programs() else { return };
    let mut pair = Pair::start(&program, "3s");
    let tell = |command: &str| {
        assert!(OPERATIONS.contains(command), "docs/operations.md does not say {command:?}");
        let said = pair.haproxy.stats().ask(command).expect("the stats socket");
        assert_eq!(said.trim(), "", "{command}");
    };

    // Without more, READY undoes it.
    let maint = format!("set server {PG1} state maint");
    pair.haproxy.stats().ask(&maint).expect("the stats socket");
    pair.wait_up(PG1);

    // Disabled first, it holds over checks that would have undone it; a drain keeps the session.
    let session = pair.session();
    session.wait_since(0, SOON, "the session's first answer", |b| b.answer.is_ok());
    tell(&format!("disable agent {PG1}"));
    tell(&format!("set server {PG1} state drain"));
    let drained = |s: &Server| s.status.starts_with("DRAIN");
    pair.haproxy.wait(PG1, SOON, "is drained", drained);
    let (samples, beats) = (pair.samples.mark(), session.mark());
    eventually(SOON, "sixty looks at it", || match pair.samples.mark() - samples {
        count if count < 60 => Err(count),
        _ => Ok(()),
    });
    for sample in pair.samples.since(samples) {
        assert!(drained(&sample.servers[PG1]), "not drained any more: {sample:?}");
    }
    let cut = session.since(beats).into_iter().find(|b| b.answer.is_err());
    assert!(cut.is_none(), "the drain cut the session: {cut:?}");
    // Nobody else takes new ones.
    let writes = pair.writer();
    let turned_away = |w: &Write| matches!(w.written, Written::Failed(_));
    writes.wait_since(0, SOON, "a new connection is turned away", turned_away);

    tell(&format!("enable agent {PG1}"));
    pair.wait_up(PG1);
    pair.wait_row(&writes, writes.mark(), 1);
    let session = session.stop();
    assert!(session.iter().all(|b| b.answer.is_ok()), "the session was cut: {session:?}");

    // A primary is not drained but switched over, at once.
    let mark = writes.mark();
    let began = crate::fixtures::now();
    pair.nodes[0].stop(Shutdown::Fast);
    pair.nodes[1].promote();
    let row = pair.wait_row(&writes, mark, 2);
    say(&format!("switchover: new connections waited {:?} at most", row.at.since(began)));
    pair.wait_maint(PG1);
    pair.wait_up(PG2);
    no_row_went_astray(&pair, &writes.stop());
}

#[test]
fn a_drain_keeps_sessions_only_where_the_companion_check_lets_it_pass() {
    let Some(program) = programs() else { return };
    let shipped = std::fs::read_to_string(CFG).expect("haproxy.cfg");
    let strict = shipped.lines().find(|l| l.contains("tcp-check expect")).expect("its check");
    let lenient = strict.replace("(READY|ready)", "(READY|ready|DRAIN|drain|MAINT|maint)");
    assert!(OPERATIONS.contains(lenient.trim()), "docs/operations.md does not say {lenient:?}");
    for (expect, kept) in [(strict, false), (&*lenient, true)] {
        let ground = Ground::new();
        let mut server = Postgres::init(&ground, "pg1", ground.host(1));
        server.start();
        let role = ground.write("role", "replica\n");
        let agent = ground.addr(1, AGENT_PORT);
        let service = "roles = [\"replica\"]\nreply = { ready = \"ready\", not_ready = \"drain\" }";
        let config = config(&role, agent, service);
        let mut one =
            Rolecall::new(&ground, "rolecall1", ROLECALL, &config).sockets(vec![held(agent)]);
        one.start();
        let cfg = ground.write("haproxy.cfg", &shipped.replace(strict, expect));
        let haproxy = Haproxy::start(&ground, &program, &cfg, &addresses(&ground));
        haproxy.wait(PG1, SOON, "is up", |s| s.status == "UP");
        let session = open_session(ground.addr(3, FRONT_PORT));
        session.wait_since(0, SOON, "the session's first answer", |b| b.answer.is_ok());

        let next = ground.write("next", "primary\n");
        std::fs::rename(next, &role).expect("role");
        if kept {
            haproxy.wait(PG1, SOON, "is drained", |s| s.status.starts_with("DRAIN"));
            // Longer than inter x fall, after which the check would have taken it down.
            let beats = session.mark();
            eventually(SOON, "forty answers more", || match session.mark() - beats {
                count if count < 40 => Err(count),
                _ => Ok(()),
            });
            assert!(session.all().iter().all(|b| b.answer.is_ok()), "the session was cut");
            let seen = haproxy.server(PG1);
            assert!(seen.status.starts_with("DRAIN"), "no drain any more: {seen:?}");
        } else {
            haproxy.wait(PG1, SOON, "is down by the check", Server::is_down);
            session.wait_since(0, SOON, "the session is cut", |b| b.answer.is_err());
        }
    }
}
