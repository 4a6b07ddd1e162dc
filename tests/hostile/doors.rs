//! Whatever others do to it and however little room there is, a healthy node stays READY, and what is
//! said of it is said on one line.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Heard, Rolecall, ask, eventually, now, say};
use crate::meanwhile::Meanwhile;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an attack goes on.
const ATTACK: Duration = Duration::from_secs(4);
/// Answers that are wanted meanwhile, on a machine however busy.
const ANSWERS: usize = 21;

fn program() -> String {
    std::env::var("ROLECALL_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_rolecall").to_owned())
}

/// A rolecall of a node that is a healthy primary, with every door open.
struct Stage {
    ground: Ground,
    rolecall: Rolecall,
}

impl Stage {
    fn new() -> Self {
        Self::with(&program(), "")
    }

    fn with(program: &str, more: &str) -> Self {
        let ground = Ground::new();
        let role = ground.write("role", "primary");
        let script = ground.write("look", &format!("exec cat {}", role.display()));
        let (plain, send) = (ground.addr(1, AGENT_PORT), ground.addr(2, AGENT_PORT));
        let (http, dir) = (ground.addr(1, HTTP_PORT), ground.dir().display().to_string());
        let config = format!(
            "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
             [http]\nlisten = \"{http}\"\n\
             [source]\nkind = \"command\"\ncommand = [\"/bin/sh\", \"{}\"]\ninterval = \"200ms\"\n\
             hold = \"0s\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{plain}\"\n\
             [[service]]\nname = \"writes\"\nroles = [\"primary\"]\nlisten = \"{send}\"\n\
             agent_send = true\n{more}",
            script.display()
        );
        let mut rolecall = Rolecall::new(&ground, "rolecall", program, &config);
        rolecall.start();
        Self { ground, rolecall }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir().join(name)
    }

    fn plain(&self) -> SocketAddr {
        self.ground.addr(1, AGENT_PORT)
    }

    fn send(&self) -> SocketAddr {
        self.ground.addr(2, AGENT_PORT)
    }

    fn http(&self) -> SocketAddr {
        self.ground.addr(1, HTTP_PORT)
    }

    /// Where HAProxy asks from; attackers have another address.
    fn friend(&self) -> IpAddr {
        IpAddr::from(self.ground.host(9))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.path("rolecall.toml")).args(arguments);
        command
    }

    fn runs(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Asks at the port that reads nothing from now on.
    fn meanwhile(&self, case: &'static str) -> Meanwhile {
        Meanwhile::of(case, self.plain())
    }

    fn signal(&self, signal: Signal) {
        self.rolecall.signal(signal);
    }

    fn is_ready(&self) {
        eventually(PATIENCE, "READY", || match ask(self.plain(), PATIENCE).heard {
            Heard::Said(said) if said == "READY\n" => Ok(()),
            other => Err(other),
        });
    }
}

/// A connection from this address, or the error with which it was refused.
fn from(own: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What is answered to these words, with how long that took.
fn answered(own: IpAddr, to: SocketAddr, words: &[u8]) -> (String, Duration) {
    let began = now();
    let mut said = String::new();
    let asked = from(own, to).and_then(|mut stream| {
        stream.write_all(words)?;
        stream.read_to_string(&mut said)
    });
    if let Err(error) = asked {
        said = format!("{said}{error}");
    }
    (said, now().since(began))
}

/// Attacks with so many connections at one time that say `words` and then nothing, each of them anew once
/// it is closed, while `asks` goes on for [`ATTACK`] and [`ANSWERS`]. Returns what each of its answers was.
fn under_attack<T>(to: SocketAddr, many: usize, words: &[u8], asks: impl Fn() -> T) -> Vec<T> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut silent = Vec::new();
            while !over.load(Ordering::Relaxed) {
                while silent.len() < many {
                    let Ok(mut stream) = TcpStream::connect(to) else { break };
                    let _ = stream.write_all(words);
                    let _ = stream.set_nonblocking(true);
                    silent.push(stream);
                }
                let open = |mut stream: &TcpStream| {
                    matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
                };
                silent.retain(|stream| open(stream));
                // As many as a fast attacker would open meanwhile come in the next turn.
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let began = now();
        let mut answers = Vec::new();
        while now().since(began) < ATTACK || answers.len() < ANSWERS {
            answers.push(asks());
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        answers
    })
}

