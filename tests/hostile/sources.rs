//! Whatever the others do that rolecall asks, and wherever it writes: a healthy node stays READY, and no
//! secret goes to anybody. Each case is one of `H1` to `H20` of what broke on release 0.1.0.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dns::Dns;
use crate::fixtures::{
    AGENT_PORT, Ground, Heard, Postgres, ask, eventually, lacks_namespaces, lacks_postgres, now,
};
use crate::servers::{self, AS_MD5, IN_CLEAR, Server, challenge, error, message, startup};
use crate::well::{PASSWORD, PATIENCE, Well, postgres, program, says};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// How long a case goes on: several times the longest `hold` of the healthy node.
pub const ATTACK: Duration = Duration::from_secs(8);

/// The shipped unit's `TasksMax`, and nodes that are known by name, as many as it has to serve.
const TASKS: u32 = 64;
const NAMED: u8 = 80;

#[test]
fn h01_names_that_do_not_resolve_any_more_take_no_healthy_node_out() {
    if lacks_namespaces() {
        return;
    }
    let ground = Ground::new();
    let patroni = servers::patroni(ground.addr(6, 28008));
    let dns = Dns::start(ground.addr(12, 53), ground.host(6));
    let conf = ground.write("resolv.conf", &format!("nameserver {}\n", ground.host(12)));
    let switch = ground.write("nsswitch.conf", "hosts: dns\n");
    // What a unit's TasksMax is for all of its processes, RLIMIT_NPROC is for all of a user's, and of an ordinary
    // user's for those in its namespace. Root needs a user of its own for that.
    let (more, user) = if rustix::process::geteuid().is_root() {
        let user = 52_000 + std::process::id() % 5_000;
        ("", format!("setpriv --reuid={user} --regid={user} --clear-groups"))
    } else {
        ("--user --map-root-user ", String::new())
    };
    let script = format!(
        "exec unshare {more}--mount --propagation private sh -c 'mount --bind {} /etc/resolv.conf && \
         mount --bind {} /etc/nsswitch.conf && exec {user} prlimit --nproc={TASKS} {} \"$@\"' sh \"$@\"",
        conf.display(),
        switch.display(),
        reachable(&ground)
    );
    let script = Well::script(&ground, &script);
    let nodes = (0..NAMED).fold(String::new(), |mut text, n| {
        let url = format!("http://n{n}.test:28008");
        let source = format!("source = {{ kind = \"patroni\", url = \"{url}\" }}");
        let _ = write!(text, "[[node]]\nname = \"n{n}\"\n{source}\n");
        text
    });
    let mut well = Well::by("H1", ground, script.to_str().unwrap(), &nodes);
    well.start();
    let asked = |n: u8| question(&well, &format!("n{n} primary\n"));
    for n in 0..NAMED {
        eventually(PATIENCE, "READY", || match asked(n) {
            said if said == "READY\n" => Ok(()),
            said => Err(said),
        });
    }
    let meanwhile = well.meanwhile();
    dns.be_silent();
    let began = now();
    let (mut all, mut wrong) = (0, 0);
    while now().since(began) < ATTACK * 2 {
        for n in 0..NAMED {
            all += 1;
            wrong += i32::from(asked(n) != "READY\n");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    well.figure(&format!("{wrong} of {all} answers about nodes known by name are wrong"));
    meanwhile.was_ready();
    assert_eq!(wrong, 0, "{}", well.rolecall.log());
    drop(patroni);
}

/// The program where a user without rights can reach it.
fn reachable(ground: &Ground) -> String {
    let copy = ground.dir().join("rolecall");
    std::fs::copy(program(), &copy).unwrap();
    copy.display().to_string()
}

/// What is said to a question about a node.
fn question(well: &Well, words: &str) -> String {
    let mut said = String::new();
    let asked = TcpStream::connect(well.questions()).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(words.as_bytes())?;
        stream.read_to_string(&mut said)
    });
    asked.map_or_else(|error| error.to_string(), |_| said)
}

