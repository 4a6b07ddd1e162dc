//! `make soak`: every door of a daemon is attacked at once for as many minutes as the first argument
//! says, while those who ask properly are answered.
//!
//! Two nodes are healthy, one by a Patroni and one by a real PostgreSQL; all the others are ill or hostile.
//! Fails where an answer about the healthy ones is wrong or later than HAProxy waits, or where the
//! daemon grows after its warm-up. `ROLECALL_PROGRAM` names another rolecall.

mod attacks;
#[path = "../hostile/servers.rs"]
#[allow(dead_code, reason = "each target uses its own part")]
mod false_servers;
mod figures;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod scene;
mod servers;
#[path = "../demo/stage.rs"]
mod stage;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use attacks::Siege;
use figures::{Answers, Size, growth, middle, most};
use fixtures::{find_postgres, now, send};
use rustix::process::Signal;
use scene::{Scene, WELL};
use socket2::{Domain, Socket, Type};

/// Minutes without an argument.
const MINUTES: u64 = 30;
/// A day.
const MOST_MINUTES: u64 = 24 * 60;
/// How often each door is asked properly.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for an answer: what `timeout check` of the shipped files allows is 500 ms, and the
/// attackers have the same machine.
const WITHIN: Duration = Duration::from_secs(2);

/// What nobody asks.
static GARBAGE: [u8; 65536] = [b'x'; 65536];

fn main() -> ExitCode {
    stage::play(|| {
        let minutes = match std::env::args().nth(1).map(|n| n.parse()) {
            None => MINUTES,
            Some(Ok(n)) if (1..=MOST_MINUTES).contains(&n) => n,
            Some(_) => {
                eprintln!("usage: soak [MINUTES]   (1 to {MOST_MINUTES})");
                return ExitCode::from(64);
            }
        };
        let program = std::env::var_os("ROLECALL_PROGRAM").filter(|program| !program.is_empty());
        let program = program.map_or_else(|| beside("rolecall"), PathBuf::from);
        if find_postgres().is_none() || !program.is_file() {
            eprintln!("soak: PostgreSQL or {} is missing; hint: make soak", program.display());
            return ExitCode::from(69);
        }
        let scene = Scene::set(&program);
        soak(scene, Duration::from_secs(60 * minutes))
    })
}

/// The program that is built beside this one.
fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    own.ancestors().nth(2).expect("target/release").join(name)
}

/// The doors that are asked properly, and what came.
#[derive(Default)]
struct Asked {
    agents: [Answers; 2],
    questions: Answers,
    pages: Answers,
    status: Answers,
}

fn soak(mut scene: Scene, time: Duration) -> ExitCode {
    let (siege, asked) = (Siege::new(), Asked::default());
    let take_log = scene.log_taker();
    let mut sizes = Vec::new();
    let mut alive = true;
    let logged = std::thread::scope(|scope| {
        let log = scope.spawn(|| take_log(&siege));
        let (scene, siege, asked) = (&scene, &siege, &asked);
        attack(scope, scene, siege);
        ask_properly(scope, scene, siege, asked);
        let began = now();
        while now().since(began) < time && alive {
            let size = Size::of(scene.pid());
            alive = size.is_some();
            sizes.extend(size);
            if sizes.len() % 60 == 0 {
                minute(&sizes, asked, siege);
            }
            let next = Duration::from_secs(sizes.len() as u64);
            std::thread::sleep(next.saturating_sub(now().since(began)));
        }
        siege.end();
        // The one who takes the log goes on until the daemon ends.
        send(scene.pid(), Signal::TERM);
        log.join().expect("the log")
    });
    let ended = scene.ends_well();
    let mut against = report(&asked, &sizes, logged);
    if !(alive && ended) {
        against.push("the daemon ended by itself, or not at all at SIGTERM".to_owned());
    }
    for line in &against {
        println!("FAILED: {line}");
    }
    if against.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Scope<'a, 'b> = &'a std::thread::Scope<'a, 'b>;

/// Every door at once.
fn attack<'a>(scope: Scope<'a, '_>, scene: &'a Scene, siege: &'a Siege) {
    for node in 0..WELL.len() {
        scope.spawn(move || attacks::hold_tcp(siege, scene.agent(node), 300, b""));
        scope.spawn(move || attacks::storm(siege, scene.agent(node), &GARBAGE));
    }
    scope.spawn(move || attacks::hold_tcp(siege, scene.send(), 300, b"wri"));
    scope.spawn(move || attacks::storm(siege, scene.send(), &GARBAGE));
    scope.spawn(move || attacks::drip(siege, scene.send(), b"well primary but never to its end"));
    scope.spawn(move || {
        attacks::hold_tcp(siege, scene.http(), 100, b"GET /primary HTTP/1.1\r\nX: ");
    });
    scope.spawn(move || attacks::storm(siege, scene.http(), &GARBAGE));
    scope.spawn(move || {
        attacks::drip(siege, scene.http(), b"GET / HTTP/1.1\r\nHost: slow\r\nX: aaaaa");
    });
    scope.spawn(move || attacks::hold_unix(siege, &scene.control(), 20, b"{\"command\":"));
    scope.spawn(move || attacks::shout(siege, &scene.control(), &GARBAGE));
    scope.spawn(move || attacks::shout(siege, &scene.control(), b"{\"command\":\"status\"}\n"));
    scope.spawn(move || attacks::poke(siege, &scene.poke()));
    scope.spawn(move || {
        for number in 0.. {
            siege.rest(Duration::from_secs(5));
            if !siege.goes_on() {
                return;
            }
            scene.configure(number);
            send(scene.pid(), Signal::HUP);
        }
    });
    scope.spawn(move || {
        for number in 0.. {
            if !siege.goes_on() {
                return;
            }
            scene.change_rows(number);
            siege.rest(Duration::from_secs(2));
        }
    });
}

