//! Nodes that prove nothing, and rows that lead where no look shall go.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rolecall::config::conninfo::places;
use rolecall::look::error::ErrorKind;
use rolecall::look::repmgr::{NodeId, Registered, Row};
use rolecall::source::RoleSource;
use rolecall::watch::watched::others;

use super::cluster::{Node, PASSWORD};
use super::secrets::{Daemon, Printed, prints, said_by, says};
use super::{answer, refused};
use crate::fixtures::lacks_repmgr;
use crate::server::{PATIENCE, PORT};

/// The kind of H5: the standby and the witness of a registered cluster let everybody in, as an impostor
/// at their addresses would. With a password configured neither gives a vote, and each is named with the
/// remedy; with `none` in `require_auth` the operator says that this is meant.
#[test]
fn nodes_that_prove_nothing_give_no_vote_unless_the_operator_says_so() {
    if lacks_repmgr() {
        return;
    }
    let primary = Node::primary();
    let standby = Node::standby(2, &primary);
    let witness = Node::witness(3, &primary);
    primary.packaged_role();
    witness.packaged_role();
    for node in [&standby, &witness] {
        let hba = node.server.data().join("pg_hba.conf");
        let before = std::fs::read_to_string(&hba).unwrap();
        std::fs::write(&hba, format!("host all rolecall samehost trust\n{before}")).unwrap();
        node.sql("SELECT pg_reload_conf()");
    }
    let at = primary.server.addr;
    let agent = SocketAddr::from((at, 5555));
    let start = |words: &str| {
        let conf = format!(
            "[haproxy]\nagent_inter = \"100ms\"\ncheck_fall = 1\n[source]\nkind = \"repmgr\"\n\
             timeout = \"2s\"\nnode_id = 1\nconninfo = \"host={at} port={PORT} dbname=repmgr \
             user=rolecall password={PASSWORD} sslmode=disable {words}\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n"
        );
        let conf = primary.server.put_secret("rolecall.toml", &conf);
        // `ROLECALL_PROGRAM` names another one to be tried.
        let other = std::env::var_os("ROLECALL_PROGRAM").filter(|program| !program.is_empty());
        let program = other.unwrap_or_else(|| env!("CARGO_BIN_EXE_rolecall").into());
        let mut rolecall = Command::new(program);
        rolecall.arg("--config").arg(conf).arg("run").stdout(Stdio::null());
        let mut daemon = Daemon(rolecall.stderr(Stdio::piped()).spawn().unwrap());
        let stderr = BufReader::new(daemon.0.stderr.take().unwrap());
        let printed = Printed::default();
        let lines = Arc::clone(&printed);
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|l| lines.lock().unwrap().push(l));
        });
        (daemon, printed)
    };

    let (daemon, printed) = start("");
    for peer in ["peer=2", "peer=3"] {
        let what = "without asking for the configured password";
        prints(&printed, &["poll failed", peer, "error=\"unproven\"", what, "require_auth=none"]);
    }
    prints(&printed, &["the configuration is in effect"]);
    // Longer than a yes would have to settle.
    for _ in 0..10 {
        assert_eq!(said_by(agent).as_deref(), Some("MAINT\n"));
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(daemon);

    let (daemon, printed) = start("require_auth=none,scram-sha-256");
    says(agent, "READY\n");
    prints(&printed, &["the connection does not prove which server answers", "decides its vote"]);
    drop(daemon);
}

fn row(id: i32, conninfo: &str) -> Row {
    Row {
        id: NodeId(id),
        name: "db".into(),
        registered: Registered::Standby,
        active: true,
        places: places(conninfo).unwrap().into(),
        shares_address: false,
    }
}

/// The kind of H6: whoever may write a row must not choose a socket that is told the password.
#[tokio::test]
async fn no_socket_that_a_row_names_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let settings = format!("host=127.0.0.1 user=u dbname=d password={PASSWORD}");
    let own = super::source(&super::settings(&settings));
    let host = dir.path().display();
    for conninfo in [format!("host={host}"), format!("host={host},{host}")] {
        let mut peer = own.peer(&row(2, &conninfo));
        let end = refused(&mut peer, ErrorKind::Unresolved, &["a socket"]);
        tokio::time::timeout(PATIENCE, end).await.expect("an end");
        let connected = socket.accept().map(|(mut stream, _)| {
            let mut sent = Vec::new();
            let _ = stream.read_to_end(&mut sent);
            sent
        });
        assert!(connected.is_err(), "{conninfo}: was told {connected:?}");
    }
}

/// Rows that lead to one address are not asked at all, however many they are; the one beside them is.
#[tokio::test]
async fn an_address_is_not_asked_once_for_each_row_that_names_it() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.told(1);
    let victim = Ipv4Addr::new(127, 99, 0, 1);
    node.sql(&format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
         SELECT n, 'db' || n, 'standby', true, 'host=' || n || '.invalid hostaddr={victim}', 'r', '' \
         FROM generate_series(2, 40) n"
    ));
    node.sql(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
         VALUES (41, 'db41', 'standby', true, 'host=127.99.0.2', 'r', '')",
    );
    let seen = node.source_as_postgres().observe().await.unwrap();
    assert_eq!(answer(&seen).table.len(), 41);
    let asked: Vec<_> = others(&seen, false).iter().map(|row| row.id.0).collect();
    assert_eq!(asked, [41]);
    let more = |from: u32, to: u32| {
        node.sql(&format!(
            "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
             SELECT n, 'db' || n, 'standby', true, 'host=127.98.0.' || n, 'r', '' \
             FROM generate_series({from}, {to}) n"
        ));
    };
    // As many rows as may be, of which so many are asked, and one more.
    more(42, 128);
    let seen = node.source_as_postgres().observe().await.unwrap();
    assert_eq!((answer(&seen).table.len(), others(&seen, false).len()), (128, 64));
    more(129, 129);
    let error = node.source_as_postgres().observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLong, "{error}");
}
