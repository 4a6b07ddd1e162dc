//! Whether a page is good to look at, to walk through by keyboard, and to have read aloud.

use serde_json::{Value, json};

use super::stage::Stage;
use crate::fixtures::Browser;

/// A phone's width, and a screen's.
const WIDTHS: [u32; 2] = [390, 1280];
/// The protocol's name for the key.
const TAB: char = '\u{e004}';

/// What is wrong with how it is rendered.
const FITS: &str = include_str!("fits.js");

/// What has the focus, and how that is shown.
const FOCUS: &str = "const of = document.activeElement, style = getComputedStyle(of);
    return { tag: of.tagName, href: of.href || '', text: of.innerText, outline: style.outlineStyle,
             wide: parseFloat(style.outlineWidth), links: document.querySelectorAll('a[href]').length };";

/// The page of `stage`, of which `what` is so: on a phone and on a screen, light and dark.
pub fn renders_well(browser: &Browser, stage: &Stage, what: &str) {
    // What was done before is another page's.
    drop((browser.log("browser"), browser.requests()));
    for (width, dark) in WIDTHS.iter().flat_map(|width| [(*width, false), (*width, true)]) {
        browser.look(width, 900, dark);
        browser.open(&stage.url());
        let found = browser.run(FITS);
        assert_eq!(found["wrong"], json!([]), "{what}, {width} px, dark {dark}");
    }
    by_keyboard(browser, what);
    read_aloud(browser, what);
    let said = browser.log("browser");
    assert!(said.is_empty(), "{what}: the console says {said:?}");
    let requests = browser.requests();
    assert!(!requests.is_empty(), "{what}: the requests are not seen");
    let others: Vec<_> = requests.iter().filter(|url| **url != stage.url()).collect();
    assert!(others.is_empty(), "{what}: {others:?} was asked for");
}

/// Each link in turn, and the focus is seen.
fn by_keyboard(browser: &Browser, what: &str) {
    let mut visited = Vec::new();
    loop {
        browser.press(TAB);
        let at = browser.run(FOCUS);
        if at["tag"] != "A" || visited.len() > 200 {
            break;
        }
        assert!(at["outline"] == "solid" && at["wide"].as_f64() >= Some(2.0), "{what}: {at}");
        visited.push(at.clone());
        if at["links"].as_u64() == u64::try_from(visited.len()).ok() {
            break;
        }
    }
    let links = visited.last().map(|at| at["links"].clone()).unwrap_or_default();
    assert_eq!(links.as_u64(), u64::try_from(visited.len()).ok(), "{what}: {visited:?}");
    assert!(visited[0]["href"].as_str().is_some_and(|href| href.ends_with("#main")), "{what}");
}

/// Landmarks, headings and names, as the browser tells them to a screen reader.
fn read_aloud(browser: &Browser, what: &str) {
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes: Vec<&Value> = tree["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|node| node["ignored"] == false)
        .collect();
    let of =
        |role: &str| nodes.iter().filter(|node| node["role"]["value"] == role).collect::<Vec<_>>();
    for landmark in ["banner", "main", "contentinfo"] {
        assert_eq!(of(landmark).len(), 1, "{what}: {landmark}");
    }
    for role in ["region", "article", "link", "heading", "image"] {
        let found = of(role);
        assert!(!found.is_empty(), "{what}: no {role}");
        for node in found {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "{what}: a {role} without a name: {node}");
        }
    }
    let strips = of("image");
    let told = |node: &&&Value| {
        node["name"]["value"].as_str().unwrap_or_default().starts_with("Answers of the last")
    };
    assert!(strips.iter().all(told), "{what}: {strips:?}");
}
