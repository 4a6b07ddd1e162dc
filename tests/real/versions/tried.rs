//! One version of PostgreSQL, tried.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rolecall::config::{self, PasswordFrom};
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::role::{Role, Timeline};
use rolecall::source::RoleSource;
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use rolecall::source::tcp::Tcp;

use crate::fixtures::authority::Authority;
use crate::server::{PATIENCE, PORT, Server};

/// What is tried, in this order.
pub const TRIED: [&str; 13] = [
    "a primary",
    "SCRAM and TLS, as `verify-full` with `channel_binding=require`",
    "`default_transaction_read_only`",
    "a standby",
    "its replay paused",
    "its primary gone",
    "asked by a role with LOGIN and nothing else",
    "a standby that is fed by an archive alone",
    "the same before it lets anybody in",
    "the same with `hot_standby = off`",
    "a standby that was promoted, before its first checkpoint",
    "no `EXECUTE` on `pg_control_checkpoint()`",
    "packaging/sql/fence.sql",
];

/// The version that is the first to say that a standby takes no connections at all.
const SAYS_HOT_STANDBY: u32 = 14;

type Looked = Result<Observation, SourceError>;

/// What one version showed.
pub struct Tried {
    /// Such as 15.18.
    pub version: String,
    /// One for each of [`TRIED`].
    pub cells: Vec<String>,
}

/// What a look showed, in short.
fn shown(seen: &Looked) -> String {
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return format!("`{}`", error.kind.label()),
    };
    let mut said = vec![seen.role.map_or("no role", Role::as_str).to_owned()];
    said.push(seen.timeline.map_or("no timeline".into(), |t| format!("timeline {}", t.0)));
    if seen.read_only {
        said.push("read-only".into());
    }
    match seen.replay {
        None if seen.role == Some(Role::Replica) => said.push("how it follows is unknown".into()),
        None => {}
        Some(replay) => {
            said.push(if replay.streaming { "streams" } else { "does not stream" }.into());
            if replay.paused {
                said.push("paused".into());
            }
            said.push(match (replay.lag_bytes, replay.lag_time) {
                (Some(0), Some(Duration::ZERO)) => "in step".into(),
                (bytes, time) => {
                    let known = |known: bool| if known { "known" } else { "unknown" };
                    format!(
                        "lag in bytes {}, in time {}",
                        known(bytes.is_some()),
                        known(time.is_some())
                    )
                }
            });
        }
    }
    said.join(", ")
}

fn source(conninfo: &str) -> Postgres {
    let settings = config::Postgres {
        conninfo: conninfo.parse().expect(conninfo),
        password: PasswordFrom::Nowhere,
    };
    Postgres::new(&settings, PATIENCE, Resolver::system()).unwrap()
}

async fn look(conninfo: &str) -> Looked {
    source(conninfo).observe().await
}

