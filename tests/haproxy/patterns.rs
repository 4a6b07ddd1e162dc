//! The shipped files: what each of them is, and what it says to operators and to rolecall.

use std::path::PathBuf;
use std::time::Duration;

use rolecall::config::Haproxy as Told;

use crate::fixtures::{AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, PG_PORT, names};

/// The agent port of the service for reads.
pub const REPLICA_PORT: u16 = 25556;
/// The port on which HAProxy takes clients that only read.
pub const READ_PORT: u16 = 25001;
/// HAProxy's place in the block of addresses.
pub const FRONT: u8 = 10;
/// The place of a rolecall that stands beside HAProxy.
const BESIDE: u8 = 11;

/// Where rolecall runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One on each node.
    EachNode,
    /// One beside HAProxy.
    BesideHaproxy,
}

/// One shipped file.
#[derive(Debug)]
pub struct Pattern {
    pub file: &'static str,
    /// A server's name without its number.
    pub server: &'static str,
    /// The variables of its servers.
    variables: &'static [&'static str],
    /// Whether there is a pool for reads.
    pub reads: bool,
    pub place: Place,
    /// What rolecall's death does, as the file has to say it.
    pub sentences: &'static [&'static str],
}

const PG: [&str; 3] = ["ROLECALL_PG1", "ROLECALL_PG2", "ROLECALL_PG3"];
const DB: [&str; 3] = ["ROLECALL_DB1", "ROLECALL_DB2", "ROLECALL_DB3"];

const WRITES: &str = "When rolecall dies on the primary, HAProxy takes the server DOWN within \
    2.5 s and cuts its sessions: nobody writes until rolecall is back. Then the \
    server comes in by itself. When rolecall dies on a standby, the standby stays in MAINT for \
    writes, also when it is promoted: nobody writes until rolecall is back.";
const READS: &str = "In the pool for reads a server whose rolecall dies goes DOWN in the same time, \
    and one that was in MAINT stays there.";
const EVERYTHING: &str = "When rolecall dies, everything is out: HAProxy takes the primary and every \
    replica that serves reads DOWN within 2.5 s and cuts their sessions, \
    and the other servers stay in MAINT, also one that is promoted meanwhile. Nobody writes or \
    reads until rolecall is back; then all comes back by itself.";

/// All of them.
pub const ALL: [Pattern; 7] = [
    Pattern {
        file: "haproxy.cfg",
        server: "pg",
        variables: PG.split_at(2).0,
        reads: false,
        place: Place::EachNode,
        sentences: &[WRITES],
    },
    Pattern {
        file: "patroni.cfg",
        server: "pg",
        variables: PG.split_at(2).0,
        reads: true,
        place: Place::EachNode,
        sentences: &[WRITES, READS],
    },
    Pattern {
        file: "repmgr.cfg",
        server: "db",
        variables: &DB,
        reads: false,
        place: Place::EachNode,
        sentences: &[WRITES],
    },
    Pattern {
        file: "pg_auto_failover.cfg",
        server: "db",
        variables: &DB,
        reads: false,
        place: Place::EachNode,
        sentences: &[WRITES],
    },
    Pattern {
        file: "repmgr-http.cfg",
        server: "db",
        variables: &DB,
        reads: true,
        place: Place::EachNode,
        sentences: &[WRITES, READS],
    },
    Pattern {
        file: "read-pool.cfg",
        server: "pg",
        variables: &PG,
        reads: true,
        place: Place::EachNode,
        sentences: &[WRITES, READS],
    },
    Pattern {
        file: "central.cfg",
        server: "pg",
        variables: &PG,
        reads: true,
        place: Place::BesideHaproxy,
        sentences: &[EVERYTHING],
    },
];

/// The pattern of `file`.
pub fn of(file: &str) -> &'static Pattern {
    ALL.iter().find(|p| p.file == file).expect("a file of the table")
}

