//! `make demo`: what rolecall is for, live, in under two minutes.
//!
//! Two stories of a killed primary that comes back, chosen by `SOURCE`: in a repmgr cluster, where
//! rolecall knows better than the old primary; and with two bare PostgreSQL servers
//! (`SOURCE=postgres`), where nobody can. The exit code is 0 only if all of it happened as told, so
//! that the demo is a test as well. With `KEEP=1` everything stays up after the story.

mod client;
mod cluster;
#[path = "../fixtures/mod.rs"]
mod fixtures;
mod needs;
mod postgres_story;
mod repmgr_story;
mod scene;
mod screen;
mod stage;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use needs::{Needs, UNAVAILABLE};
use screen::{Ink, ink, say};

/// Longest wait for anything in a story: many times what it takes on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The exit code where `SOURCE` is none of the stories (`EX_USAGE`).
const USAGE: u8 = 64;

/// What tells a story with the programs that were found.
type Story = fn(&Needs) -> Result<(), String>;

fn main() -> ExitCode {
    let source = std::env::var("SOURCE").unwrap_or_default();
    match source.as_str() {
        "" | "repmgr" => stage::play(|| tell(repmgr_story::tell, Needs::find(true))),
        "postgres" => stage::play(|| tell(postgres_story::tell, Needs::find(false))),
        _ => {
            eprintln!("SOURCE={source}: expected repmgr or postgres");
            eprintln!("hint: make demo SOURCE=postgres");
            ExitCode::from(USAGE)
        }
    }
}

fn tell(story: Story, needs: Result<Needs, String>) -> ExitCode {
    let needs = match needs {
        Ok(needs) => needs,
        Err(missing) => {
            eprintln!("{missing}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    match story(&needs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("\n{} {why}", ink(Ink::Bad, "The story did not happen as told:"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is to stay up after the story.
pub fn keeping() -> bool {
    std::env::var_os("KEEP").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Leaves everything up until the outer process ends this one.
pub fn wait_for_the_end() -> ! {
    say("");
    say("Ctrl-C here stops and removes all of it.");
    loop {
        std::thread::park();
    }
}
