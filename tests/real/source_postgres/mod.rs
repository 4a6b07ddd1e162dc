//! The `postgres` source against real PostgreSQL servers.

mod beyond;
mod certificates;
mod impostor;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::fixtures::authority::Authority;
use crate::fixtures::lacks_postgres;
use crate::server::{PATIENCE, PORT, Server, put_private};
use rolecall::config::{self, PasswordFrom};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::{Observation, Replay};
use rolecall::look::role::{Lsn, Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::pg::{Connector, MAX_ANSWER, column};
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What no error may ever show.
const PASSWORD: &str = "hunter2";

fn settings(conninfo: &str, password: PasswordFrom) -> config::Postgres {
    config::Postgres { conninfo: conninfo.parse().expect(conninfo), password }
}

fn source_with(conninfo: &str, password: PasswordFrom) -> Postgres {
    Postgres::new(&settings(conninfo, password), PATIENCE, Resolver::system()).unwrap()
}

fn source(conninfo: &str) -> Postgres {
    source_with(conninfo, PasswordFrom::Nowhere)
}

/// One look by a new source.
async fn look(conninfo: &str) -> Result<Observation, SourceError> {
    source(conninfo).observe().await
}

async fn refused(mut source: Postgres) -> SourceError {
    let error = source.observe().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    error
}

async fn assert_refused(conninfo: &str, kind: ErrorKind, said: &str) {
    let error = refused(source(conninfo)).await;
    assert_eq!(error.kind, kind, "{conninfo}: {error}");
    assert!(error.detail.contains(said), "{conninfo}: {error}");
}

/// Looks until `wanted` holds; what was seen last is in the panic otherwise.
async fn eventually(
    source: &mut Postgres,
    wanted: impl Fn(&Result<Observation, SourceError>) -> bool,
) -> Result<Observation, SourceError> {
    let mut last = None;
    let looking = tokio::time::timeout(PATIENCE, async {
        loop {
            let seen = source.observe().await;
            if wanted(&seen) {
                return seen;
            }
            last = Some(seen);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = looking.await;
    ended.unwrap_or_else(|_| panic!("what is waited for did not come; seen last: {last:?}"))
}

fn replay(seen: &Result<Observation, SourceError>) -> Option<Replay> {
    seen.as_ref().ok()?.replay
}

fn lsn(server: &Server, function: &str) -> Lsn {
    Lsn(server.sql(&format!("SELECT ({function}() - '0/0')::bigint")).parse().unwrap())
}

#[tokio::test]
async fn a_pair_says_its_roles_and_how_it_follows() {
    if lacks_postgres() {
        return;
    }
    let mut primary = Server::init("host all all samehost trust\nlocal replication all trust", "");
    primary.start();
    primary.sql("CREATE ROLE bare LOGIN");
    primary.sql("CREATE ROLE monitor LOGIN; GRANT pg_read_all_stats TO monitor");
    primary.sql("CREATE TABLE t AS SELECT 1 AS n");
    let mut standby = Server::standby_of(&primary);
    standby.start();
    // Without anything to send the receiver hears nothing of the upstream's position for seconds.
    primary.sql("INSERT INTO t VALUES (2)");
    let on = |server: &Server, user: &str| {
        format!("host={} user={user} dbname=postgres sslmode=disable", server.addr)
    };

    // A role that can do nothing but log in is told all there is to know of a primary.
    let before = lsn(&primary, "pg_current_wal_lsn");
    let seen = look(&on(&primary, "bare")).await.unwrap();
    let after = lsn(&primary, "pg_current_wal_lsn");
    assert!((before..=after).contains(&seen.lsn.unwrap()), "{before} {seen:?} {after}");
    let expected = Observation {
        timeline: Some(Timeline(1)),
        lsn: seen.lsn,
        ..Observation::of(Role::Primary)
    };
    assert_eq!(seen, expected);

    let mut follower = source(&on(&standby, "monitor"));
    let in_step = Replay {
        streaming: true,
        paused: false,
        lag_bytes: Some(0),
        lag_time: Some(Duration::ZERO),
    };
    let seen = eventually(&mut follower, |seen| replay(seen) == Some(in_step)).await.unwrap();
    assert_eq!((seen.role, seen.timeline), (Some(Role::Replica), Some(Timeline(1))));
    assert!(seen.lsn.unwrap() <= lsn(&standby, "pg_last_wal_replay_lsn"));
    assert!(!seen.read_only);

    // The receiver hides from a role without pg_read_all_stats: unknown, not zero.
    let seen = look(&on(&standby, "bare")).await.unwrap();
    assert_eq!((seen.role, seen.replay), (Some(Role::Replica), None));
    assert_eq!(seen.timeline, Some(Timeline(1)));

    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    let behind = |seen: &_| replay(seen).is_some_and(|r| r.paused && r.lag_bytes > Some(0));
    let seen = eventually(&mut follower, behind).await;
    assert!(replay(&seen).unwrap().lag_time > Some(Duration::ZERO), "{seen:?}");
    standby.sql("SELECT pg_wal_replay_resume()");
    eventually(&mut follower, |seen| replay(seen) == Some(in_step)).await.unwrap();

    // Cut off: how far behind is not known any more, how old the last commit is still bounds.
    primary.stop();
    let cut_off = |seen: &_| replay(seen).is_some_and(|r| !r.streaming);
    let seen = replay(&eventually(&mut follower, cut_off).await).unwrap();
    assert_eq!(seen.lag_bytes, None);
    assert!(seen.lag_time > Some(Duration::ZERO), "{seen:?}");
    let gone = look(&on(&primary, "bare")).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::ServerDown, "{gone}");

    // The new timeline is known before the first checkpoint after the promotion.
    assert_eq!(standby.sql("SELECT pg_promote()"), "t");
    let seen = follower.observe().await.unwrap();
    assert_eq!((seen.role, seen.timeline), (Some(Role::Primary), Some(Timeline(2))));
    assert_eq!(seen.replay, None);

    standby.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    standby.sql("SELECT pg_reload_conf()");
    let read_only = |seen: &Result<Observation, _>| seen.as_ref().is_ok_and(|o| o.read_only);
    eventually(&mut follower, read_only).await.unwrap();

    // Every look said goodbye.
    for log in [primary.log(), standby.log()] {
        assert!(log.contains("disconnection: session time"), "{log}");
        for loss in ["EOF on client connection", "data from client", "data to client"] {
            assert!(!log.contains(loss), "{log}");
        }
    }
}

#[tokio::test]
async fn logins_and_encryption_are_as_the_connection_string_says() {
    if lacks_postgres() {
        return;
    }
    let hba = "hostssl all tls_only samehost trust\nhostnossl all plain_only samehost trust\n\
               hostssl all certified samehost cert\nhost all scram samehost scram-sha-256\n\
               host all bare samehost trust\n";
    let mut server = Server::init(hba, "ssl = on");
    let authority = Authority::new();
    let (cert, key) = authority.sign("db1.test");
    for (name, text) in [
        ("data/server.crt", cert.as_str()),
        ("data/server.key", &key),
        ("data/root.crt", &fs::read_to_string(authority.ca()).unwrap()),
    ] {
        server.put_secret(name, text);
    }
    let conf = fs::read_to_string(server.data().join("postgresql.conf")).unwrap();
    fs::write(server.data().join("postgresql.conf"), conf + "ssl_ca_file = 'root.crt'\n").unwrap();
    server.start();
    server.sql("CREATE ROLE bare LOGIN; CREATE ROLE tls_only LOGIN; CREATE ROLE plain_only LOGIN");
    server.sql(&format!("CREATE ROLE scram LOGIN PASSWORD '{PASSWORD}'"));
    server.sql("CREATE ROLE certified LOGIN; CREATE ROLE nobody_else");
    let to = |rest: &str| format!("host=db1.test hostaddr={} dbname=postgres {rest}", server.addr);

    passwords(&server, authority.dir.path()).await;

    let (cert, key) = authority.sign("certified");
    put_private(&authority.dir.path().join("client.crt"), &cert);
    put_private(&authority.dir.path().join("client.key"), &key);
    let own = authority.dir.path().display().to_string();
    let ca = authority.ca().display().to_string();
    for accepted in [
        "user=tls_only".to_owned(),
        "user=tls_only sslmode=require".to_owned(),
        "user=tls_only sslmode=allow".to_owned(),
        "user=plain_only sslmode=disable".to_owned(),
        "user=plain_only sslmode=allow".to_owned(),
        "user=plain_only sslmode=prefer".to_owned(),
        format!("user=tls_only sslmode=verify-full sslrootcert={ca}"),
        format!("user=tls_only sslmode=verify-ca sslrootcert={ca} host=db2.test"),
        format!("user=tls_only sslmode=require sslrootcert={ca} host=db2.test"),
        format!("user=certified sslmode=require sslcert={own}/client.crt sslkey={own}/client.key"),
        format!("user=scram password={PASSWORD} sslmode=require channel_binding=require"),
    ] {
        let seen = look(&to(&accepted)).await;
        assert_eq!(seen.map(|o| o.role), Ok(Some(Role::Primary)), "{accepted}");
    }

    let stranger = Authority::new();
    let other_ca = stranger.ca().display().to_string();
    for (words, kind, said) in [
        (
            "user=tls_only sslmode=disable".to_owned(),
            ErrorKind::Denied,
            "hint: set sslmode=require",
        ),
        ("user=plain_only sslmode=require".to_owned(), ErrorKind::Denied, "28000"),
        ("user=certified sslmode=require".to_owned(), ErrorKind::Denied, "certificate"),
        ("user=no_such_role".to_owned(), ErrorKind::Denied, "28000"),
        ("user=bare dbname=no_such_db".to_owned(), ErrorKind::Denied, "3D000"),
        (
            format!("user=tls_only sslmode=verify-full sslrootcert={ca} host=db2.test"),
            ErrorKind::Tls,
            "not valid for name \"db2.test\"",
        ),
        (
            format!("user=tls_only sslmode=verify-ca sslrootcert={other_ca}"),
            ErrorKind::Tls,
            "invalid peer certificate",
        ),
        (
            format!("user=tls_only sslmode=require sslrootcert={other_ca}"),
            ErrorKind::Tls,
            "invalid peer certificate",
        ),
        (
            "user=tls_only channel_binding=require".to_owned(),
            ErrorKind::Unproven,
            "channel binding",
        ),
    ] {
        assert_refused(&to(&words), kind, said).await;
    }

    server.sql("ALTER SYSTEM SET ssl = off");
    server.sql("SELECT pg_reload_conf()");
    let mut plain = source(&to("user=bare sslmode=require"));
    let seen = eventually(&mut plain, Result::is_err).await.unwrap_err();
    assert_eq!(seen.kind, ErrorKind::Tls, "{seen}");
    assert!(seen.detail.contains("does not support TLS"), "{seen}");
    assert!(look(&to("user=bare sslmode=prefer")).await.is_ok());
}

/// Where a SCRAM password may come from, and what is said where it does not.
async fn passwords(server: &Server, dir: &Path) {
    let to = format!("host={} user=scram dbname=postgres sslmode=disable", server.addr);
    let file = dir.join("password");
    put_private(&file, &format!("{PASSWORD}\n"));
    let passfile = dir.join("pgpass");
    put_private(&passfile, &format!("{}:{PORT}:*:scram:{PASSWORD}\n", server.addr));
    let in_conninfo = format!("{to} passfile={}", passfile.display());
    for mut source in [
        source(&format!("{to} password={PASSWORD}")),
        source(&in_conninfo),
        source_with(&to, PasswordFrom::File(file.clone())),
        source_with(&to, PasswordFrom::Passfile(passfile.clone())),
    ] {
        assert_eq!(source.observe().await.unwrap().role, Some(Role::Primary));
    }

    // A rotated password is used at the next look.
    let mut rotated = source_with(&to, PasswordFrom::File(file.clone()));
    put_private(&file, "wrong-hunter2");
    let wrong = rotated.observe().await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::Denied, "{wrong}");
    assert!(wrong.detail.contains("28P01") && !format!("{wrong:?}").contains(PASSWORD), "{wrong}");
    put_private(&file, PASSWORD);
    assert!(rotated.observe().await.is_ok());

    put_private(&passfile, &format!("db2:*:*:*:{PASSWORD}\n"));
    let missing = refused(source_with(&to, PasswordFrom::Passfile(passfile))).await;
    assert_eq!(missing.kind, ErrorKind::Denied, "{missing}");
    assert!(missing.detail.contains("has no line for"), "{missing}");
    assert_refused(&to, ErrorKind::Denied, "the configuration has none").await;
    fs::remove_file(&file).unwrap();
    let gone = refused(source_with(&to, PasswordFrom::File(file))).await;
    assert_eq!(gone.kind, ErrorKind::Credential, "{gone}");
}

/// What is made of a query that does not go well.
async fn queries(conninfo: &str) {
    let settings = settings(conninfo, PasswordFrom::Nowhere);
    let brief = Duration::from_millis(400);
    let mut connector = Connector::new(&settings, brief, Resolver::system()).unwrap();
    for (query, kind, said) in [
        ("SELECT pg_sleep(600)", ErrorKind::Timeout, "57014"),
        ("SELECT * FROM nowhere", ErrorKind::Query, "42P01"),
        ("SELECT 1 WHERE false", ErrorKind::Malformed, "number of rows"),
        ("SELECT 1 FROM generate_series(1, 2)", ErrorKind::Malformed, "number of rows"),
    ] {
        let error = connector.ask(query).await.unwrap_err();
        assert_eq!(error.kind, kind, "{query}: {error}");
        assert!(error.detail.contains(said), "{query}: {error}");
    }
    let row = connector.ask("SELECT 7 AS n, NULL::int AS nothing").await.unwrap();
    assert_eq!(column(&row, "n"), Ok(7));
    assert_eq!(column(&row, "nothing"), Ok(None::<i32>));
    for error in [
        column::<i32>(&row, "nothing").unwrap_err(),
        column::<&str>(&row, "n").unwrap_err(),
        column::<i32>(&row, "m").unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
    }
}

#[tokio::test]
async fn what_does_not_speak_postgresql_is_told_apart() {
    // A notice of a gigabyte: read up to the bound.
    let mut endless = b"N\x3f\xff\xff\xff".to_vec();
    endless.resize(MAX_ANSWER + 64, 0);
    for (says, kind) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ErrorKind::Malformed),
        (Vec::new(), ErrorKind::Unreachable),
        (endless, ErrorKind::TooLong),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let impostor = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // All of the startup message: a byte left unread would turn the end into a reset.
            let rest = stream.read_u32().await.unwrap() - 4;
            stream.read_exact(&mut vec![0; rest as usize]).await.unwrap();
            // The other side hangs up in the middle of what it will not read.
            let _ = stream.write_all(&says).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let conninfo =
            format!("host=localhost hostaddr=127.0.0.1 port={port} user=u sslmode=disable");
        let error = refused(source(&conninfo)).await;
        assert_eq!(error.kind, kind, "{error}");
        impostor.await.unwrap();
    }
}

