//! What the keeper says to a candidate of another host that asks a node here to give way.

use std::future::pending;

use tokio::sync::mpsc;

use super::Keeper;
use crate::look::error::ErrorKind;
use crate::look::release::Release;
use crate::look::role::Role;
use crate::look::snapshot::{Heard, SourceFacts, heard};
use crate::look::stamp::Stamp;
use crate::report::announced;
use crate::source::releasing::{Key, Question};

impl Keeper {
    /// Answers a candidate that asks the node here to give way; from then on the node claims nothing of
    /// what it was.
    pub(super) fn give_way(&mut self, question: Question) {
        let now = self.clock.now();
        let answer = self.release(now, &question);
        // Who asked has given up where nobody takes it.
        let _ = question.reply.send(answer);
    }

    fn release(&mut self, now: Stamp, question: &Question) -> Option<String> {
        let asked = |source: &SourceFacts| {
            source.identity.as_ref().is_some_and(|identity| identity.node == question.node)
        };
        let facts = self.facts.borrow();
        let mut of_node = facts.nodes.iter().enumerate().flat_map(|(at, node)| {
            let places = node.sources.iter().enumerate().filter(|(_, source)| asked(source));
            places.map(move |(index, source)| (at, index, source))
        });
        let (at, index, source) = of_node.next()?;
        if of_node.next().is_some() {
            // Two clusters are watched that both have a node of this number.
            return None;
        }
        let identity = source.identity.clone()?;
        drop(of_node);
        let own = source.own.failing().map(|(began, error)| (began, error.kind));
        let follows = |own: &Heard<'_>| {
            own.seen.role == Some(Role::Replica) && own.said.me == Some(question.node)
        };
        let recovery =
            heard(&source.own).filter(|own| source.own.failing().is_none() && follows(own));
        let recovery = recovery.map(|own| now.since(own.began));
        drop(facts);
        let source = &self.nodes[at].watched[index].source;
        let (electorate, rhythm) = (source.electorate()?, source.rhythm());
        let key = Key::read(&source.kind.settings().releasing()?.key_file);
        let key = key.inspect_err(announced::log_no_release).ok()?;
        if !key.asked(question) {
            return None;
        }
        if let Some(timeline) = question.without {
            self.nodes[at].watched[index].facts.is_left_out(question.from, timeline);
            self.publish(at);
        }
        let young = |began: Stamp| now.since(began) <= rhythm.interval + rhythm.timeout;
        let gone = own.is_some_and(|(began, kind)| kind == ErrorKind::ServerDown && young(began));
        let claims = !gone || self.claims_after_giving_way(now, at);
        // Read after the facts were published: see `Spoken`.
        let spoken = &self.metrics.spoken;
        let age = now.since(self.began);
        let last_ready = spoken.ago(now).map_or(age, |ago| ago.min(age));
        let claims = claims || spoken.is_under_way();
        let release = Release {
            node: identity.node,
            system: identity.system,
            timeline: identity.timeline,
            claims,
            recovery,
            left_out: self.nodes[at].watched[index].facts.left_out,
            last_ready,
            life: electorate.life,
            memory: electorate.memory,
        };
        let node = &mut self.nodes[at];
        if recovery.is_none() {
            // The server may be on its way back as a standby, and the candidate waits for that alone.
            if !node.watched[index].poked_lately(now) {
                node.watched[index].poke(now);
            }
            if release.claims {
                announced::log_claims(&node.name, question.from);
            }
        }
        if !release.claims && node.watched[index].gives_way(question.from) {
            announced::log_gave_way(&node.name, question.from, &release);
        }
        Some(key.answer(&release, &question.nonce))
    }

    /// Forgets what the node claimed, and whether somebody could be told all the same that it is the
    /// primary: by an operator's order.
    fn claims_after_giving_way(&mut self, now: Stamp, at: usize) -> bool {
        self.facts.send_modify(|facts| {
            for service in &mut facts.nodes[at].services {
                service.standing = service.standing.released();
            }
        });
        let facts = self.facts.borrow();
        let node = &facts.nodes[at];
        if let Some(records) = &self.records {
            for service in &node.services {
                records.forget((&node.name, &service.name));
            }
        }
        node.services.iter().any(|service| {
            let verdict = node.verdict(now, service);
            service.lets_write(&verdict) || !service.standing.claims_nothing()
        })
    }
}

/// The next candidate that asks; never where nobody can.
pub(super) async fn next_question(
    questions: &mut Option<mpsc::Receiver<Question>>,
) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => pending().await,
    }
}
