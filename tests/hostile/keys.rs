//! Keys that others make expensive.

use std::sync::Arc;
use std::time::Duration;

use rolecall::config::{self, PasswordFrom};
use rolecall::source::RoleSource;
use rolecall::source::postgres::Postgres as Source;
use rolecall::source::resolve::Resolver;
use tokio::time::timeout;

use crate::fixtures::{Ground, Postgres, lacks_postgres};
use crate::servers::{Server, challenge, startup};
use crate::well::{PASSWORD, PATIENCE};

/// Servers that ask for the most iterations, each time with a new salt.
const GREEDY: u8 = 64;

/// How long a look at the honest server may take. One round of the attack takes far longer.
const SOON: Duration = Duration::from_secs(3);

fn source(conninfo: &str) -> Source {
    let settings = config::Postgres {
        conninfo: conninfo.parse().expect(conninfo),
        password: PasswordFrom::Nowhere,
    };
    Source::new(&settings, PATIENCE, Resolver::system()).unwrap()
}

/// The kind of H8: what other servers have computed must not delay a look that has nothing to compute. All keys
/// of a process are made by one thread, so that this test delays whatever else looks with a password in here.
#[tokio::test]
async fn scram_that_others_make_expensive_delays_nobody() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut server = Postgres::init(&ground, "honest", ground.host(7));
    let hba = server.data().join("pg_hba.conf");
    let trusted = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all honest all scram-sha-256\n{trusted}")).unwrap();
    server.start();
    server.execute(&format!("create role honest login password '{PASSWORD}'"));
    let (ip, port) = (server.addr().ip(), server.addr().port());
    let with = format!("password={PASSWORD} sslmode=disable");
    let mut honest = source(&format!("host={ip} port={port} user=honest dbname=postgres {with}"));
    honest.observe().await.unwrap();
    let greedy = Server::start(ground.addr(6, 25432), |stream, number| {
        startup(stream)?;
        challenge(stream, number, 100_000)
    });
    let at = greedy.at();
    let to = Arc::new(format!("host={} port={} user=u dbname=d {with}", at.ip(), at.port()));
    let attack: Vec<_> = (0..GREEDY)
        .map(|_| {
            let to = Arc::clone(&to);
            tokio::spawn(async move {
                let mut greedy = source(&to);
                loop {
                    let _ = timeout(Duration::from_millis(800), greedy.observe()).await;
                }
            })
        })
        .collect();
    // The attack runs on this very thread.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let seen = timeout(SOON, honest.observe()).await;
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "others' keys delay an honest server");
    }
    attack.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(greedy.served() > 0, "nobody attacked");
}
