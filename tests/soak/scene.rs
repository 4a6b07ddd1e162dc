//! The daemon under attack, its healthy nodes and the others.

use std::fmt::Write as _;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::attacks::Siege;
use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Heard, Postgres, ask, command, eventually, now,
};
use crate::{false_servers, servers};

/// Longest wait for a start or a stop on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// As in the shipped unit.
const NOFILE: u32 = 4096;
/// How long nobody takes the log, and how long somebody does.
const STALLED: Duration = Duration::from_secs(8);
const FLOWING: Duration = Duration::from_secs(4);
/// The password of the role by which the real server is asked.
const PASSWORD: &str = "hunter2";
/// Rows of the false cluster: more than half of what a table may have.
pub const ROWS: u32 = 80;

/// What the rows of a cluster are read from, in a database that has no repmgr: whoever may write them
/// may do this.
const FALSE_ROWS: &str = "
create role honest login password 'hunter2';
create schema rolecall;
create table rolecall.nodes (node_id int, node_name text, type text, active bool, conninfo text,
  config_file text);
create function rolecall.repmgrd_state(out local_node_id int, out upstream_node_id int,
  out upstream_last_seen int, out running bool, out paused bool) language sql
  as $$ select 1, null::int, 0, true, false $$;
create function rolecall.new_primary() returns int language sql as $$ select 2 $$;";

/// Where the healthy nodes are asked: by Patroni, and by PostgreSQL itself.
pub const WELL: [&str; 2] = ["well", "real"];

/// The daemon; stopped and reaped when dropped.
pub struct Scene {
    ground: Ground,
    program: PathBuf,
    real: Postgres,
    _servers: [false_servers::Server; 3],
    daemon: Option<Child>,
}