impl Pattern {
    pub fn path(&self) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "haproxy", self.file].iter().collect()
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("a shipped file")
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u8 {
        u8::try_from(self.variables.len()).expect("few")
    }

    /// Node `id` in the pool for writes.
    pub fn rw(&self, id: u8) -> String {
        format!("postgres_rw/{}{id}", self.server)
    }

    /// Node `id` in the pool for reads.
    pub fn ro(&self, id: u8) -> String {
        format!("postgres_ro/{}{id}", self.server)
    }

    /// Every server of node `id`.
    pub fn servers_of(&self, id: u8) -> Vec<String> {
        let ro = self.reads.then(|| self.ro(id));
        [self.rw(id)].into_iter().chain(ro).collect()
    }

    /// The file's text for people: all comments, with one blank between words.
    pub fn prose(&self) -> String {
        let text = self.text();
        let comments = text.lines().filter_map(|l| l.trim_start().strip_prefix('#'));
        comments.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// The rolecall.toml that stands in the file's comments. A part of it begins with a table's
    /// header, indented by five blanks, and ends with the indentation.
    pub fn toml(&self) -> String {
        let (mut toml, mut inside) = (String::new(), false);
        for line in self.text().lines() {
            let comment = line.trim_start().strip_prefix('#');
            let indented = comment.and_then(|c| c.strip_prefix("     "));
            inside = match indented {
                Some(text) => inside || text.starts_with('['),
                None => inside && comment == Some(""),
            };
            if inside {
                toml += indented.unwrap_or_default();
                toml += "\n";
            }
        }
        toml
    }

    /// The value after `word` on the line of its `default-server`, or of its `timeout check`.
    pub fn setting(&self, line: &str, word: &str) -> String {
        let text = self.text();
        let found = text.lines().find(|l| l.trim_start().starts_with(line));
        let mut words = found.unwrap_or_default().split_whitespace();
        let value = words.find(|w| *w == word).and_then(|_| words.next());
        value.unwrap_or_else(|| panic!("{}: no `{word}` at `{line}`", self.file)).to_owned()
    }

    /// How long the server of a rolecall that is dead or hangs may stay in at most, by what the file says.
    pub fn falls_within(&self) -> Duration {
        self.told().memory()
    }

    /// From the beginning of one check to that of the next, where nothing answers.
    pub fn round(&self) -> Duration {
        self.told().agent_inter + self.told().check_timeout
    }

    /// What a rolecall is told of HAProxy.
    fn told(&self) -> Told {
        let time = |text: &str| humantime::parse_duration(text).expect("a time");
        Told {
            agent_inter: time(&self.setting("default-server", "inter")),
            check_fall: self.setting("default-server", "fall").parse().expect("a number"),
            check_timeout: time(&self.setting("timeout check", "check")),
            version: (2, 6),
            socket: "/run/haproxy/admin.sock".into(),
        }
    }

    /// Fills the file's variables.
    pub fn addresses(&self, ground: &Ground) -> Vec<(&'static str, String)> {
        let server =
            |(name, id): (&&'static str, u8)| (*name, ground.addr(id, PG_PORT).to_string());
        let mut env: Vec<_> = self.variables.iter().zip(1..).map(server).collect();
        env.extend([
            ("ROLECALL_HOST", ground.host(BESIDE).to_string()),
            ("ROLECALL_AGENT_PORT", AGENT_PORT.to_string()),
            ("ROLECALL_REPLICA_PORT", REPLICA_PORT.to_string()),
            ("ROLECALL_HTTP_PORT", HTTP_PORT.to_string()),
            ("ROLECALL_BIND_RW", ground.addr(FRONT, FRONT_PORT).to_string()),
            ("ROLECALL_BIND_RO", ground.addr(FRONT, READ_PORT).to_string()),
        ]);
        env
    }

    /// As [`Self::addresses`], the servers by their names.
    pub fn names(&self, ground: &Ground) -> Vec<(&'static str, String)> {
        names::named(ground, self.addresses(ground))
    }

    /// The configuration of the rolecall of node `id`, or of the one beside HAProxy, where it is read:
    /// the file's own, with a source that reads a role from the file `role` of each node, addresses
    /// of this ground, and a place for orders. Limits of a lag go, since such a source knows none.
    pub fn config(&self, ground: &Ground, id: u8) -> String {
        let source = |id: u8| {
            let role = role_file(ground, id);
            format!(
                "kind = \"command\"\ncommand = [\"/bin/cat\", \"{}\"]\ninterval = \"200ms\"",
                role.display()
            )
        };
        let host = match self.place {
            Place::EachNode => id,
            Place::BesideHaproxy => BESIDE,
        };
        let listen = |port| format!("listen = \"{}\"", ground.addr(host, port));
        let (mut config, mut table, mut node) = (String::new(), String::new(), 0);
        for line in self.toml().lines() {
            if line.starts_with('[') {
                line.clone_into(&mut table);
                node += u8::from(line == "[[node]]");
            }
            let (key, value) = line.split_once('=').unwrap_or_default();
            let written = match (table.as_str(), key.trim()) {
                ("[source]" | "[defaults]", _) | (_, "max_lag" | "resume_lag") => continue,
                ("[[node]]", "source") => {
                    format!("source = {{ {} }}", source(node).replace('\n', ", "))
                }
                (_, "listen") if value.contains("5555\"") => listen(AGENT_PORT),
                (_, "listen") if value.contains("5556\"") => listen(REPLICA_PORT),
                (_, "listen") if value.contains("5580\"") => listen(HTTP_PORT),
                _ => line.to_owned(),
            };
            config += &written;
            config += "\n";
        }
        if !config.contains("[[service]]") {
            // What rolecall does unasked, at an address of its own.
            config += "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n";
            config += &listen(AGENT_PORT);
            config += "\n";
        }
        if self.place == Place::EachNode {
            config = format!("{config}[source]\n{}\n", source(id));
        }
        let dir = ground.dir().display();
        format!(
            "{config}[control]\nsocket = \"{dir}/control{id}.sock\"\n\
             state = \"{dir}/orders{id}.json\"\n"
        )
    }
}

/// Where the role of node `id` stands.
pub fn role_file(ground: &Ground, id: u8) -> PathBuf {
    ground.dir().join(format!("role{id}"))
}
