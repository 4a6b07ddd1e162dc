//! What a story came to: who was READY and who took writes when, and which rows are there.

use std::collections::{BTreeMap, HashSet};

use rolecall::look::stamp::Stamp;

use super::Stage;
use crate::fixtures::ledger::{
    self, Promotion, Series, both, lost, none_and_two, promotions, strays, who_when,
};
use crate::fixtures::rows::Taken;
use crate::fixtures::{Recorder, now};
use crate::table::Line;
use crate::watch::{Usual, Writable};

impl Stage {
    /// What it came to from the fault until now. `leader`: the node whose rows count in the end.
    pub fn count(&self, name: String, leader: u8) -> Line {
        let zero = self.fault.unwrap_or(self.began);
        let (from, to) = (self.began, now());
        let since = |at: &Stamp| *at >= from;
        let ready = self.ready_series(from);
        let mut up: BTreeMap<u8, Series> = BTreeMap::new();
        for sample in self.servers.all().iter().filter(|s| since(&s.at)) {
            let rw = sample.servers.iter().filter(|(name, _)| name.starts_with("postgres_rw/"));
            for (id, (_, server)) in (1..).zip(rw) {
                up.entry(id).or_default().push((sample.at, server.is_up()));
            }
        }
        let writes = self.write_series(from);
        let both = ready.iter().map(|(id, ready)| (*id, both(ready, &writes[id]))).collect();
        let usual = |yes: fn(&Usual) -> bool| {
            let all = self.usual.iter().map(|(id, all)| {
                // The last answer before counts until the next one, as in HAProxy.
                (*id, all.all().iter().map(|u| (u.at, yes(u))).collect::<Series>())
            });
            none_and_two(&all.collect(), from, to)
        };
        let rows = self.rows.all();
        let left = self.promotions();
        let (none, two) = none_and_two(&ready, from, to);
        Line {
            name,
            who: who_when(&ready, zero),
            none,
            two,
            two_writable: none_and_two(&both, from, to).1,
            two_up: none_and_two(&up, from, to).1,
            strays: strays(&rows, &left),
            lost: lost(&rows, &self.kept(leader)),
            taken: rows.iter().filter(|r| matches!(r.taken, Taken::By { .. })).count(),
            usual: usual(|u| u.master),
            mended: usual(|u| u.primary),
            note: self.note.clone(),
        }
    }

    /// When each node said READY, since `from`.
    pub fn ready_series(&self, from: Stamp) -> BTreeMap<u8, Series> {
        ledger::ready_series(&self.answers, from)
    }

    /// When each server took writes, since `from`.
    pub fn write_series(&self, from: Stamp) -> BTreeMap<u8, Series> {
        let of = |(id, all): (&u8, &Recorder<Writable>)| {
            let all = all.all().into_iter().filter(|seen| seen.at >= from);
            (*id, all.map(|seen| (seen.at, seen.writes)).collect())
        };
        self.writable.iter().map(of).collect()
    }

    /// Who left recovery.
    pub fn promotions(&self) -> Vec<Promotion> {
        let nodes = self.cluster.nodes().iter();
        nodes.flat_map(|node| promotions(node.id, &node.log_text())).collect()
    }

    /// The rows that node `id` has.
    pub fn kept(&self, id: u8) -> HashSet<u64> {
        let all = "select coalesce(string_agg(n::text, ' '), '') from rows";
        let all = self.cluster.node(id).sql(all);
        all.split_whitespace().map(|n| n.parse().expect("a row's number")).collect()
    }
}
