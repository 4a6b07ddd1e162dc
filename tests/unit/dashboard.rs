//! packaging/grafana/rolecall.json by Grafana's conventions, and by ours: whoever imports it must be asked for nothing
//! but the data source, and whoever sees a panel must be told what to do. What its queries find is in
//! `tests/daemon/dashboard`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What Grafana 13 writes (`@grafana/schema` 13.2).
const SCHEMA: u64 = 42;
/// The only data source that a panel or a variable may name.
const CHOSEN: &str = "${datasource}";
/// Grafana's own, for the annotations that it brings.
const BUILT_IN: &str = "-- Grafana --";
/// Grafana's grid.
const COLUMNS: u64 = 24;
/// What Prometheus itself knows.
const OTHERS: [&str; 2] = ["up", "ALERTS"];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

fn dashboard() -> Value {
    serde_json::from_str(&text("packaging/grafana/rolecall.json")).expect("JSON")
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Without the headings of rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| list(panel, "targets"));
    targets.map(|target| word(target, "expr")).collect()
}

/// Every value of this key, however deep.
fn values<'a>(of: &'a Value, key: &str, into: &mut Vec<&'a Value>) {
    match of {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            if name == key {
                into.push(value);
            }
            values(value, key, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| values(value, key, into)),
        _ => {}
    }
}

#[test]
fn it_can_be_imported_as_it_is_and_again() {
    let dashboard = dashboard();
    assert_eq!((word(&dashboard, "uid"), word(&dashboard, "title")), ("rolecall", "rolecall"));
    assert_eq!(dashboard["schemaVersion"], SCHEMA);
    // A number of another Grafana's would be in the way, and so would questions at the import.
    assert_eq!(dashboard["id"], Value::Null);
    for key in ["__inputs", "__requires", "__elements"] {
        assert!(dashboard.get(key).is_none(), "{key}");
    }
    let mut sources = Vec::new();
    values(&dashboard, "datasource", &mut sources);
    assert!(sources.len() > 40, "{}", sources.len());
    for source in sources {
        let (kind, uid) = (word(source, "type"), word(source, "uid"));
        let fits = (kind, uid) == ("prometheus", CHOSEN) || (kind, uid) == ("grafana", BUILT_IN);
        assert!(fits, "a fixed data source: {source}");
    }
}

#[test]
fn one_chooses_the_data_source_the_job_the_cluster_the_rolecall_and_the_node() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<_> = variables.iter().map(|variable| word(variable, "name")).collect();
    assert_eq!(names, ["datasource", "job", "cluster", "instance", "node"]);
    for variable in variables {
        let name = word(variable, "name");
        assert!(!word(variable, "label").is_empty(), "{name} has no label");
        assert!(!word(variable, "description").is_empty(), "{name} has no description");
        if name == "datasource" {
            assert_eq!((word(variable, "type"), word(variable, "query")), (name, "prometheus"));
            continue;
        }
        assert_eq!(word(variable, "type"), "query", "{name}");
        assert!(variable["multi"] == true && variable["includeAll"] == true, "{name}");
        assert_eq!(variable["query"]["query"], variable["definition"], "{name}");
        // Nodes without a cluster are of All.
        assert!(name != "cluster" || word(variable, "allValue") == ".*");
    }
    for query in queries(&dashboard) {
        for part in query.split('$').skip(1) {
            let used = part.split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
            let used = used.unwrap_or_default();
            assert!(names.contains(&used) || used == "__rate_interval", "${used} in {query}");
        }
        assert!(query.contains("job=~\"$job\""), "{query}");
    }
}

#[test]
fn every_panel_says_what_it_shows_and_what_to_do() {
    let dashboard = dashboard();
    let symptoms = text("docs/symptoms.md");
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        let title = word(panel, "title");
        assert!(panel["id"].is_u64() && ids.insert(panel["id"].as_u64()), "the id of {title}");
        assert!(!title.is_empty() && titles.insert(title), "the title {title}");
    }
    for panel in panels(&dashboard) {
        let (title, description) = (word(panel, "title"), word(panel, "description"));
        let sections = description.split("docs/symptoms.md, section ").skip(1);
        let sections: Vec<_> = sections.filter_map(|rest| rest.split([' ', '.']).next()).collect();
        assert!(!sections.is_empty(), "{title} names no section of docs/symptoms.md");
        for section in sections {
            assert!(symptoms.contains(&format!("\n## {section}. ")), "{title}: section {section}");
        }
        assert!(description.contains("/usr/share/doc/rolecall/"), "{title}: the installed page");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!word(defaults, "unit").is_empty(), "{title} has no unit");
        let letters: BTreeSet<_> =
            list(panel, "targets").iter().map(|of| word(of, "refId")).collect();
        assert_eq!(letters.len(), list(panel, "targets").len(), "{title}");
        assert!(!letters.is_empty(), "{title} asks nothing");
        // A table without rows must say that this is well.
        let explained = word(panel, "type") != "table" || list(panel, "transformations").len() > 1;
        assert!(explained || !word(defaults, "noValue").is_empty(), "{title}");
    }
}

/// Who cannot tell green from red must know as much.
#[test]
fn a_state_is_a_word_and_not_only_a_colour() {
    let dashboard = dashboard();
    let mut mappings = Vec::new();
    values(&dashboard, "mappings", &mut mappings);
    let states = ["READY", "DRAIN", "MAINT", "MAINT, unknown"];
    let said: Vec<_> = mappings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| states.iter().all(|s| text.contains(&format!("\"{s}\"")))));
    for panel in panels(&dashboard) {
        if !["state-timeline", "stat"].contains(&word(panel, "type")) {
            continue;
        }
        let (title, defaults) = (word(panel, "title"), &panel["fieldConfig"]["defaults"]);
        let said = defaults["mappings"].to_string();
        let steps = list(&defaults["thresholds"], "steps");
        assert!(steps.len() > 1, "{title}");
        for value in steps.iter().filter_map(|step| step["value"].as_u64()) {
            let mapped = said.contains(&format!("\"{value}\":{{"))
                || said.contains(&format!("\"from\":{value},"));
            assert!(mapped && said.contains("\"text\":"), "{title}: {value} has no word: {said}");
        }
    }
}

#[test]
fn no_panel_lies_over_another() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect(key);
        assert!(at("x") + at("w") <= COLUMNS, "{}", word(panel, "title"));
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies over another", word(panel, "title"));
            }
        }
    }
}

#[test]
fn every_metric_it_asks_for_is_documented() {
    let dashboard = dashboard();
    let documented = text("docs/metrics.md");
    let variables = list(&dashboard["templating"], "list").iter();
    let asked = variables.map(|variable| word(variable, "definition"));
    let mut used = BTreeSet::new();
    for query in queries(&dashboard).into_iter().chain(asked) {
        // What is in quotes is a value, what stands before `{` or `)` alone may be a metric.
        let outside = query.split('"').step_by(2).collect::<Vec<_>>().join("");
        let words = outside.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        used.extend(words.filter(|word| word.starts_with("rolecall_")).map(str::to_owned));
        let named = query.contains("rolecall_") || OTHERS.iter().any(|of| query.contains(of));
        assert!(query.is_empty() || named, "{query}");
    }
    assert!(used.len() > 15, "{used:?}");
    for metric in used {
        let ends = ["_total", "_info", "_bucket", "_sum", "_count"];
        let bare = ends.iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(&metric);
        let row = format!("\n| `{bare}` |");
        assert!(documented.contains(&row), "{metric} is not in docs/metrics.md");
    }
}
