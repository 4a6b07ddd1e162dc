//! The keys of kind `command`: a program of the operator's that knows the role.

use std::path::Path;

use crate::config::document::{Fault, Table};
use crate::config::kind::settings::{
    At, HOLD, Lag, Profile, Replicas, Sees, Settings, Surroundings, TIMEOUT,
};
use crate::config::units::{or_missing, string_or, text};
use crate::config::warning::Warning;
use crate::look::kind::Shows;

const COMMAND: &str = "an array of the program's absolute path and its arguments";
const HINT: &str = r#"for example ["/usr/local/bin/myrole", "--quiet"]; no shell is used"#;

pub(crate) const PROFILE: Profile = Profile {
    word: "command",
    keys: &["command"],
    flag: None,
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: true,
        replicas: Replicas::AsSaid,
        lag: Lag::Unseen,
        tags: false,
        server: Shows::Nothing,
    },
    check_defaults: |table, _| {
        keys(table);
    },
};

/// A program of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its path and arguments; never through a shell.
    pub argv: Vec<String>,
}

impl Settings for Command {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        At::Here
    }

    fn warnings(&self, _: &Surroundings) -> Vec<Warning> {
        let program = self.argv.first();
        let missing = program.and_then(|it| Warning::of_missing("command", Path::new(it)));
        missing.into_iter().collect()
    }
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>) -> Option<Command> {
    or_missing(table, "command", keys(table), COMMAND, HINT)
}

fn keys(table: &Table<'_>) -> Option<Command> {
    if table.has("command") && !table.has_array("command") {
        table.report("command", Fault::new("not an array", COMMAND, HINT));
        return None;
    }
    let hint = "put each argument in double quotes";
    let words = table.take_all("command", string_or("a string", hint, text))?;
    let argv: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    if argv.first().is_some_and(|program| program.starts_with('/')) {
        return Some(Command { argv });
    }
    let what = if argv.is_empty() { "empty" } else { "does not begin with an absolute path" };
    table.report("command", Fault::new(what, COMMAND, HINT));
    None
}
