//! What is said to an operator, and that it holds no secret.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rolecall::look::error::ErrorKind;
use rolecall::source::RoleSource;

use super::cluster::{Node, PASSWORD, source};
use super::{SECRET, answer, refused};
use crate::fixtures::lacks_repmgr;
use crate::server::{PATIENCE, PORT};

/// What is logged while it lives.
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&bytes);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Writer(Arc::clone(&writer)))
            .finish();
        (Self(bytes), tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_an_operator_should_know_is_said_once_and_without_secrets() {
    if lacks_repmgr() {
        return;
    }
    let (logged, _guard) = Logged::start();
    let node = Node::primary();
    node.told(1);
    node.sql(&format!(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
         VALUES (2, 'db2', 'standby', true, 'host=db2 password=a {SECRET}', 'r', '')"
    ));
    let mut own = source(&node.settings("postgres"));
    for _ in 0..3 {
        let seen = own.observe().await.unwrap();
        assert!(answer(&seen).table[1].places.is_empty());
        assert!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    }
    let text = logged.text();
    for said in ["two nodes vote", "node=node 2"] {
        assert_eq!(text.matches(said).count(), 1, "{said}: {text}");
    }
    assert!(!text.contains(SECRET), "{text}");

    // A row that leads to where another one leads.
    node.sql(
        "UPDATE repmgr.nodes SET conninfo = (SELECT conninfo FROM repmgr.nodes WHERE node_id = 1)",
    );
    let seen = own.observe().await.unwrap();
    assert!(answer(&seen).table.iter().all(|row| row.shares_address), "{seen:?}");
    node.sql("INSERT INTO repmgr.nodes SELECT 3, 1, true, 'db3', 'bdr', 'x', 1, '', 'r', '', ''");
    let _ = refused(&mut own, ErrorKind::Malformed, &["`type`"]).await;
    assert_eq!(node.look("postgres").await.unwrap_err().kind, ErrorKind::Malformed);
}

/// A daemon; killed when dropped.
pub struct Daemon(pub std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn said_by(agent: SocketAddr) -> Option<String> {
    let mut line = String::new();
    TcpStream::connect(agent).ok()?.read_to_string(&mut line).ok()?;
    Some(line)
}

/// Waits until the agent port says this.
pub fn says(agent: SocketAddr, wanted: &str) {
    let mut last = None;
    for _ in 0..PATIENCE.as_millis() / 20 {
        last = said_by(agent);
        if last.as_deref() == Some(wanted) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not {wanted:?}: {last:?}");
}

/// Clears the flag when dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Lines as they are printed.
pub type Printed = Arc<Mutex<Vec<String>>>;

/// Waits until a line is printed that has all of `words`.
pub fn prints(printed: &Printed, words: &[&str]) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        let lines = printed.lock().unwrap().clone();
        if lines.iter().any(|line| words.iter().all(|word| line.contains(word))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no line with {words:?}: {}", printed.lock().unwrap().join("\n"));
}

/// Through the daemon: the votes of the standby and the witness make the primary READY; and of all
/// that is printed meanwhile nothing holds a password, neither the own nor one of a row.
#[test]
fn the_daemon_counts_the_votes_and_keeps_the_secrets() {
    if lacks_repmgr() {
        return;
    }
    let primary = Node::primary();
    let mut standby = Node::standby(2, &primary);
    let mut witness = Node::witness(3, &primary);
    primary.packaged_role();
    witness.packaged_role();
    // Only the daemon's own way in is used, whatever else the rows say.
    let change = format!("UPDATE repmgr.nodes SET conninfo = conninfo || ' password={SECRET}'");
    primary.sql(&change);
    let at = primary.server.addr;
    let agent = SocketAddr::from((at, 5555));
    let conf = format!(
        "[haproxy]\nagent_inter = \"100ms\"\ncheck_fall = 1\n[source]\nkind = \"repmgr\"\n\
         timeout = \"2s\"\nnode_id = 1\nconninfo = \"host={at} port={PORT} dbname=repmgr user=rolecall password={PASSWORD}\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n\
         [[service]]\nname = \"replica\"\nroles = [\"replica\"]\nlisten = \"{at}:5556\"\n"
    );
    let conf = primary.server.put_secret("rolecall.toml", &conf);
    let rolecall = |command: &str| {
        let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"));
        rolecall.env("ROLECALL_LOG", "trace").arg("--config").arg(&conf).arg(command);
        rolecall
    };
    let mut daemon =
        Daemon(rolecall("run").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let stderr = BufReader::new(daemon.0.stderr.take().unwrap());
    let printed = Printed::default();
    let reader = std::thread::spawn({
        let printed = Arc::clone(&printed);
        move || stderr.lines().map_while(Result::ok).for_each(|l| printed.lock().unwrap().push(l))
    });

    // What its repmgrd tells the witness again and again: without it a witness votes for nobody.
    let tell_witness = || {
        witness.sql("SELECT repmgr.set_upstream_last_seen(1)");
        std::thread::sleep(Duration::from_millis(500));
    };
    let watched = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while watched.load(Ordering::Relaxed) {
                tell_witness();
            }
        });
        // Whatever fails in here must not leave that one going on.
        let _ends = Ends(&watched);
        says(agent, "READY\n");
        assert_eq!(said_by((at, 5556).into()).as_deref(), Some("MAINT\n"));
        standby.server.stop();
        prints(&printed, &["poll failed", "peer=2", "error=\"server_down\""]);
        // The witness's vote is what is left of the majority.
        says(agent, "READY\n");
    });
    witness.server.stop();
    says(agent, "MAINT\n");
    primary.sql("DROP SCHEMA rolecall CASCADE");
    let asked = rolecall("ask").output().unwrap();
    let checked = rolecall("check").output().unwrap();
    drop(daemon);

    reader.join().unwrap();
    let mut printed = printed.lock().unwrap().join("\n");
    assert!(printed.contains("verdict changed"), "{printed}");
    for output in [asked.stdout, asked.stderr, checked.stdout, checked.stderr] {
        printed += &String::from_utf8(output).unwrap();
    }
    assert!(printed.contains("is not granted SELECT ON repmgr.nodes"), "{printed}");
    for secret in [SECRET, PASSWORD] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
