//! `rolecall history`, `/history`, and `rolecall status --watch`: the real program, whose source flips as the test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Rolecall, eventually};
use rolecall::host::own_name::host_name;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon with a state directory, and the file that says what it sees.
struct Stage {
    ground: Ground,
    rolecall: Rolecall,
}

impl Stage {
    fn new(role: &str) -> Self {
        Self::with(role, true)
    }

    /// `kept`: there is a state directory.
    fn with(role: &str, kept: bool) -> Self {
        let ground = Ground::new();
        let word = ground.write("role", role);
        let dir = ground.dir().display().to_string();
        let (agent, http) = (ground.addr(1, AGENT_PORT), ground.addr(1, HTTP_PORT));
        let config = format!(
            "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
             [http]\nlisten = \"{http}\"\n\
             [source]\nkind = \"command\"\ncommand = [\"/bin/cat\", \"{}\"]\ninterval = \"100ms\"\n\
             hold = \"0s\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n",
            word.display()
        );
        let folder = ground.dir().join("state");
        std::fs::create_dir(&folder).expect("state");
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        if kept {
            rolecall = rolecall.env("STATE_DIRECTORY", &folder.display().to_string());
        }
        let mut stage = Self { ground, rolecall };
        stage.rolecall.start();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir().join(name)
    }

    /// The source says another role from now on; no poll sees half of it.
    fn role(&self, role: &str) {
        let new = self.path("role.new");
        std::fs::write(&new, role).expect("a role");
        std::fs::rename(new, self.path("role")).expect("in its place");
    }

