//! Servers as people have them: behind a pooler, with parts missing, behind a name of which one address is
//! dead; and what is said of a login that does not come to pass.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rolecall::config::PasswordFrom;
use rolecall::look::error::ErrorKind;
use rolecall::look::observation::{Lack, Observation};
use rolecall::look::role::{Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use rolecall::watch::poller;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::{eventually, look, settings, source};
use crate::fixtures::programs::find;
use crate::fixtures::{lacks, lacks_postgres};
use crate::server::{PATIENCE, PORT, Server, silent};

/// The port of a pooler, at the address of its server.
const POOLER_PORT: u16 = 6432;

struct Pooler(Child);

impl Pooler {
    /// A `PgBouncer` before `server`, with these lines.
    fn start(server: &Server, more: &str) -> Self {
        let program = find("pgbouncer").expect("the test has asked for it");
        let conf = format!(
            "[databases]\n* = host={0} port={PORT}\n[pgbouncer]\nlisten_addr = {0}\nlisten_port = {POOLER_PORT}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\n{more}\n",
            server.addr
        );
        // `any` wants each database to say its user.
        let conf = conf
            .replace("[pgbouncer]", "[pgbouncer]\nadmin_users = bare")
            .replace(&format!("port={PORT}\n"), &format!("port={PORT} user=bare\n"));
        let path = server.put_secret("pgbouncer.ini", &conf);
        let mut command = if rustix::process::geteuid().is_root() {
            chown(&path, Some(65534), Some(65534)).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        let child = command.arg("-q").arg(path).stdin(Stdio::null()).spawn().unwrap();
        let pooler = Self(child);
        for _ in 0..PATIENCE.as_millis() / 20 {
            if TcpStream::connect((server.addr, POOLER_PORT)).is_ok() {
                return pooler;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("PgBouncer takes no connections");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What answers behind a pooler may be any server: it is refused by what no pooler can hide, the number of
/// the process that answers.
#[tokio::test]
async fn a_pooler_is_recognised_and_refused() {
    if lacks_postgres() || lacks(&["pgbouncer"]) {
        return;
    }
    let mut server = Server::init("host all all samehost trust", "");
    server.start();
    server.sql("CREATE ROLE bare LOGIN");
    for (more, said) in [
        ("", "unsupported startup parameter"),
        ("ignore_startup_parameters = options", "a pooler answers"),
    ] {
        let _pooler = Pooler::start(&server, more);
        let conninfo = format!(
            "host={} port={POOLER_PORT} user=bare dbname=postgres sslmode=disable",
            server.addr
        );
        let error = look(&conninfo).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Pooler, "{error}");
        assert!(error.detail.contains(said), "{error}");
    }
    let direct = format!("host={} user=bare dbname=postgres sslmode=disable", server.addr);
    assert!(look(&direct).await.is_ok());
}

/// As Amazon Aurora's writers and readers do, which raise 55000 and 0A000.
#[tokio::test]
async fn a_server_that_lacks_what_is_not_needed_says_its_role_all_the_same() {
    if lacks_postgres() {
        return;
    }
    let mut server = Server::init("host all all samehost trust", "");
    server.start();
    server.sql("CREATE ROLE bare LOGIN");
    let aurora = "-c search_path=aurora,pg_catalog";
    let mut told = source(&format!(
        "host={} user=bare dbname=postgres sslmode=disable options='{aurora}'",
        server.addr
    ));
    let whole = told.observe().await.unwrap();
    assert!(whole.timeline.is_some() && whole.lsn.is_some());
    server.sql("CREATE SCHEMA aurora; GRANT USAGE ON SCHEMA aurora TO bare");
    for (state, function, type_) in [
        ("55000", "pg_current_wal_lsn()", "pg_lsn"),
        ("0A000", "pg_control_checkpoint(OUT timeline_id int)", "int"),
    ] {
        server.sql(&format!(
            "CREATE FUNCTION aurora.{function} RETURNS {type_} LANGUAGE plpgsql AS \
             $$BEGIN RAISE 'not here' USING ERRCODE = '{state}'; END$$"
        ));
        let mut source = source(&format!(
            "host={} user=bare dbname=postgres sslmode=disable options='{aurora}'",
            server.addr
        ));
        for _ in 0..2 {
            // At the look that meets the lack, and at those that ask for the role alone.
            let mut seen = source.observe().await.unwrap();
            let Some(Lack::Part(said)) = seen.lack.take() else { panic!("{state}: {seen:?}") };
            assert!(said.contains("not here") && said.contains(state), "{said}");
            assert_eq!(seen, Observation::of(Role::Primary), "{state}");
        }
        server
            .sql(&format!("DROP FUNCTION aurora.{}", function.replace("OUT timeline_id int", "")));
    }
}

/// Each way in which a login ends names what mends it.
#[tokio::test]
async fn a_login_that_is_refused_says_what_mends_it() {
    if lacks_postgres() {
        return;
    }
    let hba = "host all unlisted samehost reject\nlocal all peered peer map=nobody\n\
               host all scram samehost scram-sha-256\nhost all over samehost scram-sha-256\n\
               host all all samehost trust";
    let mut server = Server::init(hba, "");
    server.start();
    server.sql(
        "CREATE ROLE bare LOGIN; CREATE ROLE full LOGIN CONNECTION LIMIT 0; CREATE ROLE nologin; \
         CREATE ROLE unlisted LOGIN; CREATE ROLE scram LOGIN PASSWORD 'right'; \
         CREATE ROLE over LOGIN PASSWORD 'right' VALID UNTIL '2020-01-01'",
    );
    server.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false");
    server.sql("CREATE DATABASE narrow CONNECTION LIMIT 0");
    server.sql("CREATE DATABASE private");
    server.sql("REVOKE CONNECT ON DATABASE private FROM PUBLIC");
    let to = format!("host={} sslmode=disable", server.addr);
    for (words, kind, said) in [
        ("user=bare", ErrorKind::Denied, "hint: set `dbname`"),
        ("user=bare dbname=nothing", ErrorKind::Denied, "hint: correct `dbname`"),
        (
            "user=nobody_such dbname=postgres",
            ErrorKind::Denied,
            "hint: CREATE ROLE \"nobody_such\" LOGIN",
        ),
        ("user=nologin dbname=postgres", ErrorKind::Denied, "hint: ALTER ROLE \"nologin\" LOGIN"),
        ("user=unlisted dbname=postgres", ErrorKind::Denied, "hint: a `reject` line of the"),
        (
            "user=scram dbname=postgres password=wrong",
            ErrorKind::Denied,
            "If the password of scram",
        ),
        ("user=over dbname=postgres password=right", ErrorKind::Denied, "VALID UNTIL"),
        (
            "user=bare dbname=postgres sslmode=require",
            ErrorKind::Tls,
            "hint: run ALTER SYSTEM SET ssl = on",
        ),
        (
            "user=full dbname=postgres",
            ErrorKind::SlotsFull,
            "hint: ALTER ROLE \"full\" CONNECTION LIMIT",
        ),
        ("user=bare dbname=narrow", ErrorKind::SlotsFull, "hint: ALTER DATABASE \"narrow\""),
        (
            "user=bare dbname=private",
            ErrorKind::Denied,
            "hint: GRANT CONNECT ON DATABASE \"private\"",
        ),
        ("user=bare dbname=closed", ErrorKind::Denied, "ALLOW_CONNECTIONS true"),
        (
            "user=bare dbname=postgres options='-c nonsense=1'",
            ErrorKind::Query,
            "hint: correct `options`",
        ),
    ] {
        let error = look(&format!("{to} {words}")).await.expect_err(words);
        assert_eq!(error.kind, kind, "{words}: {error}");
        assert!(error.detail.contains(said), "{words}: {error}");
    }
}

/// Passes on what comes to `from` to the server, until it is dropped.
struct Relay(tokio::task::JoinHandle<()>);

impl Relay {
    fn start(from: Ipv4Addr, server: &Server) -> Self {
        let to = SocketAddr::from((server.addr, PORT));
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((from, PORT).into()).unwrap();
        let listener = socket.listen(8).unwrap();
        Self(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                tokio::spawn(async move {
                    // Whoever hangs up first ends it.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        }))
    }

    async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// A server at `at` that lets nobody in.
async fn refuses_users(at: Ipv4Addr) -> JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind((at, PORT)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = [0; 512];
            let _ = client.read(&mut asked).await;
            let said = b"SFATAL\0C28000\0Mno entry\0\0";
            let length = u32::try_from(said.len() + 4).unwrap().to_be_bytes();
            let _ = client.write_all(&[b"E".as_slice(), &length, said].concat()).await;
        }
    })
}

/// An address beside that of a server, of which no other test knows.
fn beside(server: &Server, n: u8) -> Ipv4Addr {
    let [_, b, c, d] = server.addr.octets();
    Ipv4Addr::new(127, b.wrapping_add(n), c, d)
}

/// Another host than the first counts for as long as the very server answers there that the first one
/// showed: not before, not after that one was started again, and never where it is another server.
#[tokio::test]
async fn the_hosts_of_one_conninfo_are_one_server_or_count_for_nothing() {
    if lacks_postgres() {
        return;
    }
    let mut server = Server::init("host all all samehost trust\nlocal replication all trust", "");
    server.start();
    server.sql("CREATE ROLE bare LOGIN");
    let mut other = Server::standby_of(&server);
    other.start();
    other.sql("SELECT pg_promote()");
    let first = beside(&server, 101);
    let list = |second: Ipv4Addr| {
        source(&format!("host={first},{second} user=bare dbname=postgres sslmode=disable"))
    };
    let is_primary =
        |seen: Result<Observation, _>| seen.map(|seen| seen.role) == Ok(Some(Role::Primary));

    // Nobody has said yet which server is meant: the first refuses, and the second may be anybody.
    let mut own = list(server.addr);
    let unproven = own.observe().await.unwrap_err();
    assert_eq!(unproven.kind, ErrorKind::OtherServer, "{unproven}");
    assert!(unproven.detail.contains("another host of `conninfo` leads to a server"), "{unproven}");

    let relay = Relay::start(first, &server);
    assert!(is_primary(own.observe().await));
    let mut wrong = list(other.addr);
    assert!(is_primary(wrong.observe().await), "the first host is the node's");
    relay.stop().await;
    for _ in 0..2 {
        assert!(is_primary(own.observe().await), "the same server by its other address");
        let error = wrong.observe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::OtherServer, "{error}");
    }

    // An address that moves: what it leads to now is what is meant.
    let moved = Relay::start(first, &other);
    let timeline = |seen: Result<Observation, _>| seen.map(|seen| seen.timeline);
    assert_eq!(timeline(own.observe().await), Ok(Some(Timeline(2))), "the promoted one's");
    moved.stop().await;
    let relay = Relay::start(first, &server);
    assert_eq!(timeline(own.observe().await), Ok(Some(Timeline(1))));
    relay.stop().await;

    // Whoever refuses the user at another host keeps nobody from the first one.
    let guarded = beside(&server, 102);
    let refusing = refuses_users(guarded).await;
    let mut own_too = list(guarded);
    let error = own_too.observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    let relay = Relay::start(first, &server);
    assert!(is_primary(own_too.observe().await), "the first is asked first again");
    relay.stop().await;
    refusing.abort();

    // Started again: the second host alone is not believed, until the first one has shown it.
    server.stop();
    server.start();
    let error = own.observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::OtherServer, "{error}");
    let relay = Relay::start(first, &server);
    assert!(is_primary(own.observe().await));

    // Where the first is dead and refuses nothing, the other is reached within every look.
    relay.stop().await;
    let held = silent(first);
    let timeout = Duration::from_millis(1500);
    for _ in 0..3 {
        assert!(is_primary(poller::look(&mut own, timeout).await));
    }
    // The other server does not answer in its place.
    let error = poller::look(&mut wrong, timeout).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    drop(held);
}

/// Of the two addresses of a name the first is dead: the server is seen within the first look, and the one
/// that answered is asked first from then on. Where both are dead, both are named.
#[tokio::test]
async fn a_name_of_which_one_address_is_dead_is_seen_within_a_look() {
    if lacks_postgres() {
        return;
    }
    let mut server = Server::init("host all all samehost trust", "");
    server.start();
    server.sql("CREATE ROLE bare LOGIN");
    let dead = beside(&server, 100);
    let _held = silent(dead);
    let (first, second): (IpAddr, IpAddr) = (dead.into(), server.addr.into());
    let dns = Resolver::with(move |_| Ok(vec![first, second]));
    let conninfo = "host=db1.test user=bare dbname=postgres sslmode=disable";
    let timeout = Duration::from_millis(1500);
    let mut source =
        Postgres::new(&settings(conninfo, PasswordFrom::Nowhere), timeout, dns.for_source())
            .unwrap();
    let looked = poller::look(&mut source, timeout);
    assert_eq!(looked.await.map(|seen| seen.role), Ok(Some(Role::Primary)));
    // A second source of another kind of look has the same memory.
    let quick = Duration::from_millis(400);
    let mut other =
        Postgres::new(&settings(conninfo, PasswordFrom::Nowhere), quick, dns.for_source()).unwrap();
    eventually(&mut other, Result::is_ok).await.unwrap();

    server.stop();
    let error = poller::look(&mut source, timeout).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(error.detail.ends_with(&format!("nothing answers at {dead}:{PORT}")), "{error}");
}