/// Asks this over and over, and notes what came.
fn ask_over_and_over(
    siege: &Siege,
    answers: &Answers,
    every: Duration,
    ask: impl Fn() -> Option<String>,
) {
    while siege.goes_on() {
        let began = now();
        let wrong = ask();
        let took = now().since(began);
        // What was asked while all ends is nobody's fault.
        if siege.goes_on() {
            if let Some(wrong) = &wrong {
                println!("wrong after {took:.1?} at load {}: {wrong}", load());
            }
            answers.note(took, wrong);
        }
        std::thread::sleep(every.saturating_sub(took));
    }
}

/// As HAProxy, a load balancer and an operator ask.
fn ask_properly<'a>(scope: Scope<'a, '_>, scene: &'a Scene, siege: &'a Siege, asked: &'a Asked) {
    for (node, answers) in asked.agents.iter().enumerate() {
        scope.spawn(move || {
            ask_over_and_over(siege, answers, ASKED_EVERY, || {
                unlike(answered(scene.friend(), scene.agent(node), b""), "READY\n")
            });
        });
    }
    scope.spawn(move || {
        ask_over_and_over(siege, &asked.questions, ASKED_EVERY, || {
            unlike(answered(scene.friend(), scene.send(), b"real primary\n"), "READY\n")
        });
    });
    scope.spawn(move || {
        let request = b"GET /primary/well HTTP/1.1\r\nHost: x\r\n\r\n";
        ask_over_and_over(siege, &asked.pages, ASKED_EVERY, || {
            unlike(answered(scene.friend(), scene.http(), request), "HTTP/1.1 200 OK")
        });
    });
    scope.spawn(move || {
        ask_over_and_over(siege, &asked.status, Duration::from_secs(2), || {
            let mut status = Command::new(scene.program());
            status.arg("--config").arg(scene.operators()).args(["status", "--json"]);
            let output = status.output().expect("rolecall");
            // 2 says that a node is ill.
            let told = output.status.code().is_some_and(|code| code <= 2);
            (!told)
                .then(|| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
        });
    });
}

fn unlike(said: std::io::Result<String>, wanted: &str) -> Option<String> {
    match said {
        Ok(said) if said.starts_with(wanted) => None,
        other => Some(format!("{other:?}")),
    }
}

/// What is answered to these words.
fn answered(from: SocketAddr, to: SocketAddr, words: &[u8]) -> std::io::Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), WITHIN)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(words)?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn load() -> String {
    let said = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    said.split(' ').next().unwrap_or_default().to_owned()
}

/// One line a minute.
fn minute(sizes: &[Size], asked: &Asked, siege: &Siege) {
    let last = sizes[sizes.len() - 1];
    let sums =
        [&asked.agents[0], &asked.agents[1], &asked.questions, &asked.pages].map(Answers::sum);
    let (answers, wrong) = (sums.iter().map(|s| s.asked), sums.iter().map(|s| s.wrong.len()));
    println!(
        "{:>4} min: {} answers, {} wrong; {} blows; {} KiB, {} descriptors, {} threads; load {}",
        sizes.len() / 60,
        answers.sum::<usize>(),
        wrong.sum::<usize>(),
        siege.blows.load(std::sync::atomic::Ordering::Relaxed),
        last.memory,
        last.descriptors,
        last.threads,
        load()
    );
}

/// The table at the end, and what speaks against the run.
fn report(asked: &Asked, sizes: &[Size], logged: usize) -> Vec<String> {
    let mut against = Vec::new();
    let doors = [
        ("agent, by Patroni", &asked.agents[0]),
        ("agent, by PostgreSQL", &asked.agents[1]),
        ("agent-send", &asked.questions),
        ("HTTP", &asked.pages),
        ("rolecall status", &asked.status),
    ];
    println!(
        "\n{:<22}{:>9}{:>7}{:>11}{:>11}{:>11}",
        "door", "answers", "wrong", "median", "p99.9", "slowest"
    );
    for (door, answers) in doors {
        let sum = answers.sum();
        let ms = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0);
        println!(
            "{door:<22}{:>9}{:>7}{:>11}{:>11}{:>11}",
            sum.asked,
            sum.wrong.len(),
            ms(sum.median),
            ms(sum.most),
            ms(sum.slowest)
        );
        if sum.asked == 0 {
            against.push(format!("{door}: nothing was asked"));
        }
        if let Some(first) = sum.wrong.first() {
            against.push(format!("{door}: {} wrong answers, such as {first}", sum.wrong.len()));
        }
    }
    let (warm, rest) = sizes.split_at(sizes.len() / 5);
    println!("\n{:<22}{:>12}{:>12}{:>12}", "after the warm-up", "warm-up", "most", "middle");
    let row = |name: &str, of: fn(&Size) -> u64| {
        println!("{name:<22}{:>12}{:>12}{:>12}", most(warm, of), most(rest, of), middle(rest, of));
    };
    row("memory, KiB", |size| size.memory);
    row("descriptors", |size| size.descriptors);
    row("threads", |size| size.threads);
    println!("{logged} bytes of log were taken; load {}", load());
    against.extend(growth(sizes));
    against
}
