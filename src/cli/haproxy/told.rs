//! What a HAProxy says of itself, read from its own texts: `show info`, `show stat` and `show servers state`, one
//! after another, in any order. The first and the last may be missing.
//!
//! Who writes them may be anybody who can write to the pipe: the texts are bounded, and each is made fit to be shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::look::text;

/// Most bytes that are read of a HAProxy's texts: some ten thousand servers.
pub const MOST_TEXT: usize = 8 * 1024 * 1024;

/// Most servers that are compared; a HAProxy with more is not one for databases.
pub const MOST_SERVERS: usize = 4096;

/// Most bytes of a name or a word of it that are kept.
pub const MOST_FIELD: usize = 128;

/// What is asked of a HAProxy. Its answers come one after another.
pub const QUESTION: &str = "show info;show stat;show servers state\n";

/// A version of HAProxy, as far as it is numbers: `2.6.12`, and none of what a distribution adds.
pub type Version = (u32, u32, u32);

/// What a HAProxy says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Its version, where `show info` is there.
    pub version: Option<Version>,
    /// The day of its release as year, month and day, where it says that.
    pub released: Option<(u32, u32, u32)>,
    /// Its servers, in its own order.
    pub servers: Vec<Server>,
    /// Whether `show servers state` is there, which alone tells ports.
    pub has_ports: bool,
}

/// A server of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// The name of its backend or `listen`.
    pub pool: String,
    /// Its own name.
    pub name: String,
    /// As HAProxy shows it: `UP`, `MAINT`, `DOWN (agent)`, `no check` ...
    pub status: String,
    /// Its weight.
    pub weight: Option<u32>,
    /// Whether it is a `backup`.
    pub backup: bool,
    /// For how many seconds its status has been this one.
    pub since: Option<u64>,
    /// The result of the last agent check: `CHECKED`, `L4CON` ...; empty where none is run.
    pub agent_status: String,
    /// 0 where the agent has it DOWN, though the last answer may say no such word.
    pub agent_health: Option<u32>,
    /// What HAProxy keeps of the agent's words.
    pub agent_said: String,
    /// The result of the last health check, and what HAProxy keeps of it.
    pub check_status: String,
    /// See `check_status`.
    pub check_said: String,
    /// What `show servers state` says of it, where that is there.
    pub state: Option<State>,
}

/// What `show servers state` says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Where its agent is asked, where that is an address.
    pub agent_addr: Option<IpAddr>,
    /// The port of its agent; 0: none.
    pub agent_port: u16,
    /// Whether it has an agent check.
    pub agent_configured: bool,
    /// Whether the agent check runs: not after `disable agent`.
    pub agent_enabled: bool,
}

/// Bits of `srv_agent_state` (HAProxy's check-t.h).
const CONFIGURED: u32 = 0x02;
const ENABLED: u32 = 0x04;

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It has no `show stat`.
    #[error(
        "this is no answer of HAProxy to `show stat`: the line that begins with \"# pxname,svname\" is missing"
    )]
    NoStatistics,
    /// It has very many servers.
    #[error("more than {MOST_SERVERS} servers are there")]
    TooMany,
    /// It is longer than is read.
    #[error("it is longer than {MOST_TEXT} bytes")]
    TooLong,
}

/// Which of the texts a line belongs to.
enum Part<'t> {
    Info,
    Statistics(Vec<&'t str>),
    States(Vec<&'t str>),
}

/// Reads the texts of a HAProxy.
///
/// # Errors
/// There is no `show stat` among them, or they are beyond a bound.
pub fn read(said: &str) -> Result<Told, Unread> {
    if said.len() > MOST_TEXT {
        return Err(Unread::TooLong);
    }
    let mut told = Told::default();
    let mut states = BTreeMap::new();
    let mut statistics = false;
    let mut part = Part::Info;
    for line in said.lines() {
        let head = line.strip_prefix("# ");
        if let Some(head) = head.filter(|head| head.starts_with("pxname,svname,")) {
            statistics = true;
            part = Part::Statistics(head.split(',').collect());
        } else if let Some(head) = head.filter(|head| head.starts_with("be_id be_name ")) {
            told.has_ports = true;
            part = Part::States(head.split(' ').collect());
        } else if line.is_empty() {
            part = Part::Info;
        } else {
            match &part {
                Part::Info => told.info(line),
                Part::Statistics(names) => told.servers.extend(server(names, line)),
                Part::States(names) => states.extend(state(names, line)),
            }
            if told.servers.len() > MOST_SERVERS || states.len() > MOST_SERVERS {
                return Err(Unread::TooMany);
            }
        }
    }
    if !statistics {
        return Err(Unread::NoStatistics);
    }
    for server in &mut told.servers {
        server.state = states.get(&(server.pool.clone(), server.name.clone())).copied();
    }
    Ok(told)
}

impl Told {
    /// A line of `show info`.
    fn info(&mut self, line: &str) {
        match line.split_once(": ") {
            Some(("Version", version)) => self.version = numbers(version, '.'),
            Some(("Release_date", day)) => self.released = numbers(day, '/'),
            _ => {}
        }
    }
}

/// The first three numbers of a text; what a distribution adds to the last one is passed over, and a part that a
/// version does not have is 0.
fn numbers(text: &str, between: char) -> Option<(u32, u32, u32)> {
    let number = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part.get(..end)?.parse::<u32>().ok()
    };
    let mut parts = text.splitn(3, between);
    let (first, second) = (number(parts.next()?)?, number(parts.next()?)?);
    Some((first, second, parts.next().and_then(number).unwrap_or(0)))
}

