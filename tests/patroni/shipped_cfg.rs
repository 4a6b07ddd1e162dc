//! The shipped `haproxy/patroni.cfg` on every HAProxy that can be run here.

use std::path::PathBuf;

use crate::fixtures::{Ground, Haproxy, haproxies, missing};
use crate::stage::{CFG, addresses};

/// Begins the lines that are there for servers known by name.
const DNS: &str = "#dns ";

/// Both forms of the file are valid without a warning, as they stand and as the tests fill them.
pub fn is_valid() {
    let found = haproxies();
    for needed in ["2.6", "3."] {
        if found.iter().all(|(version, _)| !version.starts_with(needed)) {
            missing(&format!("haproxy {needed}"));
        }
    }
    for (version, program) in found {
        println!("haproxy/patroni.cfg with HAProxy {version}");
        let ground = Ground::new();
        for cfg in [CFG.into(), with_resolvers(&ground)] {
            Haproxy::check(&ground, &program, &cfg, &[]);
            Haproxy::check(&ground, &program, &cfg, &addresses(&ground));
        }
    }
}

/// The file with its lines for resolvers uncommented.
pub fn with_resolvers(ground: &Ground) -> PathBuf {
    let text = std::fs::read_to_string(CFG).expect("haproxy/patroni.cfg");
    assert!(text.contains(DNS), "no line for resolvers");
    ground.write("patroni-dns.cfg", &text.replace(DNS, ""))
}
