//! `make bench-failover`: from the kill, the cut or the command to the first write through HAProxy.

use std::process::ExitCode;
use std::time::Duration;

use crate::fixtures::repmgr::{CLIENT, Shape, WITNESS};
use crate::fixtures::repmgr_template::Template;
use crate::fixtures::timing::{self, From, Story, Took};
use crate::scenarios::FULL;
use crate::stage::{Setting, Stage, built, other};

/// Two data nodes and a witness.
const WITNESSED: Setting = Setting { shape: Shape::WITNESSED, ..FULL };
/// Three data nodes.
const THREE: Setting = Setting { shape: Shape::THREE, ..FULL };

/// Its name, the cluster, and what befalls node 1.
type Befalls = (&'static str, Setting, fn(&mut Stage));

const STORIES: [Befalls; 5] = [
    ("kill -9, 2 + witness", WITNESSED, |stage| stage.cluster.crash(1)),
    ("switchover, 2 + witness", WITNESSED, |stage| stage.cluster.switchover(2)),
    ("switchover, 3", THREE, |stage| stage.cluster.switchover(2)),
    ("host lost, 2 + witness", WITNESSED, lost),
    ("kill -9, 3", THREE, |stage| stage.cluster.crash(1)),
];

/// Nothing that its host sends or is sent arrives any more.
fn lost(stage: &mut Stage) {
    for other in [2, WITNESS, CLIENT] {
        stage.cluster.cut(1, other);
    }
}

/// Measures the stories that have one of `words` in their name, all where there are none.
pub fn measure(template: &Template, runs: u32, words: &[String]) -> ExitCode {
    let releases: Vec<_> = [built()].into_iter().chain(other()).collect();
    let chosen = STORIES.iter().filter(|(name, ..)| {
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    });
    let plays: Vec<_> = chosen
        .map(|(name, setting, befall)| {
            let play = move |release: &_, after| -> Took {
                let mut stage = Stage::start_with(template, *setting, release);
                stage.look_on(WHOLE + after);
                stage.fault();
                befall(&mut stage);
                stage.took(1)
            };
            (*name, play)
        })
        .collect();
    let stories: Vec<_> =
        plays.iter().map(|(name, play)| Story { name, from: From::Fault, play }).collect();
    timing::measure(&stories, &releases, runs)
}

/// After so long every rolecall, repmgrd and check has looked since the stage was whole.
const WHOLE: Duration = Duration::from_secs(2);