fn kept(field: &str) -> String {
    text::plain(field, MOST_FIELD)
}

/// A row of `show stat`, where it is that of a server.
fn server(names: &[&str], line: &str) -> Option<Server> {
    let fields = fields(line);
    let field = |name: &str| {
        let at = names.iter().position(|of| *of == name)?;
        fields.get(at).map(String::as_str)
    };
    // Frontends, backends and listeners have rows too.
    if field("type") != Some("2") {
        return None;
    }
    let text = |name: &str| kept(field(name).unwrap_or_default());
    let number = |name: &str| field(name).and_then(|number| number.parse().ok());
    // A check that runs is marked so.
    let checked = |name: &str| kept(field(name).unwrap_or_default().trim_start_matches("* "));
    Some(Server {
        pool: text("pxname"),
        name: text("svname"),
        status: text("status"),
        weight: number("weight"),
        backup: number("bck").is_some_and(|backup: u32| backup > 0),
        since: field("lastchg").and_then(|seconds| seconds.parse().ok()),
        agent_status: checked("agent_status"),
        agent_health: number("agent_health"),
        agent_said: text("last_agt"),
        check_status: checked("check_status"),
        check_said: text("last_chk"),
        state: None,
    })
}

/// The fields of a line. A quoted one may hold commas, and a doubled quote in it stands for one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut signs = line.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' if quoted && signs.peek() == Some(&'"') => {
                signs.next();
                push(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            sign => push(&mut fields, sign),
        }
    }
    fields
}

fn push(fields: &mut [String], sign: char) {
    if let Some(last) = fields.last_mut() {
        last.push(sign);
    }
}

/// A row of `show servers state`.
fn state(names: &[&str], line: &str) -> Option<((String, String), State)> {
    let fields: Vec<&str> = line.split(' ').collect();
    let field = |name: &str| {
        let at = names.iter().position(|of| *of == name)?;
        fields.get(at).copied()
    };
    let address = |name: &str| field(name)?.parse::<IpAddr>().ok().map(|addr| addr.to_canonical());
    let agent: u32 = field("srv_agent_state")?.parse().ok()?;
    let state = State {
        // Where no other is given, at the server's own.
        agent_addr: address("srv_agent_addr").or_else(|| address("srv_addr")),
        agent_port: field("srv_agent_port").and_then(|port| port.parse().ok()).unwrap_or(0),
        agent_configured: agent & CONFIGURED != 0,
        agent_enabled: agent & ENABLED != 0,
    };
    Some(((kept(field("be_name")?), kept(field("srv_name")?)), state))
}