#[test]
fn h02_a_log_that_nobody_takes_keeps_it_from_nothing() {
    let ground = Ground::new();
    let pipe = ground.dir().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Nobody ever reads here; with this end open nobody is refused.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let mut open = std::fs::File::options();
    let _reader = open.read(true).custom_flags(nonblock).open(&pipe).unwrap();
    let role = ground.write("role", "primary");
    let ill = ground.addr(3, AGENT_PORT);
    let start = format!("exec {} \"$@\" 2>{}", program(), pipe.display());
    let script = Well::script(&ground, &start);
    let node = format!(
        "[[node]]\nname = \"ill\"\nlisten = {{ primary = \"{ill}\" }}\n\
         source = {{ kind = \"command\", command = [\"/bin/cat\", \"{}\"], interval = \"100ms\", \
         hold = \"0s\" }}\n",
        role.display()
    );
    let mut well = Well::by("H2", ground, script.to_str().unwrap(), &node);
    well.start();
    says(ill, "READY\n");
    let mut writer = std::fs::File::options();
    let mut writer = writer.write(true).custom_flags(nonblock).open(&pipe).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}

    let meanwhile = well.meanwhile();
    let began = now();
    let (mut turns, mut slowest) = (0, Duration::ZERO);
    while now().since(began) < ATTACK {
        for (word, line) in [("replica", "MAINT\n"), ("primary", "READY\n")] {
            std::fs::write(&role, word).unwrap();
            let changed = now();
            while ask(ill, Duration::from_secs(1)).heard != Heard::Said(line.to_owned())
                && now().since(changed) < Duration::from_secs(3)
            {}
            (turns, slowest) = (turns + 1, slowest.max(now().since(changed)));
        }
    }
    well.figure(&format!("{turns} changes of another node, the slowest known after {slowest:.1?}"));
    meanwhile.was_ready();
    assert!(turns > 4 && slowest < Duration::from_secs(2), "{turns} {slowest:?}");
    assert!(well.rolecall.stop().success());
}

#[test]
fn h05_who_proves_nothing_is_believed_nothing() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    // Whoever answers at its address lets everybody in and says that it is a primary.
    let mut impostor = Postgres::init(&ground, "impostor", ground.host(7));
    impostor.start();
    impostor.execute("create role u login");
    impostor.execute("create database d");
    let agent = ground.addr(3, AGENT_PORT);
    let with = format!("password={PASSWORD} sslmode=disable");
    let node = postgres("other", impostor.addr(), &with);
    let node = format!("{node}listen = {{ primary = \"{agent}\" }}\n");
    let mut well = Well::beside("H5", ground, &node);
    well.start();
    let meanwhile = well.meanwhile();
    let (mut all, mut believed) = (0, 0);
    let began = now();
    while now().since(began) < ATTACK {
        all += 1;
        believed += i32::from(ask(agent, PATIENCE).heard == Heard::Said("READY\n".to_owned()));
        std::thread::sleep(Duration::from_millis(20));
    }
    well.figure(&format!("{believed} of {all} answers believe a server that proved nothing"));
    meanwhile.was_ready();
    assert_eq!(believed, 0);
    well.rolecall.wait_log(PATIENCE, &["poll failed", "unproven"]);
}