/// Looks until `wanted` holds.
async fn until(conninfo: &str, wanted: impl Fn(&Looked) -> bool) -> Looked {
    let mut last = None;
    let mut source = source(conninfo);
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

/// What a source of kind `tcp` makes of the same port.
async fn greeted(server: &Server) -> Looked {
    let address = config::Address { host: server.addr.to_string(), port: PORT };
    let settings = config::Tcp { address, user: Some("bare".to_owned()) };
    Tcp::new(&settings, Resolver::system()).observe().await
}

fn to(server: &Server, user: &str) -> String {
    format!("host={} user={user} dbname=postgres sslmode=disable", server.addr)
}

fn is(role: Role) -> impl Fn(&Looked) -> bool {
    move |seen| seen.as_ref().is_ok_and(|seen| seen.role == Some(role))
}

fn follows(how: impl Fn(rolecall::look::observation::Replay) -> bool) -> impl Fn(&Looked) -> bool {
    move |seen| seen.as_ref().is_ok_and(|seen| seen.replay.is_some_and(&how))
}

impl Tried {
    /// Tries the server programs in `bin`.
    pub fn of(bin: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tried = Self { version: String::new(), cells: Vec::new() };
        runtime.block_on(tried.look_at(bin));
        assert_eq!(tried.cells.len(), TRIED.len());
        tried
    }

    /// Such as 15.
    pub fn major(&self) -> u32 {
        self.version.split('.').next().unwrap().parse().unwrap()
    }

    fn cell(&mut self, seen: &Looked) {
        self.cells.push(shown(seen));
    }

    async fn look_at(&mut self, bin: PathBuf) {
        let hba = "host all scram samehost scram-sha-256\nhost all all samehost trust\n\
                   local replication all trust";
        let archive = tempfile::Builder::new().prefix("rolecall-archive-").tempdir().unwrap();
        let dir = archive.path().display().to_string();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(archive.path(), open).unwrap();
        let conf = format!(
            "ssl = on\npassword_encryption = 'scram-sha-256'\nwal_level = replica\narchive_mode = on\n\
             archive_command = 'cp %p {dir}/%f'\n"
        );
        let mut primary = Server::init_with(bin, hba, &conf);
        let authority = Authority::new();
        let (cert, key) = authority.sign("db1.test");
        primary.put_secret("data/server.crt", &cert);
        primary.put_secret("data/server.key", &key);
        primary.start();
        primary.sql(
            "CREATE ROLE bare LOGIN; CREATE ROLE monitor LOGIN; GRANT pg_read_all_stats TO monitor; \
             CREATE ROLE scram LOGIN PASSWORD 'hunter2'; CREATE ROLE rolecall LOGIN; CREATE ROLE app LOGIN; \
             CREATE TABLE t AS SELECT 1 AS n",
        );
        let version = primary.sql("SHOW server_version");
        version.split(' ').next().unwrap().clone_into(&mut self.version);
        let major = self.major();
        self.primary(&primary, &authority).await;

        primary.stop();
        let follow = format!(
            "primary_conninfo = 'host={} port={PORT} user=postgres'",
            primary.socket_dir().display()
        );
        let mut standby = Server::copy_of(&primary, &follow);
        let wait = format!("until test -e {dir}/go; do sleep 0.05; done; cp {dir}/%f %p");
        let mut restored = Server::copy_of(&primary, &format!("restore_command = '{wait}'"));
        primary.start();
        standby.start();
        self.standby(&mut primary, &standby).await;
        primary.start();
        self.recovery(major, &primary, &mut restored, &archive.path().join("go")).await;
        primary.stop();

        assert_eq!(standby.sql("SELECT pg_promote()"), "t");
        let seen = look(&to(&standby, "bare")).await;
        assert_eq!(
            seen.as_ref().unwrap().timeline,
            Some(Timeline(2)),
            "before the first checkpoint"
        );
        self.cell(&seen);
        self.rights(&standby).await;
        for log in [primary.log(), standby.log(), restored.log()] {
            for loss in ["EOF on client connection", "data from client", "data to client"] {
                assert!(!log.contains(loss), "{log}");
            }
        }
    }

    async fn primary(&mut self, server: &Server, authority: &Authority) {
        let seen = look(&to(server, "bare")).await;
        assert!(seen.as_ref().is_ok_and(|seen| seen.lsn.is_some()), "{seen:?}");
        assert!(greeted(server).await.is_ok_and(|seen| seen.answers && seen.not_running.is_none()));
        self.cell(&seen);

        let scram = format!(
            "host=db1.test hostaddr={} user=scram dbname=postgres password=hunter2 sslmode=verify-full \
             sslrootcert={} channel_binding=require",
            server.addr,
            authority.ca().display()
        );
        let seen = look(&scram).await;
        assert!(seen.as_ref().is_ok_and(|seen| seen.expiry.peer.is_some()), "{seen:?}");
        let wrong = look(&scram.replace("hunter2", "hunter3")).await;
        assert_eq!(wrong.map_err(|error| error.kind), Err(ErrorKind::Denied));
        let both =
            look(&scram.replace(" channel_binding=require", "").replace("verify-full", "disable"))
                .await;
        assert!(both.is_ok(), "{both:?}");
        self.cells.push("primary, each bound to the other".into());

        server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
        server.sql("SELECT pg_reload_conf()");
        let read_only = |seen: &Looked| seen.as_ref().is_ok_and(|seen| seen.read_only);
        self.cell(&until(&to(server, "bare"), read_only).await);
        server.sql("ALTER SYSTEM RESET default_transaction_read_only");
        server.sql("SELECT pg_reload_conf()");
        until(&to(server, "bare"), |seen| !read_only(seen)).await.unwrap();
    }

    /// Ends with the primary stopped.
    async fn standby(&mut self, primary: &mut Server, standby: &Server) {
        let monitor = to(standby, "monitor");
        primary.sql("INSERT INTO t VALUES (2)");
        let in_step =
            |r: rolecall::look::observation::Replay| r.streaming && r.lag_bytes == Some(0);
        self.cell(&until(&monitor, follows(in_step)).await);
        standby.sql("SELECT pg_wal_replay_pause()");
        primary.sql("INSERT INTO t SELECT generate_series(1, 1000)");
        let behind = |r: rolecall::look::observation::Replay| {
            r.paused && r.lag_bytes > Some(0) && r.lag_time > Some(Duration::ZERO)
        };
        self.cell(&until(&monitor, follows(behind)).await);
        standby.sql("SELECT pg_wal_replay_resume()");
        until(&monitor, follows(in_step)).await.unwrap();
        let hidden = look(&to(standby, "bare")).await;
        primary.stop();
        self.cell(&until(&monitor, follows(|replay| !replay.streaming)).await);
        self.cell(&hidden);
    }

    /// A standby that is fed by an archive alone, and what it says before and without hot standby.
    async fn recovery(
        &mut self,
        major: u32,
        primary: &Server,
        server: &mut Server,
        go: &std::path::Path,
    ) {
        let monitor = to(server, "monitor");
        server.spawn();
        let starting =
            |seen: &Looked| seen.as_ref().is_err_and(|error| error.kind == ErrorKind::NotAccepting);
        let seen = until(&monitor, starting).await;
        let port = greeted(server).await.unwrap();
        assert_eq!(port.not_running.as_deref(), Some("starting up"));
        fs::write(go, "").unwrap();
        until(&monitor, is(Role::Replica)).await.unwrap();
        let before = server.sql("SELECT pg_last_wal_replay_lsn()");
        primary.sql("INSERT INTO t SELECT generate_series(1, 1000)");
        primary.sql("SELECT pg_switch_wal()");
        let further = format!("SELECT pg_last_wal_replay_lsn() > '{before}'");
        for _ in 0..PATIENCE.as_millis() / 50 {
            if server.sql(&further) == "t" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(server.sql(&further), "t", "{}", server.log());
        self.cell(&look(&monitor).await);
        self.cell(&seen);

        server.stop();
        server.configure("hot_standby = off");
        server.spawn();
        let said = "Hot standby mode is disabled";
        let closed = |seen: &Looked| {
            starting(seen)
                && (major < SAYS_HOT_STANDBY
                    || seen.as_ref().is_err_and(|e| e.detail.contains(said)))
        };
        let seen = until(&monitor, closed).await;
        let error = seen.as_ref().unwrap_err();
        let hint =
            if error.detail.contains("hint: set hot_standby = on") { ", and says so" } else { "" };
        self.cells.push(format!("{}{hint}", shown(&seen)));
        server.signal("INT");
        server.wait();
    }

    /// What is not granted, and the optional privileges of `[fence]`.
    async fn rights(&mut self, server: &Server) {
        server.sql("REVOKE EXECUTE ON FUNCTION pg_control_checkpoint() FROM PUBLIC");
        let seen = look(&to(server, "bare")).await;
        assert!(is(Role::Primary)(&seen), "{seen:?}");
        self.cell(&seen);
        let fence =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/sql/fence.sql"))
                .unwrap();
        let fence: Vec<_> = fence.lines().filter(|line| !line.starts_with('\\')).collect();
        server.sql(&fence.join("\n"));
        let (client, connection) =
            tokio_postgres::connect(&to(server, "app"), tokio_postgres::NoTls).await.unwrap();
        let session = tokio::spawn(connection);
        let mut own = rolecall::source::pg::Connector::new(
            &config::Postgres {
                conninfo: to(server, "rolecall").parse().unwrap(),
                password: PasswordFrom::Nowhere,
            },
            PATIENCE,
            Resolver::system(),
        )
        .unwrap();
        let row = own
            .ask("SELECT told FROM rolecall.end_sessions(NULL::inet[], ARRAY['app']::name[])")
            .await
            .unwrap();
        assert_eq!(rolecall::source::pg::column::<i64>(&row, "told"), Ok(1));
        assert!(session.await.unwrap().is_err(), "the session is ended");
        drop(client);
        self.cells.push("ends the sessions of a role".into());
    }
}
