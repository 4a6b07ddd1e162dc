//! What many put before a repmgr cluster: HAProxy that asks a small HTTP program on each node, which answers 200
//! where the server is not in recovery.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fixtures::netns::host;
use crate::fixtures::repmgr::{CLIENT, DATA, PATIENCE};
use crate::fixtures::rows::{Row, Taken, writer_after};
use crate::fixtures::{
    FRONT_PORT, Ground, Haproxy, PG_PORT, Recorder, Sample, Session, haproxies, sampler,
};
use crate::stage::Stage;

/// Where each node's program listens, and where clients come to.
const PORT: u16 = 25_700;
const FRONT: u16 = FRONT_PORT + 20;
/// Longest single wait of the program for its server.
const WITHIN: Duration = Duration::from_secs(1);
/// The rows of its writer have the numbers after this one.
const ITS_ROWS: u64 = 1_000_000_000;

/// HAProxy with that check, and its clients.
pub struct Usual {
    pub rows: Recorder<Row>,
    pub servers: Recorder<Sample>,
    _haproxy: Haproxy,
    programs: Vec<Program>,
    _ground: Ground,
}

/// The program on one node.
struct Program {
    id: u8,
    addr: SocketAddr,
    /// Its host stands still: it answers nothing.
    frozen: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    space: crate::fixtures::netns::Space,
}

impl Program {
    fn start(stage: &Stage, id: u8) -> Self {
        let (frozen, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (addr, space) = ((host(id), PORT).into(), stage.cluster.node(id).space().clone());
        let listener = space.inside(|| TcpListener::bind(addr)).expect("the program listens");
        let (theirs, ends) = (Arc::clone(&frozen), Arc::clone(&ended));
        let inside = space.clone();
        std::thread::spawn(move || {
            inside.enter();
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), frozen) = (stream, Arc::clone(&theirs)) else { continue };
                std::thread::spawn(move || {
                    // HAProxy may be gone: nobody is told then.
                    let _ = answer(stream, (host(id), PG_PORT).into(), &frozen);
                });
            }
        });
        Self { id, addr, frozen, ended, space }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // So that it sees it.
        let addr = self.addr;
        let _ = self.space.inside(|| TcpStream::connect_timeout(&addr, WITHIN));
    }
}

fn answer(mut stream: TcpStream, server: SocketAddr, frozen: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WITHIN))?;
    let mut head = [0; 1024];
    let _ = stream.read(&mut head)?;
    let session = Session::connect_as(server, "repmgr", "repmgr", WITHIN);
    let said = session.and_then(|mut session| session.value("select pg_is_in_recovery()"));
    if frozen.load(Ordering::Relaxed) {
        return Ok(());
    }
    let status =
        if said.is_ok_and(|said| said == "f") { "200 OK" } else { "503 Service Unavailable" };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

impl Usual {
    /// Starts it and waits until it serves.
    pub fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let ids: Vec<u8> =
            stage.setting.shape.nodes.iter().copied().filter(|id| DATA.contains(id)).collect();
        let programs = ids.iter().map(|id| Program::start(stage, *id)).collect();
        let server = |id: &u8| {
            format!("    server db{id} {0}:{PG_PORT} check addr {0} port {PORT}\n", host(*id))
        };
        let servers = ids.iter().map(server).collect::<Vec<_>>().concat();
        let front = SocketAddr::from((host(CLIENT), FRONT));
        // The times of Patroni's template, which this check is mostly given.
        let text = format!(
            "global\n    maxconn 100\n    user \"${{ROLECALL_HAPROXY_USER}}\"\n\
             \x20   group \"${{ROLECALL_HAPROXY_GROUP}}\"\n\
             \x20   stats socket \"${{ROLECALL_STATS_SOCKET}}\" mode 660 level admin\n\
             defaults\n    mode tcp\n    retries 2\n    timeout client 30m\n    timeout connect 4s\n\
             \x20   timeout server 30m\n    timeout check 5s\n\n\
             listen primary\n    bind {front}\n    option httpchk GET /\n    http-check expect status 200\n\
             \x20   default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions\n{servers}"
        );
        let cfg = ground.write("usual.cfg", &text);
        let client = stage.cluster.net().space(CLIENT);
        let haproxy = Haproxy::start_in(Some(client), &ground, &haproxies()[0].1, &cfg, &[]);
        let rows = client.inside(|| writer_after(front, ITS_ROWS));
        let servers = sampler(haproxy.stats());
        let usual = Self { rows, servers, _haproxy: haproxy, programs, _ground: ground };
        usual.wait_row();
        // HAProxy takes each server for UP until three checks of it have failed.
        let up = |sample: &Sample| sample.servers.values().filter(|server| server.is_up()).count();
        usual.servers.wait(PATIENCE, "the primary alone is up", |sample| up(sample) == 1);
        usual
    }

    /// Waits until a row is taken through it.
    pub fn wait_row(&self) {
        let taken = |row: &Row| matches!(row.taken, Taken::By { .. });
        self.rows.wait(PATIENCE, "a row through the usual check", taken);
    }

    /// The host of node `id` stands still, or goes on.
    pub fn freeze(&self, id: u8, frozen: bool) {
        for program in self.programs.iter().filter(|program| program.id == id) {
            program.frozen.store(frozen, Ordering::Relaxed);
        }
    }
}
