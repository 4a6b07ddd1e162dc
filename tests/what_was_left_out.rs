//! The last program of `cargo test`, since Cargo runs them in the order of their names: it says what was left
//! out for want of a program, so that nobody takes a green end for more than it is.

#[path = "fixtures/left_out.rs"]
#[allow(dead_code, reason = "the other programs note what is read here")]
mod left_out;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use left_out::{LeftOut, List};

fn main() {
    let Some(list) = List::of_this_run() else { return };
    print!("{}", told(&list.read()));
    list.remove();
}

/// What is missing, and what therefore was not shown: each part of a program with the number of its tests.
fn told(all: &[LeftOut]) -> String {
    if all.is_empty() {
        return "\nNothing was left out.\n".to_owned();
    }
    let mut text = format!(
        "\nLEFT OUT: {} tests, since this machine lacks what they need. `make test` installs it and runs them.\n",
        all.len()
    );
    let mut missing: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for one in all {
        let module = one.test.as_deref().map(|test| test.split("::").next().unwrap_or(test));
        let part = match module {
            Some(module) => format!("{} {module}", one.program),
            None => format!("{} (all of it)", one.program),
        };
        *missing.entry(&one.what).or_default().entry(part).or_default() += 1;
    }
    for (what, parts) in missing {
        let parts: Vec<_> = parts.iter().map(|(part, count)| format!("{part} {count}")).collect();
        let _ = writeln!(text, "  no {what}: {}", parts.join(", "));
    }
    text + "\n"
}
