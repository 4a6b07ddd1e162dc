//! The `tcp` source at a real PostgreSQL that is there, starts, stops and is full.

use std::net::TcpListener;
use std::time::Duration;

use crate::fixtures::{Ground, Postgres, Session, Shutdown, eventually, lacks_postgres, send};
use rolecall::config;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::source::RoleSource;
use rolecall::source::resolve::Resolver;
use rolecall::source::tcp::Tcp;
use rustix::process::Signal;

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One look, given up after a while.
fn look(server: &Postgres, user: Option<&str>) -> Result<Observation, SourceError> {
    let (host, port) = (server.addr().ip().to_string(), server.addr().port());
    let address = config::Address { host, port };
    let settings = config::Tcp { address, user: user.map(str::to_owned) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut source = Tcp::new(&settings, Resolver::system());
        let looked = tokio::time::timeout(Duration::from_secs(2), source.observe()).await;
        looked.unwrap_or_else(|_| Err(SourceError::new(ErrorKind::Timeout, "silent")))
    })
}

fn kind(looked: Result<Observation, SourceError>) -> Option<ErrorKind> {
    looked.err().map(|error| error.kind)
}

#[test]
fn it_says_whether_somebody_answers_and_no_more() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut server = Postgres::init(&ground, "pg1", ground.host(1));
    for user in [None, Some("postgres")] {
        assert_eq!(kind(look(&server, user)), Some(ErrorKind::PortRefused));
    }
    server.start();
    let before = server.log_text();
    for user in [None, Some("postgres")] {
        assert_eq!(look(&server, user), Ok(Observation::answers()), "{user:?}");
    }
    assert_eq!(server.log_text(), before, "the looks are logged");
    // A user whom it does not know is an answer; that one is logged.
    assert_eq!(look(&server, Some("nobody_knows_me")), Ok(Observation::answers()));

    // Every place is taken.
    server.execute("alter system set max_connections = 6");
    server.execute("alter system set superuser_reserved_connections = 0");
    server.execute("alter system set max_wal_senders = 0");
    server.execute("alter system set wal_level = 'minimal'");
    server.stop(Shutdown::Fast);
    server.start();
    let mut sessions = Vec::new();
    while let Ok(session) = Session::connect(server.addr(), PATIENCE) {
        sessions.push(session);
        assert!(sessions.len() < 20, "it is never full");
    }
    for user in [None, Some("postgres")] {
        assert_eq!(look(&server, user), Ok(Observation::answers()), "{user:?}");
    }
    sessions.truncate(1);

    // A smart shutdown waits for the session: only who begins a login is told.
    let pid = std::fs::read_to_string(server.data().join("postmaster.pid")).expect("its pid");
    send(pid.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid"), Signal::TERM);
    let closed = |word: &str| {
        eventually(PATIENCE, word, || match look(&server, Some("postgres")) {
            Ok(seen) if seen.not_running.as_deref() == Some(word) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    closed("shutting down");
    assert_eq!(look(&server, None), Ok(Observation::answers()));
    drop(sessions);
    eventually(PATIENCE, "it is gone", || match kind(look(&server, None)) {
        Some(ErrorKind::PortRefused) => Ok(()),
        other => Err(other),
    });
}

#[test]
fn who_takes_a_connection_and_says_nothing_is_silent() {
    let ground = Ground::new();
    let hung = TcpListener::bind(ground.addr(1, 25432)).unwrap();
    let server = config::Address { host: ground.host(1).to_string(), port: 25432 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for user in [None, Some("postgres".to_owned())] {
        let settings = config::Tcp { address: server.clone(), user };
        runtime.block_on(async {
            let mut source = Tcp::new(&settings, Resolver::system());
            let looked = tokio::time::timeout(Duration::from_millis(200), source.observe()).await;
            assert!(looked.is_err(), "{looked:?}");
        });
    }
    drop(hung);
}
