//! What somebody says of an agent at HAProxy's own socket: `set server B/S agent down` marks the server DOWN as if
//! its agent had, and rolecall knows nothing of it.

use std::path::Path;

use crate::fixtures::{AGENT_PORT, Ground, Haproxy, Rolecall, Server, held};
use crate::patterns::{Pattern, role_file};
use crate::stage::{ROLECALL, SOON};

/// A plain READY does not lift it and `agent up` does, as docs/haproxy.md says; a full answer, which says `up`,
/// lifts it by itself.
pub fn play(pattern: &Pattern, (version, program): (&str, &Path)) {
    for full in [false, true] {
        let ground = Ground::new();
        std::fs::write(role_file(&ground, 1), "primary").expect("role");
        let held = vec![held(ground.addr(1, AGENT_PORT))];
        let mut config = pattern.config(&ground, 1);
        if full {
            config = config.replace("[[service]]", "[[service]]\nreply = \"full\"");
        }
        let mut rolecall = Rolecall::new(&ground, "rolecall1", ROLECALL, &config).sockets(held);
        rolecall.start();
        let haproxy =
            Haproxy::start(&ground, program, &pattern.path(), &pattern.addresses(&ground));
        let (server, at) = (pattern.rw(1), format!("haproxy {version}, full {full}"));
        haproxy.wait(&server, SOON, "is up", Server::is_up);
        let said = haproxy.stats().ask(&format!("set server {server} agent down"));
        assert_eq!(said.expect("an answer").trim(), "", "{at}");
        if full {
            // It may have been DOWN for less than a look at the statistics takes.
            haproxy.wait(&server, SOON, "is up again by itself", Server::is_up);
            continue;
        }
        haproxy.wait(&server, SOON, "is down", Server::is_down);
        // The next answers are heard: MAINT, and READY, which lifts that and nothing else.
        std::fs::write(role_file(&ground, 1), "replica").expect("role");
        haproxy.wait(&server, SOON, "is in maintenance", Server::is_maint);
        std::fs::write(role_file(&ground, 1), "primary").expect("role");
        let lifted = haproxy.wait(&server, SOON, "is out of it", |server| !server.is_maint());
        assert!(lifted.is_down(), "{at}: READY lifted it: {lifted:?}");
        haproxy.stats().ask(&format!("set server {server} agent up")).expect("an answer");
        haproxy.wait(&server, SOON, "is up", Server::is_up);
    }
}
