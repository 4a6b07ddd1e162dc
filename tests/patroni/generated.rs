//! What `rolecall haproxy` prints for a real Patroni cluster: members by its `/cluster`, and HAProxy routes
//! with it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::fixtures::patroni::{PATIENCE, REST_PORT};
use crate::fixtures::process::run;
use crate::fixtures::{
    AGENT_PORT, Ground, Haproxy, PG_PORT, PgError, Session, command, eventually, haproxies,
};
use crate::front::REPLICA_PORT;
use crate::stage::{ROLECALL, Setting, Stage, built, config};

/// Longest wait for one connection: HAProxy closes it at once where no server is up.
const AT_ONCE: Duration = Duration::from_secs(5);

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
    let beside = printed("print.toml", &config(ground, 2, Setting::USUAL, &built()));
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
    let cfg = ground.write("printed.cfg", &central);
    Haproxy::check(ground, &haproxies()[0].1, &cfg, &[]);
    routes(&beside);
}

/// HAProxy takes what is printed, and those who write come to a leader, those who read to a replica.
fn routes(printed: &str) {
    let own = Ground::new();
    let fronts = [5000, 5001].map(|port| own.addr(1, port));
    // Every address is not a test's to take.
    let text = fronts.iter().fold(printed.to_owned(), |text, front| {
        let (every, this) = (format!("bind :{}\n", front.port()), format!("bind {front}\n"));
        assert_eq!(text.matches(&every).count(), 1, "{every} in\n{text}");
        text.replace(&every, &this)
    });
    let cfg = own.write("printed.cfg", &text);
    let program = &haproxies()[0].1;
    Haproxy::check(&own, program, &cfg, &[]);
    let _haproxy = Haproxy::start(&own, program, &cfg, &[]);
    for (front, recovers) in fronts.into_iter().zip(["f", "t"]) {
        eventually(PATIENCE, &format!("{front} reaches whose recovery is {recovers}"), || {
            let mut session = Session::connect_as(front, "app", "postgres", AT_ONCE)?;
            let said = session.value("select pg_is_in_recovery()")?;
            // Reads go to the leader while no replica is up; writes never go to a replica.
            assert!(said == "f" || recovers == "t", "a replica was reached for writes");
            if said == recovers { Ok(()) } else { Err(PgError::Server(said, "recovery".into())) }
        });
    }
}
