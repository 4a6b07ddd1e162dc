//! What a running daemon answers, beside what `ask` sees itself: HAProxy is told the daemon's word, and that may
//! rest on what was seen before.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::ask::Hints;
use crate::cli::words;
use crate::host::failure::Failure;
use crate::verdict::state::State;

/// The keys of a service's status that are repeated.
const KEYS: [&str; 8] =
    ["service", "state", "answer", "reason", "detail", "held", "stands_ms", "since_ms"];

/// What came of asking a daemon.
pub enum Running {
    /// The configuration has no place to ask at.
    NoPlace,
    /// It was not told: why.
    Silent(Failure),
    /// Its answers to what was asked about.
    Says(Vec<Told>),
}

/// What a daemon answers about one node.
pub struct Told {
    node: String,
    service: Value,
}

impl Running {
    /// What the status of a daemon, or the failure to get it, says about this service and node, about every one
    /// where none is named.
    pub fn of(
        status: Option<Result<Value, Failure>>,
        service: Option<&str>,
        node: Option<&str>,
    ) -> Self {
        let status = match status {
            None => return Self::NoPlace,
            Some(Err(failure)) => return Self::Silent(failure),
            Some(Ok(status)) => status,
        };
        let is = |value: &Value, name: Option<&str>| {
            name.is_none_or(|name| value.as_str() == Some(name))
        };
        let mut told = Vec::new();
        for of in status["nodes"].as_array().into_iter().flatten() {
            let services = of["services"].as_array().into_iter().flatten();
            for one in services.filter(|one| is(&of["node"], node) && is(&one["service"], service))
            {
                let node = of["node"].as_str().unwrap_or_default().to_owned();
                told.push(Told { node, service: one.clone() });
            }
        }
        Self::Says(told)
    }

    /// Each state that it answers with.
    pub fn states(&self) -> Vec<State> {
        let Self::Says(told) = self else { return Vec::new() };
        told.iter().map(|told| state(&told.service)).collect()
    }

    /// For a person.
    pub fn text(&self, hints: &mut Hints, host: Option<&str>) -> String {
        let told = match self {
            Self::NoPlace => return String::new(),
            Self::Silent(failure) => {
                return format!("the running rolecall could not be asked: {failure}\n\n");
            }
            Self::Says(told) => told,
        };
        let mut out = "the running rolecall answers\n".to_owned();
        for Told { node, service } in told {
            let name = service["service"].as_str().unwrap_or_default();
            let (node, answer) = (words::node(node, host), words::answer_of(service));
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  service {name} of {node}: {answer}: {}", words::why(service));
            if let Some(hint) = service["hint"].as_str() {
                out.push_str(&hints.line(hint));
            }
        }
        out.push_str("\nresult of a poll just now\n");
        out
    }

    /// For a program; null where there is no place to ask at.
    pub fn json(&self) -> Value {
        match self {
            Self::NoPlace => Value::Null,
            Self::Silent(failure) => json!({ "error": failure.what, "hint": failure.hint }),
            Self::Says(told) => {
                let services = told.iter().map(|told| {
                    let mut said = json!({ "node": told.node });
                    for key in KEYS {
                        said[key] = told.service[key].clone();
                    }
                    said
                });
                json!({ "services": services.collect::<Vec<_>>() })
            }
        }
    }
}

fn state(service: &Value) -> State {
    let all = [State::Ready, State::Drain, State::NotReady];
    let word = service["state"].as_str().unwrap_or_default();
    all.into_iter().find(|state| state.as_str() == word).unwrap_or(State::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::failure::Exit;

    fn status() -> Value {
        let service = |name: &str, state: &str, held: bool| {
            json!({ "service": name, "state": state, "reason": "serves", "detail": "is primary",
                    "hint": "go", "held": held, "stands_ms": 9500, "since_ms": 1 })
        };
        json!({ "nodes": [
            { "node": "n1", "services": [service("rw", "ready", true), service("ro", "not_ready", false)] },
            { "node": "n2", "services": [service("rw", "drain", false)] },
        ] })
    }

    #[test]
    fn what_is_asked_about_is_told_and_until_when_it_is_held() {
        let told = |service, node| Running::of(Some(Ok(status())), service, node);
        assert_eq!(told(None, None).states(), [State::Ready, State::NotReady, State::Drain]);
        assert_eq!(told(Some("rw"), Some("n1")).states(), [State::Ready]);
        assert_eq!(told(Some("rw"), Some("n3")).states(), []);
        let text = told(Some("rw"), None).text(&mut Hints::default(), None);
        let held = "  service rw of n1: READY, held: polls fail, MAINT in 10 s unless one succeeds; last \
                    seen: is primary\n    hint: go\n";
        assert!(text.contains(held), "{text}");
        assert!(text.contains("  service rw of n2: DRAIN: is primary\n"), "{text}");
        assert_eq!(told(Some("rw"), Some("n1")).json()["services"][0]["held"], json!(true));
    }

    #[test]
    fn a_daemon_that_cannot_be_asked_is_said_and_one_that_has_no_place_is_not() {
        let failure = Failure::new(Exit::Unavailable, "nobody there").hint("start it");
        let silent = Running::of(Some(Err(failure)), None, None);
        assert!(
            silent
                .text(&mut Hints::default(), None)
                .starts_with("the running rolecall could not be asked: nobody there")
        );
        assert_eq!(
            (silent.states(), silent.json()["error"].as_str()),
            (vec![], Some("nobody there"))
        );
        let none = Running::of(None, None, None);
        assert_eq!(
            (none.text(&mut Hints::default(), None), none.json()),
            (String::new(), Value::Null)
        );
    }
}
