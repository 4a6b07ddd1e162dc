//! packaging/grafana: every query of the dashboard, asked of a real Prometheus that scrapes real rolecalls, shows what
//! /status of these rolecalls says.
//!
//! Grafana itself is not run: what it makes of a value is left to its own tests. `tests/unit/dashboard.rs` reads the
//! file by Grafana's conventions.

mod expected;
mod file;
mod scene;
mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use self::expected::{Wanted, wanted};
use self::file::{Choice, Dashboard};
use self::scene::{BESIDE, BROKEN, CENTRAL, Scene};
use self::server::{Labels, Prometheus, Series};
use crate::fixtures::{eventually, missing};
use crate::prometheus::tool;

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often Prometheus scrapes.
const SCRAPE: Duration = Duration::from_millis(500);

/// Waits until two sides agree. Prometheus knows nothing new before the next scrape: asking it again and again would only
/// slow it down.
fn agreed<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    eventually(PATIENCE, what, || probe().inspect_err(|_| std::thread::sleep(SCRAPE / 2)))
}

/// What Prometheus found, where it is what is wanted; otherwise how they differ.
fn agree(found: &Series, wanted: &Wanted) -> Result<(), String> {
    let strange: Vec<_> = found.iter().filter(|(of, _)| !wanted.contains_key(*of)).collect();
    let lacking: Vec<_> = wanted.iter().filter(|(of, _)| !found.contains_key(*of)).collect();
    let differ = |(of, range): (&Labels, &std::ops::RangeInclusive<f64>)| {
        let value = found.get(of)?;
        (!range.contains(value)).then(|| format!("{of:?} is {value}, wanted {range:?}"))
    };
    let wrong: Vec<_> = wanted.iter().filter_map(differ).collect();
    if strange.is_empty() && lacking.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    Err(format!("\nnot expected: {strange:#?}\nlacking: {lacking:#?}\nwrong: {wrong:#?}"))
}

/// One test: the play is the costly part of it.
#[test]
fn every_panel_shows_what_status_says() {
    let Some(program) = tool("prometheus") else { return missing("prometheus") };
    let dashboard = Dashboard::read();
    let mut scene = Scene::new();
    let prometheus = Prometheus::start(&scene.ground, &program, &scene.jobs());
    agreed("every rolecall is scraped", || {
        let up = prometheus.query("up == 1");
        if up.len() == scene.rolecalls() { Ok(()) } else { Err(format!("{up:?}")) }
    });
    scene.play();

    let all = Choice::all(&dashboard, &prometheus);
    variables_offer_what_there_is(&all, &scene);
    let choices = [
        all.clone(),
        all.with("cluster", "users").with("job", CENTRAL),
        all.with("cluster", "orders"),
        all.with("job", BESIDE),
        all.with("instance", &scene.http(BROKEN).to_string()),
        all.with("node", "pg2"),
        all.with("node", "local"),
    ];
    let mut count = 0;
    for choice in &choices {
        for (panel, query, text) in dashboard.queries() {
            let text = choice.put_into(text);
            agreed(&format!("{panel}, {query}, agrees with /status: {text}"), || {
                let wanted =
                    wanted(panel, query, &scene.seen(choice), &scene.now(&prometheus, choice));
                agree(&prometheus.query(&text), &wanted).map(|()| wanted.len())
            });
            count += 1;
        }
    }
    assert!(count > 150, "{count} queries");
    // Where everything is chosen nothing is empty: what shows nothing here is not known to show anything.
    for (panel, query, text) in dashboard.queries() {
        let wanted = wanted(panel, query, &scene.seen(&all), &scene.now(&prometheus, &all));
        assert!(!wanted.is_empty(), "{panel}, {query}, has nothing to show in this play: {text}");
    }
    the_alert_that_nobody_asks_fires_for_each_port_and_says_so(&prometheus, &scene, &all);
}

/// What Grafana offers to choose from, and what it takes for All.
fn variables_offer_what_there_is(all: &Choice, scene: &Scene) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let offered = |name: &str| -> BTreeSet<String> { all.offered(name).iter().cloned().collect() };
    assert_eq!(offered("job"), words(&[BESIDE, CENTRAL]));
    assert_eq!(offered("cluster"), words(&["ledger", "orders", "users"]));
    let instances = scene.scraped();
    assert_eq!(offered("instance"), instances.iter().map(ToString::to_string).collect());
    let nodes = ["local", "pg1", "pg2", "pg3", "pg4", "pg5", "pg6", "pg7"];
    assert_eq!(offered("node"), words(&nodes));
}

/// A port that was asked is not among them; promtool's tests have the ages.
fn the_alert_that_nobody_asks_fires_for_each_port_and_says_so(
    prometheus: &Prometheus,
    scene: &Scene,
    all: &Choice,
) {
    let never = |service: &&Value| service["asked"]["last_ms"].is_null();
    let seen = scene.seen(all);
    let expected: usize = seen
        .iter()
        .flat_map(|seen| &seen.nodes)
        .map(|node| node["services"].as_array().expect("services").iter().filter(never).count())
        .sum();
    assert!(expected >= 6, "{expected}");
    agreed("the alert fires for each port that was never asked", || {
        let alerts = prometheus.get("/api/v1/alerts");
        let fires = |alert: &&Value| {
            alert["labels"]["alertname"] == "RolecallNobodyAsks" && alert["state"] == "firing"
        };
        let said = |alert: &Value| alert["annotations"]["description"].to_string();
        let alerts = alerts["data"]["alerts"].as_array().expect("alerts");
        let said: Vec<_> = alerts.iter().filter(fires).map(said).collect();
        let never = said.iter().filter(|text| text.contains("since rolecall started")).count();
        if never == expected { Ok(()) } else { Err(format!("{said:?}")) }
    });
}
