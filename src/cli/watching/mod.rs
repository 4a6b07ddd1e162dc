//! `rolecall status --watch`: the status again every second.
//!
//! On a terminal it is drawn in place, until q is pressed or a signal comes. Elsewhere one line is printed for each
//! service of each node, and one more whenever what it is told changes.

mod terminal;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::overview;
use crate::cli::when::Zone;
use crate::cli::words::{self, answer_of, cut, list, why, width, word, wrapped};
use crate::control::protocol::{self, Question};
use crate::host::failure::{Exit, Failure};
use crate::host::own_name;
use terminal::Screen;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Keys that may wait.
const KEYS_WAITING: usize = 8;
/// q, and what a terminal sends for Ctrl-C and Ctrl-D.
const END_KEYS: [u8; 4] = [b'q', b'Q', 3, 4];

/// What was asked for, and answered.
type Asked = Result<Value, Failure>;

/// Watches until somebody ends it.
///
/// # Errors
/// The terminal cannot be written to.
pub(super) fn watch(socket: &Path, colour: bool) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let signals = Signals::new()?;
        let answers = asking(socket);
        if io::stdout().is_terminal() {
            draw(answers, signals, colour).await
        } else {
            print_changes(answers, signals).await
        }
    });
    // A daemon that does not answer must not keep it from ending.
    runtime.shutdown_background();
    match done {
        // Whoever read it has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|error| {
            let what = format_args!("cannot write to standard output: {error}");
            Failure::new(Exit::Unavailable, what)
        }),
    }
}

/// Asks again and again, on threads that nobody waits for.
fn asking(socket: &Path) -> mpsc::Receiver<Asked> {
    let (answered, answers) = mpsc::channel(1);
    let socket = socket.to_owned();
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let socket = socket.clone();
            let ask = move || protocol::ask(&socket, &Question::Status);
            let asked = tokio::task::spawn_blocking(ask).await;
            let asked = asked.unwrap_or_else(|error| Err(Failure::new(Exit::Internal, error)));
            if answered.send(asked).await.is_err() {
                return;
            }
        }
    });
    answers
}

/// The signals that end it, and the one that says that the window has another size.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    resized: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            resized: signal(SignalKind::window_change())?,
        })
    }

    /// Whether the next one ends it.
    async fn end(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => true,
            _ = self.hang_up.recv() => true,
            _ = self.resized.recv() => false,
        }
    }
}

/// The keys that are pressed, where there is a keyboard.
fn keys() -> mpsc::Receiver<u8> {
    let (pressed, keys) = mpsc::channel(KEYS_WAITING);
    // It ends with the process.
    let read = move || {
        let (mut stdin, mut key) = (io::stdin().lock(), [0]);
        while let Ok(1) = stdin.read(&mut key) {
            if pressed.blocking_send(key[0]).is_err() {
                return;
            }
        }
    };
    if io::stdin().is_terminal() {
        // Without it a signal still ends everything.
        let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(read);
    }
    keys
}

/// Draws each answer on the terminal.
async fn draw(
    mut answers: mpsc::Receiver<Asked>,
    mut signals: Signals,
    colour: bool,
) -> io::Result<()> {
    let screen = Screen::take()?;
    let mut keys = keys();
    let (host, zone) = (own_name::host_name(), Zone::of_this_host());
    let mut shown = "asking the running rolecall".to_owned();
    let mut last = None;
    loop {
        tokio::select! {
            ends = signals.end() => if ends { return Ok(()) },
            Some(key) = keys.recv() => if END_KEYS.contains(&key) { return Ok(()) },
            answer = answers.recv() => match answer {
                Some(answer) => last = Some(answer),
                None => return Ok(()),
            }
        }
        // In the last column the end of a line would be cleared with what stands behind it.
        let width = width().map(|width| width.saturating_sub(1));
        if let Some(last) = &last {
            let head = cut(&format!("{}   q ends", zone.now()), width);
            let body = match last {
                Ok(status) => {
                    let look = overview::Look { colour, width, host: host.as_deref() };
                    overview::text(status, &look)
                }
                Err(failure) => {
                    wrapped(&format!("rolecall: {failure}").replace('\n', " "), 0, width)
                }
            };
            shown = format!("{head}\n{body}");
        }
        screen.draw(&shown)?;
    }
}

/// What each service was told last, by service and node.
type Told = BTreeMap<String, String>;

/// Prints a line for each service, and again when what it is told changes.
async fn print_changes(mut answers: mpsc::Receiver<Asked>, mut signals: Signals) -> io::Result<()> {
    let (host, zone) = (own_name::host_name(), Zone::of_this_host());
    let mut told = Told::new();
    let mut silent = None;
    loop {
        let answer = tokio::select! {
            ends = signals.end() => if ends { return Ok(()) } else { continue },
            answer = answers.recv() => match answer {
                Some(answer) => answer,
                None => return Ok(()),
            }
        };
        let lines = match answer {
            Ok(status) => {
                silent = None;
                changes(&mut told, &status, host.as_deref())
            }
            Err(failure) => {
                let what = failure.to_string().replace('\n', " ");
                let news = silent.as_ref() != Some(&what);
                // Whatever it says once it answers again is news.
                told.clear();
                silent = Some(what.clone());
                if news { vec![format!("rolecall: {what}")] } else { Vec::new() }
            }
        };
        let mut stdout = io::stdout().lock();
        for line in lines {
            writeln!(stdout, "{}  {line}", zone.now())?;
        }
        stdout.flush()?;
    }
}

/// What is told otherwise than before, in a line each.
fn changes(told: &mut Told, status: &Value, host: Option<&str>) -> Vec<String> {
    let mut now = Told::new();
    let mut lines = Vec::new();
    for node in list(&status["nodes"]) {
        let name = words::node(&word(&node["node"]), host);
        for service in list(&node["services"]) {
            let called = format!("{}/{name}", word(&service["service"]));
            let is = format!("{} {}", answer_of(service), word(&service["reason"]));
            if told.get(&called) != Some(&is) {
                lines.push(format!("{called}  {}: {}", answer_of(service), why(service)));
            }
            now.insert(called, is);
        }
    }
    let gone = told.keys().filter(|called| !now.contains_key(*called));
    lines.extend(gone.map(|called| format!("{called}  not watched")));
    *told = now;
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_is_told_and_nothing_else() {
        let status = |state: &str, reason: &str, services: &[&str]| {
            let services = services.iter().map(|name| {
                json!({ "service": name, "state": state, "reason": reason, "detail": "in words" })
            });
            json!({ "nodes": [{ "node": "local", "services": services.collect::<Vec<_>>() }] })
        };
        let mut told = Told::new();
        let mut changes = |status: &Value| changes(&mut told, status, Some("db1"));
        let ready = status("ready", "serves", &["primary", "replica"]);
        let all = ["primary/db1  READY: in words", "replica/db1  READY: in words"];
        assert_eq!(changes(&ready), all);
        assert!(changes(&ready).is_empty());
        assert_eq!(
            changes(&status("unknown", "timeout", &["primary"])),
            ["primary/db1  MAINT (unknown): in words", "replica/db1  not watched"]
        );
        assert_eq!(changes(&status("unknown", "server_down", &["primary"])).len(), 1);
    }
}
