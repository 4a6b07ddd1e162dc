//! The configuration: what is read, and the exact words of what is refused.

mod auto_failover;
mod exposure;
mod flags;
mod nodes;
mod packaged;
mod refusals;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::config::document::Problem;
use rolecall::config::schema::{Flags, Loaded, read};
use rolecall::config::{
    Config, Haproxy, Kind, Log, LogFormat, LogTo, Node, Patroni, Service, Source,
};
use rolecall::look::role::Role;
use rolecall::reply::routes::{Answering, Listen};
use rolecall::reply::wording::Wording;
use rolecall::verdict::policy::Pool;

const FULL: &str = include_str!("../../data/config/full.toml");
const PACKAGED: &str = include_str!("../../../packaging/rolecall.toml");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn accepted(text: &str) -> Loaded {
    read("test.toml", text, &Flags::default(), None).unwrap_or_else(|p| panic!("{}", printed(&p)))
}

fn refused(text: &str, flags: &Flags) -> Vec<Problem> {
    read("test.toml", text, flags, None).expect_err("a problem")
}

fn printed(problems: &[Problem]) -> String {
    let mut text: Vec<String> = problems.iter().map(Problem::to_string).collect();
    text.push(String::new());
    text.join("\n")
}

/// Patroni at this URL, in the rhythm that nobody chose.
fn patroni_at(url: &str) -> Kind {
    Kind::Patroni(Patroni::at(url))
}

/// What rolecall is told of HAProxy: milliseconds, but for `fall` and the version.
fn told(inter: u64, check_fall: u32, timeout: u64, version: (u32, u32)) -> Haproxy {
    let socket = "/run/haproxy/admin.sock".into();
    Haproxy { agent_inter: ms(inter), check_fall, check_timeout: ms(timeout), version, socket }
}

fn built_in() -> Config {
    Config {
        haproxy: told(500, 2, 500, (2, 6)),
        nodes: vec![Node {
            name: "local".to_owned(),
            cluster: None,
            listen: BTreeMap::new(),
            sources: vec![Source {
                kind: patroni_at("http://127.0.0.1:8008"),
                interval: ms(500),
                timeout: ms(1500),
                hold: ms(5000),
                hold_chosen: false,
                beside: ms(4500),
                memory: ms(2500),
            }],
        }],
        services: vec![Service {
            name: "primary".to_owned(),
            roles: vec![Role::Primary],
            listen: vec![Listen::Everywhere(5555)],
            agent_send: false,
            answering: Answering { allow: vec![], wording: Wording::plain(), last_word: None },
            hold: None,
            pool: Pool::default(),
            lag: None,
        }],
        http: None,
        control: None,
        fence: None,
        log: Log { to: LogTo::Auto, format: LogFormat::Text, level: tracing::Level::INFO },
    }
}