impl Server {
    /// Whether it gets connections: UP, whatever its next check may say, or not checked at all.
    pub fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check"
    }

    /// Whether it is in maintenance.
    pub fn is_maint(&self) -> bool {
        self.status.starts_with("MAINT")
    }

    /// Whether it keeps its sessions and gets no new ones.
    pub fn is_draining(&self) -> bool {
        self.status.starts_with("DRAIN") || (self.is_up() && self.weight == Some(0))
    }

    /// Whether the last agent check was answered with a line that HAProxy took.
    pub fn is_heard(&self) -> bool {
        matches!(&*self.agent_status, "CHECKED" | "L7OK" | "L7STS")
    }

    /// Whether an agent check is run at all.
    pub fn asks(&self) -> bool {
        match self.state {
            Some(state) => state.agent_configured && state.agent_enabled,
            None => !self.agent_status.is_empty(),
        }
    }

    /// Whether the agent has it DOWN though the agent says no such word: said by hand, or by a fault.
    pub fn is_down_by_no_word(&self) -> bool {
        let down = self.agent_health == Some(0) || self.status == "DOWN (agent)";
        self.agent_status == "CHECKED" && down
    }

    /// As the other commands of HAProxy name it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.pool, self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INFO: &str =
        "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nRelease_date: 2026/10/17\nNbthread: 2\n\n";
    const STAT: &str = "# pxname,svname,scur,status,weight,bck,lastchg,type,last_agt,agent_status,agent_health,\n\
        rw,FRONTEND,0,OPEN,,,,0,,,,\n\
        rw,pg1,0,UP,1,0,70,2,,* CHECKED,1,\n\
        rw,pg2,0,DOWN (agent),1,0,5,2,\"via agent : down (a \"\"b\"\", c)\",L7STS,0,\n\
        rw,BACKEND,0,UP,1,1,0,1,,,,\n\n";
    const STATE: &str = "1\n\
        # be_id be_name srv_id srv_name srv_addr srv_agent_state srv_port srv_agent_addr srv_agent_port\n\
        2 rw 1 pg1 10.0.0.1 22 5432 - 5555\n\
        2 rw 2 pg2 10.0.0.2 18 5432 127.0.0.1 6002\n\n";

    #[test]
    fn the_three_texts_are_read_in_any_order_and_two_may_be_missing() {
        let all = read(&[INFO, STAT, STATE].concat()).unwrap();
        assert_eq!((all.version, all.released), (Some((2, 6, 12)), Some((2026, 10, 17))));
        assert_eq!(all, read(&[STATE, STAT, INFO].concat()).unwrap());
        let [one, other] = all.servers.as_slice() else { panic!("{all:?}") };
        assert_eq!((one.path().as_str(), one.since, one.weight), ("rw/pg1", Some(70), Some(1)));
        assert!(one.is_up() && one.is_heard() && one.asks() && !one.is_down_by_no_word());
        let state = one.state.unwrap();
        assert_eq!((state.agent_addr, state.agent_port), ("10.0.0.1".parse().ok(), 5555));
        assert_eq!(other.agent_said, "via agent : down (a \"b\", c)");
        assert!(!other.is_up() && !other.asks() && !other.is_down_by_no_word());
        assert_eq!(other.state.unwrap().agent_addr, "127.0.0.1".parse().ok());

        let alone = read(STAT).unwrap();
        assert!(!alone.has_ports && alone.version.is_none() && alone.servers.len() == 2);
        assert!(alone.servers[0].state.is_none() && alone.servers[0].asks());
        for nothing in ["", INFO, STATE, "Permission denied\n"] {
            assert_eq!(read(nothing), Err(Unread::NoStatistics), "{nothing}");
        }
    }

    #[test]
    fn a_version_is_its_numbers() {
        for (text, version) in [
            ("2.6.12-1+deb12u4", Some((2, 6, 12))),
            ("3.5-dev5-50872daa6", Some((3, 5, 0))),
            ("3.4.7", Some((3, 4, 7))),
            ("99999999999.1", None),
            ("dev", None),
        ] {
            assert_eq!(numbers(text, '.'), version, "{text}");
        }
    }

    #[test]
    fn more_than_is_read_is_refused() {
        let many = "rw,s,0,UP,1,0,70,2,,CHECKED,1,\n".repeat(MOST_SERVERS + 1);
        assert_eq!(read(&format!("{}{many}", STAT.trim_end())), Err(Unread::TooMany));
        assert_eq!(read(&" ".repeat(MOST_TEXT + 1)), Err(Unread::TooLong));
        let long = STAT.replace("rw,pg1", &format!("rw,{}\u{1b}[31m", "p".repeat(2 * MOST_FIELD)));
        let name = &read(&long).unwrap().servers[0].name;
        assert!(name.len() <= MOST_FIELD + '…'.len_utf8() && text::is_plain(name), "{name}");
    }

    proptest! {
        #[test]
        fn whatever_comes_ends_in_no_panic(rows in any::<Vec<String>>(), at in 0usize..400) {
            let all = [INFO, STAT, STATE].concat();
            let cut = all.char_indices().map(|(at, _)| at).nth(at).unwrap_or(0);
            let text = format!("{}{}{}", &all[..cut], rows.join("\n"), &all[cut..]);
            if let Ok(told) = read(&text) {
                for server in told.servers {
                    prop_assert!(text::is_plain(&server.path()));
                    prop_assert!(text::is_plain(&server.agent_said));
                }
            }
        }
    }
}
