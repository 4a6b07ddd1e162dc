//! `make bench-failover`: from the end of recovery on the new leader to the first write through HAProxy.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::fixtures::patroni::Template;
use crate::fixtures::timing::{self, From, Story, Took};
use crate::stage::{Callbacks, Setting, Stage, built, other};

/// With the hook as it is shipped.
const HOOKED: Setting = Setting { callbacks: Callbacks::Shipped, ..Setting::USUAL };
/// After so long every rolecall and check has looked since the stage was whole, and rolecall looks at its
/// usual pace again after the pokes of the start.
const WHOLE: Duration = Duration::from_secs(5);

/// Its name, and what befalls node 1.
type Befalls = (&'static str, fn(&mut Stage));

const STORIES: [Befalls; 2] = [
    ("Patroni, kill -9 of all", |stage| {
        let node = stage.cluster.node_mut(1);
        node.kill_patroni();
        node.kill_postgres();
    }),
    ("Patroni, switchover", |stage| {
        let to = json!({"leader": "n1", "candidate": "n2"});
        stage.cluster.tell(1, "POST /switchover", &to);
    }),
];

/// Measures the stories that have one of `words` in their name, all where there are none.
pub fn measure(
    template: &Template,
    program: &Path,
    version: &str,
    runs: u32,
    words: &[String],
) -> ExitCode {
    let releases: Vec<_> = [built()].into_iter().chain(other()).collect();
    let chosen = STORIES.iter().filter(|(name, _)| {
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    });
    let plays: Vec<_> = chosen
        .map(|(name, befall)| {
            let play = move |release: &_, after| -> Took {
                let mut stage = Stage::start_with(template, program, version, HOOKED, release);
                stage.look_on(WHOLE + after);
                stage.fault();
                befall(&mut stage);
                stage.took(2)
            };
            (*name, play)
        })
        .collect();
    let stories: Vec<_> =
        plays.iter().map(|(name, play)| Story { name, from: From::Promotion, play }).collect();
    timing::measure(&stories, &releases, runs)
}