#[test]
fn silent_connections_to_agent_send_make_nobody_maint() {
    let stage = Stage::new();
    let friend = stage.friend();
    let meanwhile = stage.meanwhile("H3");
    let said = under_attack(stage.send(), 300, b"", || {
        (answered(friend, stage.send(), b"writes\n").0, answered(friend, stage.plain(), b"").0)
    });
    let wrong = said.iter().filter(|(asked, _)| asked != "READY\n").count();
    say(&format!("H3: {wrong} of {} questions answered wrong", said.len()));
    meanwhile.was_ready();
    for (asked, plain) in said {
        assert_eq!((&*asked, &*plain), ("READY\n", "READY\n"));
    }
    stage.rolecall.wait_log(PATIENCE, &["WARN", "had sent no question"]);
}

#[test]
fn silent_connections_to_http_keep_nobody_from_an_answer() {
    let stage = Stage::new();
    let friend = stage.friend();
    let ask = b"GET /primary HTTP/1.1\r\nHost: x\r\n\r\n";
    let meanwhile = stage.meanwhile("H4");
    let said = under_attack(stage.http(), 80, b"GET /", || {
        (answered(friend, stage.http(), ask).0, answered(friend, stage.plain(), b"").0)
    });
    let wrong = said.iter().filter(|(page, _)| !page.starts_with("HTTP/1.1 200 OK")).count();
    say(&format!("H4: {wrong} of {} requests answered wrong", said.len()));
    meanwhile.was_ready();
    for (page, plain) in said {
        assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
        assert_eq!(plain, "READY\n");
    }
}

#[test]
fn few_descriptors_are_shared_out_and_looks_go_on() {
    let ground = Ground::new();
    let few = ground.write("few", &format!("#!/bin/sh\nulimit -n 48\nexec {} \"$@\"\n", program()));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&few, mode).unwrap();
    let stage = Stage::with(few.to_str().unwrap(), "");
    stage.is_ready();
    let meanwhile = stage.meanwhile("H13");
    for door in [stage.send(), stage.http()] {
        let said = under_attack(door, 100, b"", || answered(stage.friend(), stage.plain(), b"").0);
        assert!(said.iter().all(|line| line == "READY\n"), "{said:?}");
    }
    meanwhile.was_ready();
    let log = stage.rolecall.log();
    assert!(!log.contains("poll failed") && !log.contains("cannot be accepted"), "{log}");
}

#[test]
fn a_process_that_was_stopped_looks_before_it_answers() {
    let stage = Stage::new();
    stage.is_ready();
    for stopped in [Duration::from_secs(3), Duration::from_millis(1500)] {
        stage.signal(Signal::STOP);
        std::thread::sleep(stopped);
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| answered(stage.friend(), stage.plain(), b"").0);
            let http = scope.spawn(|| {
                answered(stage.friend(), stage.http(), b"GET /primary HTTP/1.1\r\nHost: x\r\n\r\n")
                    .0
            });
            // Both have asked when it goes on.
            std::thread::sleep(Duration::from_millis(200));
            stage.signal(Signal::CONT);
            (asking.join().unwrap(), http.join().unwrap())
        });
        say(&format!("H16: after {stopped:?} the agent says {:?}", asked.0));
        assert_eq!(asked.0, "READY\n", "{}", stage.rolecall.log());
        assert!(asked.1.starts_with("HTTP/1.1 200 OK"), "{}", asked.1);
    }
    // A look that does not come is not waited for without end.
    std::fs::write(stage.path("look"), "exec sleep 1000").unwrap();
    stage.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(1500));
    stage.signal(Signal::CONT);
    let (said, took) = answered(stage.friend(), stage.plain(), b"");
    assert!(said.ends_with('\n') && took < Duration::from_secs(10), "{said:?} after {took:?}");
}

#[test]
fn an_order_that_nobody_waits_for_any_more_is_not_done() {
    let stage = Stage::new();
    stage.is_ready();
    stage.signal(Signal::STOP);
    let mut asker = stage.command(&["maint", "all"]).stdout(Stdio::null()).spawn().unwrap();
    eventually(PATIENCE, "it has asked", || {
        // What is written waits in the socket of the process that is stopped.
        let sockets = std::fs::read_dir(format!("/proc/{}/fd", asker.id())).unwrap();
        let links = sockets.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        let connected = { links }.any(|link| link.to_string_lossy().starts_with("socket:"));
        if connected { Ok(()) } else { Err(()) }
    });
    std::thread::sleep(Duration::from_millis(300));
    asker.kill().unwrap();
    asker.wait().unwrap();
    stage.signal(Signal::CONT);
    let began = now();
    let obeyed = |stage: &Stage| stage.rolecall.log().contains("maint all");
    while now().since(began) < Duration::from_secs(2) && !obeyed(&stage) {
        std::thread::sleep(Duration::from_millis(20));
    }
    say(&format!("H9: the order of one that gave up is in force: {}", obeyed(&stage)));
    stage.rolecall.wait_log(PATIENCE, &["an order was not carried out", "no longer waits"]);
    stage.is_ready();
    // One who is there is served.
    assert!(stage.runs(&["maint", "all"]).status.success());
}

