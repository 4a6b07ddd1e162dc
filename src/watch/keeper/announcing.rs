//! What the keeper announces: every change of a verdict, to the log, to the history and to whoever follows.

use crate::facts::ServiceFacts;
use crate::report::announced::{self, Announced};
use crate::watch::keeper::Keeper;

impl Keeper {
    pub(super) fn announce_all(&mut self) {
        let mut changed = false;
        for at in 0..self.nodes.len() {
            changed |= self.announce(at);
        }
        if changed {
            self.publish_announced();
        }
    }

    /// Announces the verdicts that time alone may have changed by now.
    pub(super) fn announce_due(&mut self) {
        let now = self.clock.now();
        let mut changed = false;
        for at in 0..self.nodes.len() {
            if self.nodes[at].next.is_some_and(|next| next <= now) {
                changed |= self.announce(at);
            }
        }
        if changed {
            self.publish_announced();
        }
    }

    /// Logs every verdict about a node that is not the one last announced, and notes when the next
    /// change is due if nothing new is seen. Tells whether there is something to publish.
    pub(super) fn announce(&mut self, at: usize) -> bool {
        let now = self.clock.now();
        let facts = self.facts.borrow();
        let known = &facts.nodes[at];
        let judge = |service: &ServiceFacts| {
            let verdict = known.verdict(now, service);
            let logged = (verdict.reason.label(), now);
            let (node, service) = (known.name.clone(), service.name.clone());
            Announced { node, service, verdict, since: now, logged }
        };
        let mut current: Vec<_> = known.services.iter().map(judge).collect();
        let handed_over =
            known.services.iter().map(|service| service.standing.handed_over.is_some());
        let handed_over: Vec<bool> = handed_over.collect();
        let role = known.sources.iter().find_map(|source| source.own.good()?.1.role);
        let cluster = known.cluster.clone();
        drop(facts);
        let node = &mut self.nodes[at];
        let mut changed = node.said.len() != current.len();
        for (new, handed_over) in current.iter_mut().zip(handed_over) {
            let old = node.said.iter().find(|old| old.service == new.service);
            let from = old.map(|old| old.verdict.state);
            match old {
                Some(old) if old.verdict.state == new.verdict.state => {
                    (new.since, new.logged) = (old.since, old.logged);
                    if new.has_news(now) {
                        announced::log_reason(old.logged.0, new);
                        self.history.note(now, cluster.as_ref(), new);
                        new.logged = (new.verdict.reason.label(), now);
                    }
                    changed |= new.logged != old.logged;
                }
                _ => {
                    announced::log_change(now, from, role, handed_over, new);
                    self.history.note(now, cluster.as_ref(), new);
                    self.metrics.changed(&new.node, &new.service, new.verdict.state);
                }
            }
            let same_reason = old.is_some_and(|old| old.verdict.reason == new.verdict.reason);
            changed |= !same_reason || from != Some(new.verdict.state);
            if !same_reason && new.verdict.reason.is_lockless() {
                announced::log_lockless(new);
            }
        }
        node.next =
            current.iter().filter_map(|new| new.verdict.until).filter(|until| *until >= now).min();
        if changed {
            node.said = current.into();
        }
        changed
    }

    pub(super) fn publish_announced(&self) {
        self.announced.send_replace(self.nodes.iter().map(|node| node.said.clone()).collect());
    }
}
