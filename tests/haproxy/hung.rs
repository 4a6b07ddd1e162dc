//! How long HAProxy goes on believing a rolecall that says nothing any more, while its port still takes
//! connections: a stopped process, and one that was killed while its unit holds the socket.

use std::path::Path;
use std::time::Duration;

use rolecall::look::stamp::Stamp;
use rustix::process::Signal;

use crate::fixtures::{AGENT_PORT, Ground, Haproxy, Rolecall, Server, held, now, say};
use crate::patterns::{Pattern, role_file};
use crate::stage::{ROLECALL, SOON};

/// How it falls silent, and comes back.
struct Story {
    name: &'static str,
    ends: fn(&mut Rolecall),
    returns: fn(&mut Rolecall),
}

const STORIES: [Story; 2] = [
    Story {
        name: "stopped",
        ends: |rolecall| rolecall.signal(Signal::STOP),
        returns: |rolecall| rolecall.signal(Signal::CONT),
    },
    Story { name: "killed, its socket held", ends: Rolecall::kill9, returns: Rolecall::start },
];

/// Silences the rolecall of a primary so many times, at moments that are spread over the rhythm of the
/// checks, and asserts that its server was always DOWN as soon as rolecall reckons; what it measured.
pub fn play(pattern: &Pattern, (version, program): (&str, &Path), runs: u32) {
    let ground = Ground::new();
    std::fs::write(role_file(&ground, 1), "primary").expect("role");
    let held = vec![held(ground.addr(1, AGENT_PORT))];
    let config = pattern.config(&ground, 1);
    let mut rolecall = Rolecall::new(&ground, "rolecall1", ROLECALL, &config).sockets(held);
    rolecall.start();
    let haproxy = Haproxy::start(&ground, program, &pattern.path(), &pattern.addresses(&ground));
    let server = pattern.rw(1);
    let (most, round) = (pattern.falls_within(), pattern.round());
    for story in STORIES {
        let mut took: Vec<Duration> = Vec::new();
        for run in 0..runs {
            let well = |s: &Server| s.status == "UP" && s.check_status == "L7OK";
            haproxy.wait(&server, SOON, "is up", well);
            // The companion has passed; the silence begins at another moment of a round each time.
            std::thread::sleep(round + round * run / runs);
            let silent: Stamp = now();
            (story.ends)(&mut rolecall);
            haproxy.wait(&server, SOON, "is down", Server::is_down);
            took.push(now().since(silent));
            (story.returns)(&mut rolecall);
        }
        took.sort();
        let (least, median) = (took[0], took[took.len() / 2]);
        let longest = took[took.len() - 1];
        say(&format!(
            "{} on {version}, {}: DOWN after {least:.2?}, {median:.2?}, {longest:.2?} (least, median, most of {runs}); \
             rolecall reckons with {most:.2?}",
            pattern.file, story.name
        ));
        assert!(longest <= most, "{}: {took:?}, and rolecall reckons with {most:?}", story.name);
    }
}
