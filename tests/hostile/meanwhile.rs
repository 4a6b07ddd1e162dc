//! What is answered about a healthy node while something hostile goes on.

use std::net::SocketAddr;
use std::time::Duration;

use crate::fixtures::{Check, Heard, Recorder, checker, eventually, say};

/// How often it is asked.
const EVERY: Duration = Duration::from_millis(20);
/// Longest wait for an answer: far longer than HAProxy waits.
const WITHIN: Duration = Duration::from_secs(2);

/// So few answers say nothing.
const FEWEST: usize = 5;
/// Longest wait for more of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent port that is asked all the time; dropped, it says on one line what was answered.
pub struct Meanwhile {
    case: &'static str,
    answers: Option<Recorder<Check>>,
}

impl Meanwhile {
    /// Asks at this port of a node that must be READY.
    pub fn of(case: &'static str, agent: SocketAddr) -> Self {
        Self { case, answers: Some(checker(agent, EVERY, WITHIN)) }
    }

    /// Asserts that it was READY all the time; what is over in a moment is given the time for some answers.
    pub fn was_ready(mut self) {
        if let Some(answers) = &self.answers {
            let asked = || if answers.mark() > FEWEST { Ok(()) } else { Err(answers.mark()) };
            eventually(PATIENCE, &format!("{}: answers", self.case), asked);
        }
        let answers = self.said();
        assert!(answers.len() > FEWEST, "{}: {} answers", self.case, answers.len());
        let wrong = answers.iter().find(|check| is_wrong(check));
        assert!(wrong.is_none(), "{}: {wrong:?}", self.case);
    }

    /// What was answered, said on one line.
    fn said(&mut self) -> Vec<Check> {
        let Some(answers) = self.answers.take() else { return Vec::new() };
        let answers = answers.stop();
        let wrong = answers.iter().filter(|check| is_wrong(check)).count();
        let slowest = answers.iter().map(|check| check.took).max().unwrap_or_default();
        say(&format!(
            "{}: {} answers meanwhile, {wrong} wrong, slowest {:.1} ms",
            self.case,
            answers.len(),
            slowest.as_secs_f64() * 1000.0
        ));
        answers
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.said();
    }
}

fn is_wrong(check: &Check) -> bool {
    check.heard != Heard::Said("READY\n".to_owned())
}
