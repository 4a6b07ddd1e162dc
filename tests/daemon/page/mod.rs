//! The page at `/` in a real browser: what is seen is what /status says, in every state, on a phone and on a wide
//! screen, light and dark, by keyboard and by whoever reads it aloud.

mod cluster;
mod compare;
mod pictures;
mod rendered;
mod stage;

use rustix::process::Signal;

use crate::fixtures::{Browser, Ground, eventually, lacks_browser, lacks_postgres};
use cluster::Cluster;
use compare::agrees;
use rendered::renders_well;
use stage::{PATIENCE, Stage};

/// What somebody writes who means no good, or does not think of browsers.
const MARKUP: &str = "<img src=x onerror=alert(1)> & \"'</p><script>alert(2)</script>";

/// When the page was made that is shown.
const MADE: &str = "return document.querySelector('[data-key=made]').innerText";

#[test]
fn what_is_seen_is_what_the_status_says_in_every_state_of_a_node() {
    if lacks_browser() {
        return;
    }
    let browser_ground = Ground::new();
    let browser = Browser::start(&browser_ground);
    let mut stage = Stage::one_node("replica");

    // Nobody has asked yet.
    let seen = agrees(&browser, &stage);
    assert_eq!(seen["level"], "1 warning", "{seen}");
    stage.is_asked();
    let seen = agrees(&browser, &stage);
    assert_eq!(seen["level"], "All is well", "{seen}");
    assert_eq!(seen["title"], "primary MAINT, replica READY – rolecall");
    renders_well(&browser, &stage, "steady");

    // A failover: the replica is promoted.
    stage.becomes("primary");
    stage.says(1, "READY");
    let seen = agrees(&browser, &stage);
    let primary = &seen["nodes"][0]["services"][0];
    assert!(primary["parts"].to_string().contains("h-ready"), "{primary}");
    assert!(
        primary["strip"]
            .as_str()
            .is_some_and(|strip| strip.contains("MAINT for") && strip.contains("READY for")),
        "{primary}"
    );
    assert_eq!(primary["changes"].as_array().map(Vec::len), Some(2), "{primary}");
    renders_well(&browser, &stage, "failover");

    // Orders: one of somebody who writes what a browser would obey.
    stage.orders(&["maint", "primary", "--for", "10m", "--reason", MARKUP]);
    stage.orders(&["drain", "replica"]);
    let seen = agrees(&browser, &stage);
    let orders = seen["orders"].to_string();
    assert!(orders.contains("until it is removed") && orders.contains("more"), "{orders}");
    assert!(
        seen["nodes"][0]["services"][0]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("<img src=x"))
    );
    renders_well(&browser, &stage, "orders");

    // A configuration that is refused.
    let config = stage.config().replace("roles =", "rolls =");
    stage.rolecall.write_config(&config);
    stage.rolecall.signal(Signal::HUP);
    stage.rolecall.wait_log(PATIENCE, &["the configuration was not reloaded"]);
    let seen = agrees(&browser, &stage);
    assert!(seen["refused"].as_str().is_some_and(|refused| refused.contains("rolls")), "{seen}");
    renders_well(&browser, &stage, "a refused configuration");
    let config = stage.config();
    stage.rolecall.write_config(&config);

    // The file of orders is damaged while nobody runs.
    assert!(stage.rolecall.stop().success());
    std::fs::write(stage.path("orders.json"), "{\"version\": 1, \"orders\": [")
        .expect("orders.json");
    stage.rolecall.start();
    let seen = agrees(&browser, &stage);
    assert!(
        seen["damaged"].as_str().is_some_and(|damaged| damaged.contains("orders.damaged")),
        "{seen}"
    );
    renders_well(&browser, &stage, "a damaged file of orders");

    // Nothing is known: the command fails, and nothing is held.
    stage.forgets();
    stage.state(0, "unknown");
    let seen = agrees(&browser, &stage);
    assert!(seen["level"].as_str().is_some_and(|level| level.contains("critical")), "{seen}");
    assert!(
        seen["nodes"][0]["sources"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("What to do"))
    );
    renders_well(&browser, &stage, "nothing is known");
}

#[test]
fn several_nodes_are_seen_each_and_at_one_glance() {
    if lacks_browser() {
        return;
    }
    let browser_ground = Ground::new();
    let browser = Browser::start(&browser_ground);
    let stage = Stage::several_nodes();
    let seen = agrees(&browser, &stage);
    assert_eq!(seen["answers"][0], "pg1 primary ✓ READY primary – MAINT replica");
    assert_eq!(seen["answers"][1], "pg2 replica – MAINT primary ✓ READY replica");
    assert_eq!(
        seen["answers"][2],
        "pg3 role unknown ? MAINT primary Critical ? MAINT replica Critical"
    );
    assert_eq!(seen["title"], "Critical: 2 of 6 READY – rolecall");
    assert!(seen["downtimes"].to_string().contains("primary of orders"), "{}", seen["downtimes"]);
    // A question that names nothing here.
    stage.asks_for_nothing();
    let seen = agrees(&browser, &stage);
    assert!(seen["questions"].to_string().contains("pg9"), "{seen}");
    renders_well(&browser, &stage, "several nodes");

    // A browser asks for it again by itself, until somebody stops that.
    browser.open(&format!("http://{}/", stage.http()));
    let made = browser.run(MADE);
    eventually(PATIENCE, "the page refreshes itself", || {
        let now = browser.run(MADE);
        if now == made { Err(now) } else { Ok(()) }
    });
    browser.run("document.querySelector('header a').click()");
    eventually(PATIENCE, "the page stays as it is", || {
        let at =
            browser.run("return [location.search, document.querySelector('meta[http-equiv]')]");
        if at == serde_json::json!(["?refresh=off", null]) { Ok(()) } else { Err(at) }
    });
}

#[test]
fn each_vote_of_a_repmgr_cluster_is_seen_and_a_split_brain_is_critical() {
    if lacks_browser() || lacks_postgres() {
        return;
    }
    let browser_ground = Ground::new();
    let browser = Browser::start(&browser_ground);
    let cluster = Cluster::start();
    let stage = Stage::of_repmgr(&cluster);
    stage.state(0, "ready");
    let seen = agrees(&browser, &stage);
    let source = &seen["nodes"][0]["sources"][0];
    assert_eq!((&source["votes"], &source["electors"]), (&"3".into(), &"3".into()), "{source}");
    renders_well(&browser, &stage, "a repmgr cluster");

    // db2 was promoted meanwhile, and this node does not know.
    cluster.splits();
    stage.state(0, "not_ready");
    let seen = agrees(&browser, &stage);
    let (level, source) = (&seen["level"], &seen["nodes"][0]["sources"][0]);
    assert!(level.as_str().is_some_and(|level| level.contains("critical")), "{level}");
    let ballots = source["ballots"].to_string();
    assert!(ballots.contains("against") && ballots.contains("says it is the primary"), "{ballots}");
    renders_well(&browser, &stage, "a split brain");
}