    fn rolecall(&self) -> Command {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(self.path("rolecall.toml"));
        command
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = self.rolecall();
        // As far from UTC as a test can tell.
        command.args(arguments).env("TZ", "XYZ-5:45").output().expect("rolecall")
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn history(&self, arguments: &[&str]) -> Value {
        let arguments = [&["history", "--json"], arguments].concat();
        serde_json::from_str(&self.says(&arguments)).expect("JSON")
    }

    /// `(from, to)` of each change, once there are so many.
    fn changes(&self, count: usize) -> Vec<(String, String)> {
        eventually(PATIENCE, "so many changes", || {
            let changes = pairs(&self.history(&[]));
            if changes.len() >= count { Ok(changes) } else { Err(changes) }
        })
    }
}

fn pairs(history: &Value) -> Vec<(String, String)> {
    let changes = history["changes"].as_array().expect("changes").iter();
    let word = |of: &Value| of.as_str().unwrap_or("-").to_owned();
    changes.map(|change| (word(&change["from"]), word(&change["to"]))).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

/// The sums of the one service: without a READY, and not known.
fn sums(history: &Value) -> (u64, u64) {
    let service = &history["services"][0];
    let ms = |key: &str| service[key].as_u64().expect("milliseconds");
    assert!(ms("nobody_ready_ms") + ms("not_recorded_ms") <= ms("since_ms"), "{service}");
    (ms("nobody_ready_ms"), ms("not_recorded_ms"))
}

#[test]
fn a_kill_leaves_what_was_known_and_says_what_is_not() {
    let mut stage = Stage::new("primary");
    stage.changes(1);
    stage.role("replica");
    let before = stage.changes(2);
    assert_eq!(before, owned(&[("-", "ready"), ("ready", "not_ready")]));
    // On disk before it is killed.
    let file = stage.path("state/history.jsonl");
    eventually(PATIENCE, "it is on disk", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains("\"not_ready\"") { Ok(()) } else { Err(text) }
    });
    stage.rolecall.kill9();
    stage.rolecall.start();
    let gap = [
        ("-", "ready"),
        ("ready", "not_ready"),
        ("not_ready", "not_recorded"),
        ("not_recorded", "not_ready"),
    ];
    assert_eq!(stage.changes(4), owned(&gap));
    let history = stage.history(&[]);
    let (_, unknown) = sums(&history);
    let lasted = history["changes"][2]["lasted_ms"].as_u64();
    assert_eq!(lasted, Some(unknown), "the gap is what is not known: {history}");
    assert!(history["trouble"].is_null(), "{history}");
    assert_eq!(history["file"].as_str(), file.to_str());
    let host = host_name().unwrap_or_else(|| "local".to_owned());
    let text = stage.says(&["history"]);
    assert!(text.starts_with(&format!("primary on {host}: not READY for ")), "{text}");
    assert!(text.contains(&format!(" XYZ  primary/{host}  MAINT -> not known, for ")), "{text}");
    assert!(text.contains("    no rolecall recorded it: "), "{text}");
    assert!(text.contains("\n    is replica (other_role)\n"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("UTC"), "{text}");

    // A stop says until when it was: the gap is as short as the restart.
    stage.role("primary");
    stage.changes(5);
    stage.rolecall.restart();
    let changes = stage.changes(7);
    let again = [("ready", "not_recorded"), ("not_recorded", "ready")];
    assert_eq!(changes[5..], owned(&again));

    // A window has what was so in it, and a target what it is about.
    assert_eq!(pairs(&stage.history(&["--since", "1ms"])), owned(&[("not_recorded", "ready")]));
    assert_eq!(pairs(&stage.history(&["all"])).len(), 7);
    for target in ["primary", "local", "primary/local", &host, &format!("primary/{host}")] {
        assert_eq!(pairs(&stage.history(&[target])).len(), 7, "{target}");
    }
    let refused = stage.command(&["history", "replica"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("\"replica\" is not a known target") && said.contains("hint:"), "{said}");
}

#[test]
fn a_damaged_file_is_said_once_and_is_no_reason_not_to_start() {
    let mut stage = Stage::new("primary");
    stage.changes(1);
    stage.rolecall.stop();
    let file = stage.path("state/history.jsonl");
    std::fs::write(&file, "nonsense\n").expect("a damaged file");
    stage.rolecall.start();
    assert_eq!(stage.changes(1), owned(&[("-", "ready")]));
    let history = stage.history(&[]);
    let trouble = history["trouble"].as_str().unwrap_or_default();
    assert!(
        trouble.contains("could not be read") && trouble.contains("history.damaged"),
        "{history}"
    );
    assert!(stage.says(&["history"]).contains(trouble), "a person is told, too");
    assert_eq!(std::fs::read(stage.path("state/history.damaged")).expect("kept"), b"nonsense\n");
    let log = stage.rolecall.log();
    assert_eq!(log.matches("the history file ").count(), 1, "{log}");
    // What comes now is kept again.
    stage.rolecall.restart();
    assert_eq!(stage.changes(3).len(), 3);
    assert!(stage.history(&[])["trouble"].is_null());
}

/// Whoever ordered it is told, and the page over HTTP has the same.
#[test]
fn an_order_shows_by_whom_and_the_page_has_what_the_command_prints() {
    let stage = Stage::new("primary");
    stage.changes(1);
    let host = host_name().unwrap_or_else(|| "local".to_owned());
    stage.says(&["maint", &format!("primary/{host}"), "--reason", "disk swap"]);
    stage.changes(2);
    let history = stage.history(&[]);
    let ordered = &history["changes"][1];
    assert_eq!(ordered["reason"], "ordered_maint", "{history}");
    assert!(ordered["by"].as_str().is_some_and(|by| by.contains("uid ")), "{history}");
    assert!(ordered["detail"].as_str().is_some_and(|why| why.contains("disk swap")), "{history}");
    let mut stream = TcpStream::connect(stage.ground.addr(1, HTTP_PORT)).expect("HTTP");
    write!(stream, "GET /history HTTP/1.1\r\nHost: x\r\n\r\n").expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("answered");
    let (head, body) = page.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["version"], pairs(&body)), (&1.into(), pairs(&history)));
    let at = body["changes"][0]["at"].as_str().expect("a moment");
    assert!(at.ends_with('Z') && at.contains('T'), "in UTC: {at}");
    let asked = stage.command(&["ask", &format!("primary/{host}")]);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(
        said.contains(&format!("service primary of {host}: MAINT: ordered maint by ")),
        "{said}"
    );
    // The order is removed by the name that it was given about.
    stage.says(&["auto", &format!("primary/{host}")]);
    assert_eq!(stage.changes(3)[2], ("not_ready".to_owned(), "ready".to_owned()));
}

#[test]
fn without_a_state_directory_it_ends_with_the_process_and_says_so() {
    let mut stage = Stage::with("primary", false);
    stage.changes(1);
    stage.role("replica");
    stage.changes(2);
    stage.role("primary");
    stage.rolecall.restart();
    eventually(PATIENCE, "it begins anew", || {
        let changes = stage.changes(1);
        if changes.len() == 1 { Ok(()) } else { Err(changes) }
    });
    assert_eq!(stage.changes(1)[0].0, "-");
    assert!(stage.history(&[])["file"].is_null());
    assert!(stage.says(&["history"]).contains("kept in memory only"));
}

/// The first verdict is one, and changes nothing that was said before.
#[test]
fn no_line_of_the_log_says_that_a_verdict_changed_from_what_it_is() {
    let stage = Stage::new("nonsense");
    stage.rolecall.wait_log(PATIENCE, &["first verdict: primary of local is unknown: "]);
    stage.role("primary");
    stage.rolecall.wait_log(PATIENCE, &["verdict changed", "from=unknown", "to=ready"]);
    let log = stage.rolecall.log();
    for line in log.lines().filter(|line| line.contains("verdict changed")) {
        assert!(line.contains("to=ready"), "{line}");
    }
}

/// The lines of a program, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let stdout = child.stdout.take().expect("a pipe");
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for read in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.send(read).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn without_a_terminal_watching_prints_what_changes_and_nothing_else() {
    let stage = Stage::new("primary");
    stage.changes(1);
    let mut watch = stage.rolecall();
    watch.args(["status", "--watch"]).env("TZ", "XYZ-5:45");
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("rolecall");
    let lines = lines(&mut watch);
    let next = || lines.recv_timeout(PATIENCE).expect("a line");
    let host = host_name().unwrap_or_else(|| "local".to_owned());
    let first = next();
    assert!(first.ends_with(&format!(" XYZ  primary/{host}  READY: is primary")), "{first}");
    stage.role("replica");
    let second = next();
    assert!(second.ends_with(&format!("primary/{host}  MAINT: is replica")), "{second}");
    stage.role("primary");
    assert!(next().ends_with("READY: is primary"));
    let pid = Pid::from_child(&watch);
    kill_process(pid, Signal::TERM).expect("a signal");
    assert_eq!(watch.wait().expect("its end").code(), Some(0));
    assert!(lines.recv().is_err(), "nothing more was printed");
    assert!(!first.contains('\u{1b}') && !second.contains('\u{1b}'));
}

/// `rolecall status --watch` on a terminal of 80 columns, which `script` makes.
struct Watch {
    script: Child,
    keys: ChildStdin,
    drawn: Receiver<String>,
    seen: String,
}

impl Watch {
    /// `before`: words before the command. What comes after it shows how the terminal was left.
    fn start(stage: &Stage, before: &str) -> Self {
        let config = stage.path("rolecall.toml").display().to_string();
        let inside = format!(
            "stty rows 24 cols 80; found=$(stty -g); {before} {ROLECALL} --config {config} status --watch; \
             code=$?; test \"$found\" = \"$(stty -g)\" && echo left-as-found-$code"
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &inside, "/dev/null"]);
        script.env("NO_COLOR", "1").env("SHELL", "/bin/sh");
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut script = script.expect("script");
        let keys = script.stdin.take().expect("a pipe");
        let mut stdout = script.stdout.take().expect("a pipe");
        let (more, drawn) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut part) {
                let text = String::from_utf8_lossy(&part[..count]).into_owned();
                if more.send(text).is_err() {
                    return;
                }
            }
        });
        Self { script, keys, drawn, seen: String::new() }
    }

    /// Waits until this was drawn. Everything that was.
    fn until(&mut self, word: &str) -> &str {
        while !self.seen.contains(word) {
            let part = self.drawn.recv_timeout(PATIENCE);
            self.seen.push_str(&part.unwrap_or_else(|_| panic!("no {word:?} in {:?}", self.seen)));
        }
        &self.seen
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).expect("a key");
    }

    /// It has ended well and left the terminal as it was.
    fn ends(mut self) {
        let shown = self.until("left-as-found-0");
        let (drawn, after) = shown.rsplit_once("\u{1b}[?25h\u{1b}[?1049l").expect("it went back");
        assert!(drawn.contains("q ends") && !after.contains('\u{1b}'), "{shown:?}");
        drop(self.keys);
        self.script.wait().expect("its end");
    }
}

