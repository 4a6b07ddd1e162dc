//! A run as a script: what was done from outside, and when. It goes the same way when it is played
//! again with the seed that made it, and what it does not need for its end is left out.

use std::fmt::Write;

use crate::cluster::Cluster;
use crate::oracle::Totals;
use crate::play::Play;
use crate::sim::Settings;
use crate::steps::Step;

pub type Script = Vec<(u64, Step)>;

/// Where a script is played.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    pub size: u8,
    pub witness: bool,
    pub settings: Settings,
    pub seed: u64,
    pub until: u64,
}

/// Most plays that a script is shortened by.
const PLAYS: usize = 200;

impl Stage {
    pub fn play(&self) -> Play {
        Play::new(Cluster::healthy(self.size, self.witness), self.settings, self.seed)
    }

    /// Ends where what must never be has been.
    pub fn replay(&self, script: &[(u64, Step)]) -> Totals {
        let play = self.play();
        for (at, step) in script {
            play.later(*at, *step);
        }
        play.run(self.until);
        play.sim().totals
    }

    /// The same end with fewer steps: halves are left out, then quarters, down to single ones.
    pub fn shortened(&self, script: &Script) -> Script {
        let mut script = script.clone();
        let mut plays = 0;
        let mut part = script.len().div_ceil(2);
        while part > 0 && plays < PLAYS {
            let mut from = 0;
            while from < script.len() && plays < PLAYS {
                let mut without = script.clone();
                without.drain(from..(from + part).min(script.len()));
                plays += 1;
                if self.replay(&without).safe() {
                    from += part;
                } else {
                    script = without;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
        script
    }
}

/// As it stands in a test.
pub fn printed(script: &[(u64, Step)]) -> String {
    let mut text = String::new();
    for (at, step) in script {
        let step = match step {
            Step::Event(event) => format!("Event(E::{event:?})"),
            Step::IfNotWritable(id, event) => format!("IfNotWritable({id}, E::{event:?})"),
            Step::IfLatest(id, event) => format!("IfLatest({id}, E::{event:?})"),
            step => format!("{step:?}"),
        };
        let _ = writeln!(text, "    ({at}, S::{step}),");
    }
    text
}
