//! A PostgreSQL server on a loopback address of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::fixtures::find_postgres;

/// The port of every server: the address is what is its own.
pub const PORT: u16 = 5432;

/// Held while an address is in use, on that address.
const LOCK_PORT: u16 = 5431;

/// Longest wait for anything a server does; a loaded machine needs some of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server; stopped and removed when dropped.
pub struct Server {
    pub addr: Ipv4Addr,
    dir: TempDir,
    child: Option<Child>,
    /// What its programs find in their environment beside `PATH`.
    pub env: Vec<(&'static str, PathBuf)>,
    /// Where its own programs are; those for clients may be of another version.
    bin: PathBuf,
    _lock: TcpListener,
}

impl Server {
    /// A new cluster with these lines in its `pg_hba.conf` and `postgresql.conf`; not started.
    pub fn init(hba: &str, conf: &str) -> Self {
        Self::init_with(bindir(), hba, conf)
    }

    /// The same, with the server programs in `bin`.
    pub fn init_with(bin: PathBuf, hba: &str, conf: &str) -> Self {
        let server = Self::nowhere(bin);
        run(server.command("initdb").args(["-N", "-E", "UTF8", "--no-locale", "-U", "postgres"]));
        fs::write(server.data().join("pg_hba.conf"), format!("local all all trust\n{hba}"))
            .unwrap();
        server.configure(conf);
        server
    }

    /// A standby of `primary`, which must be stopped, by a copy of its files; it follows by these lines. Not
    /// started.
    pub fn copy_of(primary: &Self, conf: &str) -> Self {
        let server = Self::nowhere(primary.bin.clone());
        run(Command::new("cp").arg("-a").arg(primary.data()).arg(server.data()));
        server.put_secret("data/standby.signal", "");
        server.configure(conf);
        server
    }

    /// A standby of `primary`, which must be running; not started.
    pub fn standby_of(primary: &Self) -> Self {
        let server = Self::nowhere(primary.bin.clone());
        run(server
            .command("pg_basebackup")
            .args(["-N", "-R", "-c", "fast", "-U", "postgres", "-h"])
            .arg(primary.socket_dir()));
        server.configure("");
        server
    }

    fn nowhere(bin: PathBuf) -> Self {
        let (addr, lock) = own_address();
        let dir = TempDir::with_prefix("rolecall-pg-").unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { addr, dir, child: None, env: Vec::new(), bin, _lock: lock }
    }

    /// Adds these lines, and its own, to its `postgresql.conf`.
    pub fn configure(&self, conf: &str) {
        let own = format!(
            "listen_addresses = '{}'\nport = {PORT}\nunix_socket_directories = '{}'\nfsync = off\n\
             log_disconnections = on\nmax_connections = 20\nshared_buffers = 1MB\n{conf}\n",
            self.addr,
            self.socket_dir().display()
        );
        let path = self.data().join("postgresql.conf");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, before + &own).unwrap();
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// A file that belongs to the server's user and is open to nobody else.
    pub fn put_secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        put_private(&path, text);
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    /// Starts the server without waiting for it to take connections.
    pub fn spawn(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Starts the server and waits until it takes connections.
    pub fn start(&mut self) {
        self.spawn();
        for _ in 0..PATIENCE.as_millis() / 50 {
            let mut ready = self.program("pg_isready");
            ready.args(["-q", "-U", "postgres", "-h"]).arg(self.socket_dir());
            if ready.status().unwrap().success() {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "postgres ended: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("postgres takes no connections: {}", self.log());
    }

    /// Sends the postmaster a signal: TERM is a smart shutdown, INT a fast, QUIT an immediate one.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        run(Command::new("kill").args(["-s", signal, &pid]));
    }

    /// Waits until the postmaster has ended.
    pub fn wait(&mut self) {
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn stop(&mut self) {
        self.signal("INT");
        self.wait();
    }

    /// Runs SQL as the superuser over the socket and gives the answer's text.
    pub fn sql(&self, sql: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        run(psql.arg(self.socket_dir()).args(["-c", sql, "postgres"]))
    }

    /// A program of PostgreSQL as the server's user, on the server's data.
    fn command(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.arg("-D").arg(self.data());
        command
    }

    /// A program of PostgreSQL, or of its extensions, as the server's user.
    pub fn program(&self, name: &str) -> Command {
        let own = self.bin.join(name);
        let program = if own.exists() { own } else { bindir().join(name) };
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let id = NOBODY.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            for signal in ["QUIT", "CONT"] {
                let _ = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            }
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("log of the server on {}:\n{log}", self.addr);
        }
    }
}

/// Somebody listens there, at [`PORT`], whose queue is full, so that the kernel drops what comes: as at a dead host.
pub fn silent(ip: Ipv4Addr) -> Vec<Socket> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&SocketAddr::from((ip, PORT)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // It begins, and does not end.
        let _ = socket.connect(&addr);
        held.push(socket);
    }
    held
}

/// Writes a file that is open to its owner alone.
pub fn put_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        File::options().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The user that runs servers where the tests run as root, which PostgreSQL refuses.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where the server programs are; the test has asked `lacks_postgres` before.
pub fn bindir() -> PathBuf {
    find_postgres()
        .expect("PostgreSQL's server programs: neither in /usr/lib/postgresql nor in PATH")
}

/// A loopback address that no other test uses while the listener lives.
fn own_address() -> (Ipv4Addr, TcpListener) {
    let seed = std::process::id();
    (0..u32::from(u16::MAX))
        .find_map(|n| {
            let [_, _, c, d] = (seed.wrapping_mul(40_503).wrapping_add(n)).to_be_bytes();
            let addr = Ipv4Addr::new(127, 77, c, d.clamp(1, 254));
            Some((addr, TcpListener::bind((addr, LOCK_PORT)).ok()?))
        })
        .expect("a free loopback address")
}

/// What a program that must succeed prints.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
