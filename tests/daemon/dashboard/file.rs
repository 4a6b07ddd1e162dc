//! The dashboard's file: its queries, its variables, and what Grafana puts into a query.

use std::collections::BTreeMap;

use serde_json::Value;

use super::server::Prometheus;
use crate::prometheus::text;

const FILE: &str = "packaging/grafana/rolecall.json";

/// What Grafana puts in for its own variables: a window that is longer than the play.
const OWN: [(&str, &str); 2] = [("$__rate_interval", WINDOW), ("$__interval", "15s")];
const WINDOW: &str = "10m";
/// The same in seconds.
pub const WINDOW_SECONDS: f64 = 600.0;

/// The file as it is.
pub struct Dashboard(Value);

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}"))
}

impl Dashboard {
    pub fn read() -> Self {
        Self(serde_json::from_str(&text(FILE)).expect(FILE))
    }

    /// Each query: its panel's title, its own letter, and its text.
    pub fn queries(&self) -> Vec<(&str, &str, &str)> {
        let queries = list(&self.0, "panels").iter().flat_map(|panel| {
            let queries = list(panel, "targets").iter();
            queries.map(|query| (word(panel, "title"), word(query, "refId"), word(query, "expr")))
        });
        queries.collect()
    }

    /// Each variable that asks Prometheus: its name, its query, and what All stands for.
    fn variables(&self) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
        let all = list(&self.0["templating"], "list").iter();
        let asking = all.filter(|variable| variable["type"] == "query");
        asking.map(|it| (word(it, "name"), word(&it["query"], "query"), it["allValue"].as_str()))
    }
}

/// What is chosen: a regular expression for each variable.
#[derive(Clone)]
pub struct Choice {
    chosen: BTreeMap<String, String>,
    offered: BTreeMap<String, Vec<String>>,
}

impl Choice {
    /// All of everything, each variable asked in its turn, as Grafana does when the page is opened.
    pub fn all(dashboard: &Dashboard, prometheus: &Prometheus) -> Self {
        let mut choice = Self { chosen: BTreeMap::new(), offered: BTreeMap::new() };
        for (name, query, all) in dashboard.variables() {
            let query = choice.put_into(query);
            // label_values(SELECTOR, LABEL)
            let of = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = of.and_then(|of| of.rsplit_once(", ")).expect(name);
            let values = prometheus.label_values(selector, label);
            let each = || format!("({})", values.join("|"));
            choice.chosen.insert(name.to_owned(), all.map_or_else(each, str::to_owned));
            choice.offered.insert(name.to_owned(), values);
        }
        choice
    }

    /// The same with one value of one variable.
    pub fn with(&self, name: &str, value: &str) -> Self {
        assert!(self.offered(name).iter().any(|offered| offered == value), "{name}: {value}");
        let mut choice = self.clone();
        choice.chosen.insert(name.to_owned(), value.to_owned());
        choice
    }

    /// The values of a variable.
    pub fn offered(&self, name: &str) -> &[String] {
        &self.offered[name]
    }

    /// Whether what is chosen takes this value: all of them, or the one.
    pub fn takes(&self, name: &str, value: &str) -> bool {
        let chosen = &self.chosen[name];
        let one = self.offered(name).iter().any(|offered| offered == chosen);
        !one || chosen == value
    }

    /// A query with everything that is chosen.
    pub fn put_into(&self, query: &str) -> String {
        let own = OWN.iter().map(|(name, value)| ((*name).to_owned(), *value));
        let chosen = self.chosen.iter().map(|(name, value)| (format!("${name}"), value.as_str()));
        let text = own
            .chain(chosen)
            .fold(query.to_owned(), |text, (name, value)| text.replace(&name, value));
        assert!(!text.contains('$'), "a variable is left: {text}");
        text
    }
}
