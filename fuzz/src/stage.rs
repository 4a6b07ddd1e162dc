//! A rolecall that is asked: two nodes and two services, whose facts are as new as the question.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rolecall::config::Config;
use rolecall::config::schema::{self, Flags};
use rolecall::facts::{Facts, NodeFacts, ServiceFacts};
use rolecall::host::clock::Clock;
use rolecall::host::descriptors::Shares;
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::look::snapshot::SourceFacts;
use rolecall::port::http::{Pages, Room};
use rolecall::report::history::History;
use rolecall::report::metrics::{Exposed, Metrics};
use rolecall::report::view::View;
use rolecall::source::releasing::{Key, Question};
use tokio::sync::{mpsc, watch};

const CONFIG: &str = r#"
[http]
listen = "127.0.0.1:5580"
[[service]]
name = "primary"
roles = ["primary"]
listen = "127.0.0.1:5555"
agent_send = true
reply = "full"
[[service]]
name = "replica"
roles = ["replica"]
[[node]]
name = "pg1"
source = { kind = "static", role = "primary" }
[[node]]
name = "pg2"
source = { kind = "static", role = "replica" }
"#;

/// What is asked.
pub struct Stage {
    /// Where questions of agent-send come in.
    pub addr: SocketAddr,
    /// What answers over HTTP, and the parts of it.
    pub pages: Pages,
    /// Questions of candidates.
    pub questions: mpsc::Receiver<Question>,
    facts: watch::Sender<Facts>,
}

impl Stage {
    /// One on which nothing was asked yet.
    ///
    /// # Panics
    /// The configuration is not accepted.
    #[must_use]
    pub fn new() -> Self {
        let config =
            schema::read("stage", CONFIG, &Flags::default(), None).expect("it is valid").config;
        let (facts, seen) = watch::channel(facts_of(&config));
        let (clock, counted) = (Clock::Boot, Metrics::default());
        let exposed = Arc::new(Exposed::new(&counted, seen.clone(), clock.clone()));
        let (asked, questions) = mpsc::channel(8);
        let (announced, places) =
            (watch::channel(Vec::new()).1, Room::of(&Shares::of_this_process()));
        let pages = Pages {
            view: View { facts: seen, announced, history: History::default(), clock, counted },
            exposed,
            questions: asked,
            places,
        };
        Self { addr: "127.0.0.1:5555".parse().expect("an address"), pages, questions, facts }
    }

    /// Looks at both nodes.
    pub fn look(&self) {
        let now = self.pages.view.clock.now();
        self.facts.send_modify(|facts| {
            for (node, role) in facts.nodes.iter_mut().zip([Role::Primary, Role::Replica]) {
                node.sources[0].record_own(now, now, Ok(Observation::of(role)));
            }
        });
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

fn facts_of(config: &Config) -> Facts {
    let node = |of: &rolecall::config::Node| NodeFacts {
        name: of.name.as_str().into(),
        cluster: None,
        kinds: of.sources.iter().map(|source| source.kind.known_as()).collect(),
        sources: vec![SourceFacts::default(); of.sources.len()],
        services: config
            .services
            .iter()
            .map(|service| ServiceFacts {
                name: service.name.as_str().into(),
                policy: service.policy(of).into(),
                standing: rolecall::verdict::standing::Standing::default(),
                answering: service.answering.clone().into(),
                asks: Arc::default(),
                orders: Arc::default(),
                last_word: None,
            })
            .collect(),
    };
    Facts {
        nodes: config.nodes.iter().map(node).collect(),
        routes: config.routes(),
        http_allow: Some(Arc::default()),
    }
}

/// The secret of a cluster, as every rolecall of it has it.
///
/// # Panics
/// No file can be written.
#[must_use]
pub fn key() -> Key {
    let file = scratch().join("key");
    std::fs::write(&file, "0123456789abcdef").expect("a file");
    Key::read(&file).expect("a secret")
}

/// A folder of this process.
///
/// # Panics
/// None can be made.
#[must_use]
pub fn scratch() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("rolecall-fuzz.{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}
