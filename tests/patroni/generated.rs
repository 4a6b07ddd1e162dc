//! What `rolecall haproxy` prints for a real Patroni cluster: members by its `/cluster`. Routing with it is
//! shown by tests/repmgr; the lines are the same.

use std::fmt::Write as _;
use std::path::Path;

use crate::fixtures::patroni::REST_PORT;
use crate::fixtures::process::run;
use crate::fixtures::{AGENT_PORT, Haproxy, PG_PORT, command, haproxies};
use crate::stage::{REPLICA_PORT, ROLECALL, Setting, Stage, config};

/// Beside the nodes, and for one rolecall that watches both: each member once in each pool, at the
/// address that Patroni has, and HAProxy takes it.
pub fn is_printed(stage: &Stage) {
    let ground = &stage.ground;
    let printed = |file: &str, text: &str| {
        let file = ground.write(file, text);
        let mut rolecall = command(Path::new(ROLECALL), None);
        rolecall.arg("--config").arg(file).arg("haproxy");
        run(rolecall)
    };
    let beside = printed("print.toml", &config(ground, 2, Setting::USUAL));
    let mut nodes = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n".to_owned();
    for id in [1, 2] {
        // Writing to a string cannot fail.
        let _ = write!(
            nodes,
            "[[node]]\nname = \"pg{id}\"\nlisten = {{ primary = \"127.0.0.1:600{id}\" }}\n\
             source = {{ kind = \"patroni\", url = \"http://{}\" }}\n",
            ground.addr(id, REST_PORT)
        );
    }
    let central = printed("print-nodes.toml", &nodes);
    for id in [1, 2] {
        let at = ground.addr(id, PG_PORT);
        for port in [AGENT_PORT, REPLICA_PORT] {
            let line = format!("    server n{id} {at} port {port} agent-port {port}\n");
            assert_eq!(beside.matches(&line).count(), 1, "{line} in\n{beside}");
        }
        let line = format!("    server pg{id} {at} addr 127.0.0.1 port 600{id} ");
        assert_eq!(central.matches(&line).count(), 1, "{line} in\n{central}");
    }
    for text in [beside, central] {
        let cfg = ground.write("printed.cfg", &text);
        Haproxy::check(ground, &haproxies()[0].1, &cfg, &[]);
    }
}
