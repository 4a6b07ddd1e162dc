//! The pictures of docs/, which `ROLECALL_WRITE_PICTURES=1` makes anew.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::cluster::Cluster;
use super::compare::agrees;
use super::stage::{PATIENCE, Stage};
use crate::fixtures::{Browser, Ground, eventually, lacks_browser, lacks_postgres, web};

/// Pixels of a picture.
const WIDE: u32 = 960;
const HIGH: u32 = 720;
/// Most of a long page that is shown.
const MOST_HIGH: u32 = 1400;
/// Most bytes of one, so that the repository stays small.
const MOST_BYTES: u64 = 100_000;

/// The pictures, and what docs/page.md has.
const PICTURES: [&str; 5] = ["steady", "failover", "orders", "split", "unknown"];

fn path(name: &str, dark: bool) -> std::path::PathBuf {
    let scheme = if dark { "-dark" } else { "" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/page-{name}{scheme}.png"))
}

/// Fewer colours, and so fewer bytes.
const PALETTE: &str = include_str!("palette.js");

fn take(browser: &Browser, stage: &Stage, name: &str) {
    for dark in [false, true] {
        browser.look(WIDE, HIGH, dark);
        stage.is_asked();
        agrees(browser, stage);
        let picture = browser.picture(WIDE, MOST_HIGH);
        // Not in the page, which lets nobody do anything.
        browser.open("about:blank");
        let small = browser.wait_for(PALETTE, &[&picture]);
        let small = BASE64_STANDARD.decode(small.as_str().expect("base64")).expect("a picture");
        let path = path(name, dark);
        std::fs::write(&path, small).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

#[test]
fn the_pictures_of_the_documents_are_there_and_small() {
    if std::env::var_os("ROLECALL_WRITE_PICTURES").is_some()
        && !lacks_browser()
        && !lacks_postgres()
    {
        let ground = Ground::new();
        make(&Browser::start(&ground));
    }
    for (name, dark) in PICTURES.iter().flat_map(|name| [(name, false), (name, true)]) {
        let path = path(name, dark);
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        assert!((1..MOST_BYTES).contains(&bytes), "{}: {bytes} bytes", path.display());
    }
}

/// A history that is to be seen takes time: they all pass it together.
fn make(browser: &Browser) {
    let cluster = Cluster::start();
    let steady = Stage::one_node("primary");
    let failover = Stage::one_node("replica");
    let split = Stage::of_repmgr(&cluster);
    split.state(0, "ready");
    known_for(&steady, 45);
    failover.becomes("primary");
    failover.says(1, "READY");
    known_for(&failover, 70);
    take(browser, &failover, "failover");
    failover.becomes("promoting");
    failover.state(0, "unknown");
    cluster.splits();
    split.state(0, "not_ready");
    known_for(&split, 90);
    take(browser, &steady, "steady");
    steady.orders(&["maint", "all", "--for", "2h", "--reason", "disk swap"]);
    known_for(&split, 100);
    take(browser, &split, "split");
    take(browser, &failover, "unknown");
    take(browser, &steady, "orders");
}

/// Waits until so many seconds of history are known; all of it is asked meanwhile.
fn known_for(stage: &Stage, seconds: u64) {
    eventually(PATIENCE * 2, "a history", || {
        stage.is_asked();
        let answer =
            web::request(stage.http(), "GET /history", "", Some(PATIENCE)).expect("/history");
        let history: Value = serde_json::from_str(&answer.body).expect("JSON");
        let oldest = history["changes"][0]["ago_ms"].as_u64().unwrap_or(0);
        if oldest >= seconds * 1000 { Ok(()) } else { Err(oldest) }
    });
}
