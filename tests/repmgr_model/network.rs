//! The way of a question: a poller of rolecall asks, the network takes its time or loses it, and a
//! server of the model answers as it is at that moment.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::source::RoleSource;
use rolecall::source::releasing::{Key, Question, Without, nonce};
use tokio::sync::oneshot;

use crate::answers::{Look, Shown, failed, node_id};
use crate::cluster::{Host, Id};
use crate::gate::Gate;
use crate::process::Life;
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
pub struct Query {
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

/// A candidate's rolecall that asks another one to give way, by the packets that [`crate::process`]
/// hands to that one's keeper.
pub struct AskingToGiveWay {
    pub world: Weak<World>,
    pub from: Id,
    pub to: Id,
    pub key_file: PathBuf,
    pub without: Without,
    pub gate: Arc<Gate>,
}

impl RoleSource for AskingToGiveWay {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let lost = |what: &str| SourceError::new(ErrorKind::Unreachable, what);
        let Some(world) = self.world.upgrade() else { return std::future::pending().await };
        let key = Key::read(&self.key_file)?;
        let nonce = nonce().ok_or_else(|| lost("no nonce"))?;
        let (node, from) = (node_id(self.to), node_id(self.from));
        let (reply, replied) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let without = self.without.said();
        let code = key.ask(node, from, without, &nonce);
        let question = Question { node, from, nonce: nonce.clone(), without, code, reply };
        {
            let mut sim = current(&world);
            self.gate.look_began(sim.now);
            let there = sim.delay(self.to) / 2;
            sim.after(there, Due::GiveWay(self.from, self.to, question, replied, answer));
        }
        drop(world);
        let body = answered.await;
        self.gate.look_ended();
        let Ok(body) = body else { return std::future::pending().await };
        let body = body.ok_or_else(|| lost("refused"))?;
        let release = key.read_answer(&body, &nonce).ok_or_else(|| lost("not proven"))?;
        Ok(Observation { release: Some(Arc::new(release)), ..Observation::of(Role::Replica) })
    }
}

impl Sim {
    fn ask(&mut self, from: Id, to: Id) -> oneshot::Receiver<Look> {
        let (answer, answered) = oneshot::channel();
        let question = Query { from, to, answer };
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
            0 if self.settings.late && self.rng.one_in(LATE) => usual + self.rng.between(20, 800),
            0 => usual,
            slow => slow,
        }
    }

    pub fn serve(&mut self, question: Query, back: u64) {
        let Query { from, to, answer } = question;
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
        crate::answers::mislead(seen, *id, self.settings.names_alone);
    }

    /// A question to give way has reached its host; what the keeper there says goes back.
    pub fn give_way(
        &mut self,
        from: Id,
        to: Id,
        question: Question,
        replied: oneshot::Receiver<Option<String>>,
        answer: oneshot::Sender<Option<String>>,
    ) {
        let up = self.cluster.node(to).host == Host::Up && self.cluster.reaches(from, to);
        let back = self.delay(to) / 2;
        let Some(process) = self.processes.get(at(to)).filter(|_| up) else { return };
        match process.state {
            // It waits in the socket; who asked gives up before long.
            Life::Stopped => {
                let again = Due::GiveWay(from, to, question, replied, answer);
                self.after(50, again);
            }
            Life::Dead => drop(answer.send(None)),
            Life::Running => {
                process.ask_to_give_way(question);
                let gate = process.gate();
                let me = self.me.clone();
                tokio::spawn(gate.around(async move {
                    let body = replied.await.unwrap_or_default();
                    if let Some(world) = me.upgrade() {
                        current(&world).after(back, Due::GaveWay(answer, body));
                    }
                }));
            }
        }
    }
}
