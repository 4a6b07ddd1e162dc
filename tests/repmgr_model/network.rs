//! The way of a question: a poller of rolecall asks, the network takes its time or loses it, and a
//! server of the model answers as it is at that moment.

use std::sync::{Arc, Weak};

use rolecall::observation::{ErrorKind, Observation, SourceError};
use rolecall::source::RoleSource;
use tokio::sync::oneshot;

use crate::answers::{Look, Shown, failed};
use crate::cluster::Id;
use crate::gate::Gate;
use crate::sim::{Due, Sim, World, at, current};

/// A source that asks the simulated cluster.
pub struct Asking {
    pub world: Weak<World>,
    pub from: Id,
    pub to: Id,
    pub gate: Arc<Gate>,
}

/// A question under way.
#[derive(Debug)]
pub struct Question {
    pub from: Id,
    pub to: Id,
    answer: oneshot::Sender<Look>,
}

/// How often an answer is late by chance: one in so many.
const LATE: u64 = 60;

impl RoleSource for Asking {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let Some(world) = self.world.upgrade() else { return std::future::pending().await };
        let answer = {
            let mut sim = current(&world);
            self.gate.look_began(sim.now);
            sim.ask(self.from, self.to)
        };
        drop(world);
        let look = answer.await;
        self.gate.look_ended();
        match look {
            Ok(look) => look,
            // Lost on its way.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Sim {
    fn ask(&mut self, from: Id, to: Id) -> oneshot::Receiver<Look> {
        let (answer, answered) = oneshot::channel();
        let question = Question { from, to, answer };
        let delay = self.delay(to);
        // A server sees itself as it is when the question comes: at once, halfway, or at the end.
        let there = match self.rng.between(0, 3) {
            0 => 0,
            1 => delay / 2,
            _ => delay,
        };
        if there == 0 {
            self.serve(question, delay);
        } else {
            self.after(there, Due::Serve(question, delay - there));
        }
        answered
    }

    fn delay(&mut self, to: Id) -> u64 {
        let usual = self.rng.between(1, 2 + self.settings.slow);
        match self.slow[at(to)] {
            0 if self.settings.automatic && self.rng.one_in(LATE) => {
                usual + self.rng.between(20, 800)
            }
            0 => usual,
            slow => slow,
        }
    }

    pub fn serve(&mut self, question: Question, back: u64) {
        let Question { from, to, answer } = question;
        let shown = Shown { seen: self.seen(to), told: self.repmgrd[at(to)].told };
        let mut look = self.cluster.look(from, to, shown);
        if let (Ok(_), Some(kind)) = (&look, self.impaired[at(to)]) {
            look = Err(failed(kind));
        }
        if let Ok(seen) = &mut look {
            self.resolved(from, to, seen);
        }
        // A question that is lost is dropped with its channel.
        if !matches!(&look, Err(error) if error.kind == ErrorKind::Timeout) {
            self.after(back, Due::Arrive(answer, look));
        }
    }

    /// Whom the answering server streams from, as the asking host resolves the address.
    fn resolved(&self, from: Id, to: Id, seen: &mut Observation) {
        let Some((_, _, id)) = self.misled.iter().find(|(f, t, _)| (*f, *t) == (from, to)) else {
            return;
        };
        crate::answers::mislead(seen, *id);
    }
}
