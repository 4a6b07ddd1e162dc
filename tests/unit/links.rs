//! Every relative link of README.md, its neighbours and docs/*.md leads somewhere, its anchor too, and
//! docs/SUMMARY.md has every page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The pages of the root and of docs/.
fn pages() -> Vec<PathBuf> {
    let of = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let all = [of(Path::new(env!("CARGO_MANIFEST_DIR"))), of(&docs())].concat();
    all.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The lines of a page outside fenced blocks.
fn prose(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page");
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    outside.map(str::to_owned).collect()
}

/// Where the links of a page lead, but for those to other sites.
fn links(page: &Path) -> Vec<String> {
    let text = prose(page);
    let targets = text.iter().flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let lines = prose(page);
    let headings = lines.iter().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |sign: &char| sign.is_alphanumeric() || [' ', '-', '_'].contains(sign);
    headings.map(|line| line.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (mut count, mut broken) = (0, Vec::new());
    for page in pages() {
        for link in links(&page) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = match path {
                "" => page.clone(),
                path => page.parent().expect("a folder").join(path),
            };
            let there = to.exists() && (anchor.is_empty() || anchors(&to).contains(anchor));
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
            count += 1;
        }
    }
    assert!(count > 150, "{count} links");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_has_every_page_once() {
    let mut listed = links(&docs().join("SUMMARY.md"));
    let count = listed.len();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), count, "{listed:?}");
    let names = pages().into_iter().filter_map(|page| {
        let name = page.strip_prefix(docs()).ok()?;
        Some(name.display().to_string())
    });
    let missing: Vec<_> =
        names.filter(|name| name != "SUMMARY.md" && !listed.contains(name)).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
}