impl Scene {
    pub fn set(program: &Path) -> Self {
        let ground = Ground::new();
        let mut real = Postgres::init(&ground, "real", ground.host(8));
        let hba = real.data().join("pg_hba.conf");
        let before = std::fs::read_to_string(&hba).expect("pg_hba.conf");
        let with = format!("host all honest 127.0.0.0/8 scram-sha-256\n{before}");
        std::fs::write(&hba, with).expect("pg_hba.conf");
        real.start();
        real.execute(FALSE_ROWS);
        let servers = [
            false_servers::patroni(ground.addr(5, 28008)),
            servers::patroni(ground.addr(6, 28008)),
            servers::postgres(ground.addr(7, 25432)),
        ];
        let program = program.to_owned();
        let mut scene = Self { ground, program, real, _servers: servers, daemon: None };
        scene.configure(0);
        scene.start();
        scene
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The agent port of a healthy node.
    pub fn agent(&self, node: usize) -> SocketAddr {
        self.ground.addr(if node == 0 { 1 } else { 2 }, AGENT_PORT)
    }

    /// Where questions are read.
    pub fn send(&self) -> SocketAddr {
        self.ground.addr(3, AGENT_PORT)
    }

    pub fn http(&self) -> SocketAddr {
        self.ground.addr(3, HTTP_PORT)
    }

    pub fn control(&self) -> PathBuf {
        self.ground.dir().join("control.sock")
    }

    pub fn poke(&self) -> PathBuf {
        self.ground.dir().join("poke.sock")
    }

    /// The file by which operators ask.
    pub fn operators(&self) -> PathBuf {
        self.ground.dir().join("operators.toml")
    }

    fn config(&self) -> PathBuf {
        self.ground.dir().join("rolecall.toml")
    }

    /// Where those come from who ask properly; attackers have another address.
    pub fn friend(&self) -> SocketAddr {
        self.ground.addr(9, 0)
    }

    /// Writes the configuration, of which some differ in the ill nodes and some are none at all.
    pub fn configure(&self, number: u32) {
        let dir = self.ground.dir().display();
        let (patroni, postgres) = (self.ground.addr(6, 28008), self.ground.addr(7, 25432));
        let real = self.real.addr();
        let mut text = format!(
            "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
             poke = \"{dir}/poke.sock\"\n\
             [http]\nlisten = \"{}\"\n\
             [defaults]\ninterval = \"500ms\"\ntimeout = \"800ms\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\nagent_send = true\n",
            self.http(),
            self.send(),
        );
        let mut node = |name: &str, source: &str, listen: Option<SocketAddr>| {
            let listen = listen.map(|at| format!("listen = {{ primary = \"{at}\" }}\n"));
            let listen = listen.unwrap_or_default();
            let _ =
                writeln!(text, "[[node]]\nname = \"{name}\"\nsource = {{ {source} }}\n{listen}");
        };
        let url = format!("kind = \"patroni\", url = \"http://{}\"", self.ground.addr(5, 28008));
        node(WELL[0], &url, Some(self.agent(0)));
        let conninfo = |at: SocketAddr, more: &str| {
            format!("conninfo = \"host={} port={} {more}\"", at.ip(), at.port())
        };
        let honest = format!("user=honest dbname=postgres password={PASSWORD}");
        node(
            WELL[1],
            &format!("kind = \"postgres\", {}", conninfo(real, &honest)),
            Some(self.agent(1)),
        );
        for ill in 0..8 + number % 3 {
            let url = format!("kind = \"patroni\", url = \"http://{patroni}\"");
            node(&format!("patroni{ill}"), &url, None);
            let login = format!("user=u{ill} dbname=d password={PASSWORD}");
            let login = conninfo(postgres, &login);
            node(&format!("postgres{ill}"), &format!("kind = \"postgres\", {login}"), None);
        }
        let name = "kind = \"postgres\", conninfo = \"host=nosuch.invalid user=u dbname=d\"";
        node("nowhere", name, None);
        // Without a child that would be left behind.
        let script = "exec head -c 20000 /dev/urandom";
        node(
            "shout",
            &format!("kind = \"command\", command = [\"/bin/sh\", \"-c\", \"{script}\"]"),
            None,
        );
        let own = conninfo(
            real,
            "user=postgres dbname=postgres password=none require_auth=none,scram-sha-256",
        );
        node("rows", &format!("kind = \"repmgr\", node_id = 1, {own}"), None);
        if number % 4 == 3 {
            text.push_str("[[node]\nname = 7\n");
        }
        // What operators have says where they ask, and is whole all the time.
        let own = text.split("[http]").next().unwrap_or_default();
        if !self.operators().exists() {
            self.ground.write("operators.toml", own);
        }
        // In one step: nobody reads half of it.
        let new = self.ground.write("rolecall.new", &text);
        std::fs::rename(new, self.config()).expect("rolecall.toml");
    }

    /// Other rows, as whoever may write them likes them.
    pub fn change_rows(&self, number: u32) {
        let ip = self.ground.host(7);
        let hosts = "127.88.1.1,".repeat(usize::try_from(1 + number % 200).unwrap_or(1));
        let rows = format!(
            "truncate rolecall.nodes; insert into rolecall.nodes
             select n, case n % 5 when 0 then E'a\\x1b[2J\\nb' || n else 'db' || n end,
             case when n = 1 then 'primary' when n % 7 = 0 then 'witness' else 'standby' end, n % 3 > 0,
             case n % 6 when 0 then 'host={hosts}' when 1 then 'host=/tmp port=' || n
             when 2 then 'host=no' || n || '.invalid' when 3 then 'host={ip} port=25432'
             when 4 then 'host=x' || n || ' hostaddr={ip} port=25432' else 'nonsense {number}' end, '/dev/zero'
             from generate_series(1, {ROWS} + {number} % 70) n"
        );
        self.real.execute(&rows);
    }

    fn start(&mut self) {
        let mut shell = command(Path::new("sh"), None);
        let limited = format!("ulimit -n {NOFILE}; exec \"$@\"");
        shell.args(["-c", &limited, "sh"]).arg(&self.program).args(["run", "--config"]);
        shell.arg(self.config()).stdout(Stdio::null()).stderr(Stdio::piped());
        let daemon = self.daemon.insert(shell.spawn().expect("rolecall"));
        let mut ended = || {
            let ended = daemon.try_wait().expect("wait")?;
            let mut said = String::new();
            let _ = daemon.stderr.take()?.read_to_string(&mut said);
            Some(format!("{ended}: {said}"))
        };
        eventually(PATIENCE, "a port is open", || {
            let ended = ended();
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
            TcpStream::connect(self.ground.addr(1, AGENT_PORT))
        });
        for node in 0..WELL.len() {
            eventually(PATIENCE, "READY", || match ask(self.agent(node), PATIENCE).heard {
                Heard::Said(said) if said == "READY\n" => Ok(()),
                heard => Err(heard),
            });
        }
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    /// What takes the daemon's log, and mostly does not; returns how many bytes came.
    pub fn log_taker(&mut self) -> impl FnOnce(&Siege) -> usize + Send + use<> {
        let mut log = self.daemon.as_mut().and_then(|d| d.stderr.take()).expect("a piped log");
        let flags = fcntl_getfl(&log).expect("flags");
        fcntl_setfl(&log, flags | OFlags::NONBLOCK).expect("flags");
        move |siege| {
            let (mut taken, mut part) = (0, vec![0; 65536]);
            let mut take = |within: Duration, goes_on: &dyn Fn() -> bool| {
                let began = now();
                while now().since(began) < within && goes_on() {
                    match log.read(&mut part) {
                        // The daemon has ended.
                        Ok(0) => return,
                        Ok(more) => taken += more,
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            };
            while siege.goes_on() {
                siege.rest(STALLED);
                take(FLOWING, &|| siege.goes_on());
            }
            take(PATIENCE, &|| true);
            taken
        }
    }

    /// Whether the daemon ends well, which was told to end.
    pub fn ends_well(mut self) -> bool {
        let Some(mut daemon) = self.daemon.take() else { return false };
        let ended = eventually(PATIENCE, "the daemon ends", || {
            daemon.try_wait().expect("wait").ok_or("still running")
        });
        ended.success()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // It may have ended by itself.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