/// Connections from here to a server that the kernel holds as established.
fn established(server: &Server) -> usize {
    let [a, b, c, d] = server.addr.octets();
    let remote = format!(" {d:02X}{c:02X}{b:02X}{a:02X}:{PORT:04X} 01 ");
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    table.lines().filter(|line| line.contains(&remote)).count()
}

#[tokio::test]
async fn a_server_that_takes_no_connection_says_why() {
    if lacks_postgres() {
        return;
    }
    let conf = "max_connections = 6\nsuperuser_reserved_connections = 2\nmax_wal_senders = 0\n\
                ssl = off";
    let mut server = Server::init("host all all samehost trust", conf);
    let tcp = format!("host={} user=bare dbname=postgres", server.addr);
    let unix = format!("host={} user=bare dbname=postgres", server.socket_dir().display());
    assert_refused(&tcp, ErrorKind::ServerDown, "refused").await;
    assert_refused(&unix, ErrorKind::ServerDown, ".s.PGSQL.5432").await;
    assert_refused("host=no-such-host.invalid", ErrorKind::Unresolved, "no-such-host.invalid")
        .await;

    server.start();
    server.sql("CREATE ROLE bare LOGIN; CREATE ROLE few LOGIN CONNECTION LIMIT 0");
    assert_eq!(look(&unix).await.unwrap().role, Some(Role::Primary));
    let few = format!("host={} user=few dbname=postgres", server.addr);
    assert_refused(&few, ErrorKind::SlotsFull, "too many connections for role").await;

    queries(&unix).await;

    let mut sessions = Vec::new();
    for _ in 0..4 {
        let (client, connection) =
            tokio_postgres::connect(&tcp, tokio_postgres::NoTls).await.unwrap();
        sessions.push((client, tokio::spawn(connection)));
    }
    assert_refused(&tcp, ErrorKind::SlotsFull, "remaining connection slots are reserved").await;
    sessions.truncate(1);
    let mut watched = source(&tcp);
    eventually(&mut watched, Result::is_ok).await.unwrap();

    // A stopped postmaster: the kernel takes the connection, nobody answers on it.
    assert_eq!(established(&server), 1, "the open session");
    server.signal("STOP");
    let hung = tokio::time::timeout(Duration::from_millis(300), async {
        let mut look = std::pin::pin!(watched.observe());
        tokio::select! {
            seen = &mut look => panic!("a stopped server answered {seen:?}"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        assert_eq!(established(&server), 2, "the hanging look");
        look.await
    });
    assert!(hung.await.is_err());
    assert_eq!(established(&server), 1, "the dropped look closed its socket");
    server.signal("CONT");
    assert_eq!(watched.observe().await.unwrap().role, Some(Role::Primary));

    // A smart shutdown waits for the open session and takes no new one.
    server.signal("TERM");
    let stopping = eventually(&mut watched, Result::is_err).await.unwrap_err();
    assert_eq!(stopping.kind, ErrorKind::NotAccepting, "{stopping}");
    assert!(stopping.detail.contains("shutting down"), "{stopping}");
    for (client, connection) in sessions {
        drop(client);
        connection.await.unwrap().unwrap();
    }
    server.wait();
    assert_refused(&tcp, ErrorKind::ServerDown, "refused").await;

    // A standby that takes no connections at all says so for ever.
    server.put_secret("data/standby.signal", "");
    let conf = server.data().join("postgresql.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text + "hot_standby = off\n").unwrap();
    server.spawn();
    let closed = |seen: &Result<_, SourceError>| {
        seen.as_ref().is_err_and(|e| e.detail.contains("Hot standby mode is disabled"))
    };
    let seen = eventually(&mut watched, closed).await.unwrap_err();
    assert_eq!(seen.kind, ErrorKind::NotAccepting, "{seen}");
}