#[test]
fn on_a_terminal_it_is_drawn_in_place_until_q_is_pressed() {
    let stage = Stage::new("primary");
    stage.changes(1);
    let mut watch = Watch::start(&stage, "");
    watch.until("READY");
    stage.role("replica");
    let shown = watch.until("is replica");
    assert!(shown.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "the other screen: {shown:?}");
    for frame in shown.split("\u{1b}[H").skip(2) {
        assert!(!frame.contains("\u{1b}[2J"), "what is drawn again is not cleared: {frame:?}");
        for line in frame.split("\r\n") {
            let line = line.replace("\u{1b}[K", "").replace("\u{1b}[J", "");
            // In the last column the end of a line would be cleared with what stands behind it.
            let line = line.trim_end_matches('\r');
            assert!(line.chars().count() < 80, "{line:?}");
        }
    }
    watch.press("x");
    watch.press("q");
    watch.ends();
}

/// Ctrl-C, which comes as a key, and SIGTERM.
#[test]
fn however_watching_ends_the_terminal_is_left_as_it_was() {
    let stage = Stage::new("primary");
    let mut watch = Watch::start(&stage, "");
    watch.until("READY");
    watch.press("\u{3}");
    watch.ends();
    let mut watch = Watch::start(&stage, "timeout --foreground --preserve-status 2");
    watch.until("READY");
    watch.ends();
}

/// A daemon that is away is said to be, and shown again once it is back.
#[test]
fn a_daemon_that_goes_and_comes_back_is_watched_on() {
    let mut stage = Stage::new("primary");
    let mut watch = Watch::start(&stage, "");
    watch.until("READY");
    stage.rolecall.stop();
    watch.until("rolecall: ");
    stage.role("replica");
    stage.rolecall.start();
    watch.until("is replica");
    watch.press("q");
    watch.ends();
}
