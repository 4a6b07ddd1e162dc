//! A world in a runtime of its own, and what a script may do with it.

use std::sync::{Arc, MutexGuard};

use rolecall::look::stamp::Stamp;

use crate::answers::node_id;
use crate::cluster::{Cluster, Event, Id};
use crate::sim::{Settings, Sim, World, at, current, ms};
use crate::steps::Step;

/// A world and the runtime that it lives in.
pub struct Play {
    runtime: tokio::runtime::Runtime,
    world: Arc<World>,
}

impl Play {
    pub fn new(cluster: Cluster, settings: Settings, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let world = runtime.block_on(async { Sim::new(cluster, settings, seed) });
        Self { runtime, world }
    }

    /// The world, between two moments.
    pub fn sim(&self) -> MutexGuard<'_, Sim> {
        self.world.lock().unwrap()
    }

    /// Does this now, as a part of the script.
    pub fn step(&self, step: Step) {
        self.runtime.block_on(async { current(&self.world).step(step) });
    }

    /// Lets time pass until this moment.
    pub fn run(&self, until: u64) {
        self.runtime.block_on(async {
            let (origin, sooner) = {
                let sim = self.sim();
                (sim.origin, Arc::clone(&sim.sooner))
            };
            loop {
                let Some(next) = current(&self.world).advance(until) else { return };
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(origin + ms(next)) => {}
                    () = sooner.notified() => {}
                }
            }
        });
    }

    pub fn pass(&self, time: u64) {
        let now = self.sim().now;
        self.run(now + time);
    }

    /// Does this so many milliseconds from now.
    pub fn later(&self, delay: u64, step: Step) {
        self.sim().later(delay, step);
    }

    /// Cuts a link both ways.
    pub fn cut(&self, delay: u64, a: Id, b: Id) {
        self.later(delay, Step::Event(Event::Cut(a, b)));
        self.later(delay, Step::Event(Event::Cut(b, a)));
    }

    pub fn heal(&self, delay: u64, a: Id, b: Id) {
        self.later(delay, Step::Event(Event::Heal(a, b)));
        self.later(delay, Step::Event(Event::Heal(b, a)));
    }

    /// By this play's seed.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.sim().chance.between(low, high)
    }

    /// When the last finished look of one node's rolecall at another began.
    pub fn asked(&self, of: Id, node: Id) -> Option<Stamp> {
        let facts = self.sim().processes[at(of)].facts.clone();
        let facts = facts.borrow();
        facts.nodes.first()?.sources[0].peers.get(&node_id(node))?.last_look()
    }

    /// Until one node's rolecall has had another answer of another node.
    pub fn until_asked(&self, of: Id, node: Id) {
        let before = self.asked(of, node);
        let end = self.sim().now + 10_000;
        while self.asked(of, node) == before {
            assert!(self.sim().now < end, "node {} is not asked by node {}", node + 1, of + 1);
            self.pass(1);
        }
    }
}