#[test]
fn silent_clients_of_the_control_socket_delay_nobody() {
    let stage = Stage::new();
    let meanwhile = stage.meanwhile("H18");
    let mut silent = Vec::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        silent.push(UnixStream::connect(stage.path("control.sock")).unwrap());
        let began = now();
        assert!(stage.runs(&["status", "--json"]).status.code().is_some_and(|code| code < 3));
        slowest = slowest.max(now().since(began));
    }
    say(&format!("H18: the slowest of 20 `rolecall status` took {slowest:.1?}"));
    meanwhile.was_ready();
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn what_others_say_is_one_line_that_no_terminal_obeys() {
    let stage = Stage::new();
    let forged = "2026-01-01T00:00:00.000000Z  INFO verdict changed: primary of local is ready";
    let script = format!("printf 'a\\033[2J\\302\\233b\\342\\200\\256c\\r{forged}'; exit 0");
    std::fs::write(stage.path("look"), script).unwrap();
    stage.rolecall.wait_log(PATIENCE, &["WARN", "poll failed"]);
    let raw = stage.rolecall.log();
    let forged_lines = raw.lines().filter(|line| line.starts_with("2026-01-01")).count();
    let signs = raw.chars().filter(|sign| "\u{1b}\u{9b}\u{202e}\r".contains(*sign)).count();
    say(&format!("H10: {signs} signs that a terminal obeys, {forged_lines} forged lines"));
    for sign in ['\u{1b}', '\u{9b}', '\u{202e}', '\r'] {
        assert!(!raw.contains(sign), "{sign:?}: {raw}");
    }
    assert!(!raw.lines().any(|line| line.starts_with("2026-01-01")), "{raw}");
    for reason in ["a\u{1b}[2J", "a\nb", "a\u{202e}b", "a\u{9b}b"] {
        let refused = stage.runs(&["maint", "all", "--reason", reason]);
        assert_eq!(refused.status.code(), Some(64), "{reason:?}");
    }
}

/// A process that is stopped at the end of a test, however that ends.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_file_of_its_own_that_is_something_else_keeps_it_from_nothing() {
    let mut stage = Stage::new();
    stage.is_ready();
    assert!(stage.rolecall.stop().success());
    let _ = std::fs::remove_file(stage.path("orders.json"));
    fifo(&stage.path("orders.json"));
    fifo(&stage.path("orders.new"));
    stage.rolecall.launch();
    let began = now();
    let answers = || ask(stage.plain(), PATIENCE).heard == Heard::Said("READY\n".to_owned());
    while now().since(began) < Duration::from_secs(5) && !answers() {
        std::thread::sleep(Duration::from_millis(20));
    }
    say(&format!("H15: READY with a pipe in the place of its file: {}", answers()));
    stage.is_ready();
    assert!(stage.runs(&["maint", "all"]).status.success());
    assert!(stage.rolecall.stop().success());
    // A link leads to a file of somebody else's.
    let elsewhere = stage.ground.write("elsewhere", "somebody else's");
    for name in ["orders.json", "orders.new"] {
        let _ = std::fs::remove_file(stage.path(name));
        std::os::unix::fs::symlink(&elsewhere, stage.path(name)).unwrap();
    }
    stage.rolecall.start();
    stage.is_ready();
    assert!(stage.runs(&["maint", "all"]).status.success());
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "somebody else's");
}

#[test]
fn two_daemons_do_not_share_their_orders() {
    let stage = Stage::new();
    stage.is_ready();
    let text = std::fs::read_to_string(stage.path("rolecall.toml")).unwrap();
    let (other, third) = (stage.ground.addr(3, AGENT_PORT), stage.ground.addr(4, AGENT_PORT));
    let text = text
        .replace("control.sock", "second.sock")
        .replace(&stage.plain().to_string(), &other.to_string())
        .replace(&stage.send().to_string(), &third.to_string())
        .replace(&stage.http().to_string(), &stage.ground.addr(3, HTTP_PORT).to_string());
    let config = stage.ground.write("second.toml", &text);
    let mut second = Command::new(program());
    let second = second.arg("run").arg("--config").arg(config).stderr(Stdio::piped()).spawn();
    let mut second = Stopped(second.unwrap());
    let ended =
        eventually(PATIENCE, "the second one ends", || second.0.try_wait().unwrap().ok_or(()));
    let mut said = String::new();
    second.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.code(), Some(69), "{said}");
    assert!(
        said.contains("another process uses this order file") && said.contains("hint:"),
        "{said}"
    );
}
