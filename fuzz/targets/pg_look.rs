//! A whole look at PostgreSQL: what the server sends to each connection, up to `NEXT`. The first byte says who
//! looks.

#![no_main]

use std::path::Path;
use std::time::Duration;

use rolecall::config::{Identity, PasswordFrom, Postgres as Server, Repmgr as Settings, Whose};
use rolecall::look::error::{MOST_DETAIL, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::repmgr::Attached;
use rolecall::look::role::Role;
use rolecall::source::RoleSource as _;
use rolecall::source::pg::Connector;
use rolecall::source::pg::sessions::Sessions;
use rolecall::source::postgres::Postgres;
use rolecall::source::repmgr::{MAX_ROWS, Repmgr};
use rolecall::source::resolve::Resolver;
use rolecall::verdict::policy::TwoNode;
use rolecall_fuzz::stage::scratch;
use rolecall_fuzz::{cleaned, run, split, target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

/// The time of a look.
const LOOK: Duration = Duration::from_millis(800);

/// Serves for ever; a connection that comes when all is said is closed at once.
async fn serve(listener: &UnixListener, mut data: &[u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let (now, later) = split(data, b"NEXT");
        data = later;
        let talk = async {
            stream.write_all(now).await?;
            stream.shutdown().await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        // One that ends sooner needs no more.
        let _ = talk.await;
    }
}

fn server(dir: &Path, more: &str) -> Server {
    let conninfo = format!("host={} user=u dbname=d {more}", dir.display());
    Server {
        conninfo: conninfo.parse().expect("a connection string"),
        password: PasswordFrom::Nowhere,
    }
}

fn looked(look: Result<Observation, SourceError>, believed: bool) {
    let seen = match look {
        Ok(seen) => seen,
        Err(error) => return cleaned(&error.detail, MOST_DETAIL),
    };
    assert!(believed, "nobody proved anything: {seen:?}");
    assert!(seen.timeline.is_some_and(|timeline| timeline.0 > 0), "{seen:?}");
    assert!(seen.role != Some(Role::Primary) || seen.replay.is_none(), "{seen:?}");
    let Some(answer) = &seen.repmgr else { return };
    assert!(answer.table.len() <= MAX_ROWS);
    cleaned(&answer.system, 20);
    if let Attached::Unknown(host) = &answer.attached {
        // A host and a port.
        cleaned(host, 255 + 8);
    }
    for row in &*answer.table {
        cleaned(&row.name, 64);
        assert!(row.places.len() <= 8, "{row:?}");
    }
}

async fn look(who: u8, dir: &Path) {
    let resolver = Resolver::with(|_| Err(std::io::Error::other("no such name")));
    let (more, believed) = match who / 4 % 3 {
        0 => ("", true),
        1 => ("password=hunter2 require_auth=scram-sha-256", false),
        _ => ("password=hunter2", true),
    };
    let server = server(dir, more);
    match who % 4 {
        0 => {
            let mut source = Postgres::new(&server, LOOK, resolver).expect("a source");
            looked(source.observe().await, believed);
        }
        1 | 2 => {
            let settings = Settings {
                server,
                node: if who % 4 == 1 { Identity::Told } else { Identity::Name("db1".to_owned()) },
                two_node: TwoNode::Maint,
                failover_after: None,
                ask_conf: false,
                settle: Duration::ZERO,
                trust_refused: true,
                addresses: std::collections::BTreeMap::default(),
                release: None,
            };
            let mut source = Repmgr::new(&settings, LOOK, resolver).expect("a source");
            looked(source.observe().await, believed);
        }
        _ => {
            let connector = Connector::new(&server, LOOK, resolver).expect("a connector");
            let mut sessions = Sessions::new(connector, &Whose::Roles(vec!["app".to_owned()]));
            match sessions.end(|| true).await {
                Ok(_) => assert!(believed, "nobody proved anything"),
                Err(error) => cleaned(&error.detail, MOST_DETAIL),
            }
        }
    }
}

thread_local! {
    static LISTENER: (std::path::PathBuf, UnixListener) = {
        let dir = scratch();
        let socket = dir.join(".s.PGSQL.5432");
        let _ = std::fs::remove_file(&socket);
        (dir, run(async { UnixListener::bind(&socket) }).expect("a socket"))
    };
}

target!(|data| {
    let Some((who, data)) = data.split_first() else { return };
    LISTENER.with(|(dir, listener)| {
        run(async {
            tokio::select! {
                () = look(*who, dir) => {}
                () = serve(listener, data) => {}
            }
        });
    });
});