#[test]
fn h06_nobody_is_told_the_password_in_clear_or_as_md5() {
    let ground = Ground::new();
    let told: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let asks: [(&str, u8, &'static [u8]); 2] = [("clear", 6, IN_CLEAR), ("md5", 7, AS_MD5)];
    let servers = asks.map(|(_, host, words)| {
        let told = Arc::clone(&told);
        Server::start(ground.addr(host, 25432), move |stream, _| {
            startup(stream)?;
            stream.write_all(words)?;
            stream.read_exact(&mut [0])?;
            let proof = message(stream)?;
            told.lock().unwrap().push(proof);
            Ok(())
        })
    });
    let with = format!("password={PASSWORD}");
    let nodes = asks.map(|(name, host, _)| postgres(name, ground.addr(host, 25432), &with));
    let mut well = Well::beside("H6", ground, &nodes.concat());
    well.start();
    let meanwhile = well.meanwhile();
    let came = || servers.iter().map(Server::served).sum::<u64>();
    eventually(PATIENCE, "looks at both", || match came() {
        few if few < 16 => Err(few),
        _ => Ok(()),
    });
    let told = told.lock().unwrap().clone();
    well.figure(&format!("told a password {} times in {} looks", told.len(), came()));
    meanwhile.was_ready();
    assert!(told.is_empty(), "{:?}", String::from_utf8_lossy(&told[0]));
}

/// Peers, each of which asks for as much work as the bound on iterations allows, each time anew.
const GREEDY: u64 = 128;
/// How often systemd wants to hear of it.
const WATCHDOG: Duration = Duration::from_secs(10);

#[test]
fn h08_work_that_others_choose_delays_no_look_and_no_heartbeat() {
    let ground = Ground::new();
    let server = Server::start(ground.addr(6, 25432), |stream, number| {
        startup(stream)?;
        challenge(stream, number, 100_000)
    });
    let with = format!("password={PASSWORD} sslmode=disable");
    let nodes: String =
        (0..GREEDY).map(|n| postgres(&format!("n{n}"), server.at(), &with)).collect();
    let mut well = Well::beside("H8", ground, &nodes);
    well.rolecall = well.rolecall.env("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string());
    well.start();
    let mark = well.rolecall.notifications().mark();
    let (meanwhile, began) = (well.meanwhile(), now());
    std::thread::sleep(ATTACK * 2);
    let heard = well.rolecall.notifications().since(mark);
    let beats = heard.iter().filter(|said| said.has("WATCHDOG=1")).map(|said| said.at);
    let (mut silence, mut last) = (Duration::ZERO, began);
    for beat in beats.chain([now()]) {
        (silence, last) = (silence.max(beat.since(last)), beat);
    }
    well.figure(&format!("the longest time without a heartbeat is {silence:.1?}"));
    meanwhile.was_ready();
    assert!(silence < WATCHDOG, "{silence:?}");
}

#[test]
fn h11_what_a_server_says_of_its_errors_fills_no_log_and_no_page() {
    let ground = Ground::new();
    let server = Server::start(ground.addr(6, 25432), |stream, number| {
        startup(stream)?;
        let code = if number % 2 == 0 { "A" } else { "B" };
        stream.write_all(&error(&code.repeat(120_000), &"c".repeat(120_000)))
    });
    let node = postgres("other", server.at(), "sslmode=disable");
    let mut well = Well::beside("H11", ground, &node);
    well.start();
    let meanwhile = well.meanwhile();
    let before = well.rolecall.log().len();
    let began = now();
    std::thread::sleep(ATTACK);
    let logged = well.rolecall.log().len() - before;
    let seconds = now().since(began).as_secs();
    let page = well.page("/status").len();
    well.figure(&format!("{logged} bytes of log in {seconds} s, {page} bytes of /status"));
    meanwhile.was_ready();
    assert!(server.served() > 8, "{}", server.served());
    assert!(logged < 16 * 1024 && page < 16 * 1024, "{logged} {page}");
}

/// Questions whose CPU is measured, and what one may cost: several times what it does in a build without
/// optimisation, and a third of what it did where the end of a connection was read over and over.
const QUESTIONS: u64 = 1000;
const COST: Duration = Duration::from_micros(400);

#[test]
fn h12_an_asker_that_closes_its_side_costs_no_more_than_another() {
    let mut well = Well::beside("H12", Ground::new(), "");
    well.start();
    let cost = |closes: bool| {
        let before = well.costs().1;
        for _ in 0..QUESTIONS {
            let mut stream = TcpStream::connect(well.questions()).unwrap();
            stream.write_all(b"well primary\n").unwrap();
            if closes {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert_eq!(said, "READY\n");
        }
        well.costs().1 - before
    };
    let meanwhile = well.meanwhile();
    let (stays, closes) = (cost(false), cost(true));
    well.figure(&format!(
        "{QUESTIONS} questions: {stays} ms of CPU, {closes} ms where the asker closes"
    ));
    meanwhile.was_ready();
    for ms in [stays, closes] {
        assert!(Duration::from_millis(ms) / 1000 < COST, "{ms} ms for {QUESTIONS} questions");
    }
}
