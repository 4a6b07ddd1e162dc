//! `rolecall check`: what is wrong with a configuration beyond its text, and what may surprise somebody. Every server
//! that can say something of it is asked, each for a second at most.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use tokio::runtime::Runtime;

use crate::cli::{failover_after, lock_times};
use crate::config::Config;
use crate::config::schema::Loaded;
use crate::host::accounts;
use crate::host::failure::{Exit, Failure};
use crate::look::error::SourceError;
use crate::source::resolve::Resolver;
use crate::source::{self, Source};
use crate::watch::fencing;

/// What is said of a configuration that can be used; `file`: what it was read from.
///
/// # Errors
/// It cannot be used.
pub fn check(loaded: &Loaded, file: Option<&Path>, runtime: Runtime) -> Result<String, Failure> {
    let config = &loaded.config;
    let hidden = unseen_keys(config)?;
    // The daemon does not start without it.
    if let Some(group) = config.control.as_ref().and_then(|control| control.group.as_ref()) {
        accounts::group(group)?;
    }
    let times = runtime.block_on(lock_times::ask(config));
    if !times.held_too_long.is_empty() {
        return Err(Failure::new(Exit::Config, times.held_too_long.join("\n")));
    }
    let fence = runtime.block_on(fencing::check(config));
    let overrated = runtime.block_on(failover_after::overrated(config));
    // A name look-up that hangs must not keep the answer from being printed.
    runtime.shutdown_background();
    let unsure = fence.map_err(|error| {
        Failure::new(Exit::Config, format_args!("fence: {error}")).hint(error.kind.hint())
    })?;
    let mut said = Said::default();
    for unknown in times.unknown {
        said.warn(&unknown, lock_times::HINT);
    }
    for (node, overrated) in overrated {
        said.warn(&format_args!("{node}: {overrated}"), failover_after::HINT);
    }
    if let Some(error) = unsure {
        said.warn(&of_fence(&error), error.kind.hint());
    }
    for warning in &loaded.warnings {
        said.warn(warning, warning.hint());
    }
    for key in hidden {
        let key = key.display();
        let what = format!(
            "{key} can be read by the daemon only, so `check` could not test the source that uses \
             it"
        );
        said.warn(
            &what,
            "start or reload rolecall and look in its log (journalctl -u rolecall) whether it \
             could read the file",
        );
    }
    let ok = match file {
        Some(file) => format!("{}: ok\n", file.display()),
        None => "no configuration file, so the built-in defaults are used: ok\n".to_owned(),
    };
    Ok(said.0 + &ok)
}

fn of_fence(error: &SourceError) -> String {
    format!("fence: it is not known whether rolecall may end sessions: {error}")
}

/// What is printed.
#[derive(Default)]
struct Said(String);

impl Said {
    fn warn(&mut self, what: &dyn std::fmt::Display, hint: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "warning: {what}\n  hint: {hint}");
    }
}

/// The keys of sources that only the daemon can read.
///
/// # Errors
/// Another source cannot look at all.
fn unseen_keys(config: &Config) -> Result<BTreeSet<&Path>, Failure> {
    let resolver = Resolver::system();
    let (mut hidden, mut unusable) = (BTreeSet::new(), Vec::new());
    for source in config.nodes.iter().flat_map(|node| &node.sources) {
        if let Some(key) = source::shown_to_the_daemon_alone(source) {
            hidden.insert(key);
        } else if let Err(failure) = Source::new(source, &resolver) {
            unusable.push(failure.to_string());
        }
    }
    if unusable.is_empty() {
        return Ok(hidden);
    }
    Err(Failure::new(Exit::Config, unusable.join("\n")))
}
