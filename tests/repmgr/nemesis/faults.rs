//! What befalls a cluster, and how all of it is mended again.

use std::time::Duration;

use rustix::process::Signal;

use super::Round;
use crate::fixtures::Shutdown;
use crate::fixtures::proving::Fault;
use crate::fixtures::repmgr::{CLIENT, WITNESS};

type One = Fault<Round>;

/// All of them.
pub const ALL: [One; 25] = [
    One::of("PostgreSQL of the primary killed", 5, |round| {
        round.stage.cluster.crash(round.primary);
    }),
    One::of("PostgreSQL of the primary stopped fast", 2, |round| round.stop(Shutdown::Fast)),
    One::of("PostgreSQL of the primary stopped immediately", 2, |round| {
        round.stop(Shutdown::Immediate);
    }),
    One::of("PostgreSQL of the primary restarted", 2, |round| {
        round.stop(Shutdown::Fast);
        let primary = round.primary;
        round.stage.cluster.start_server(primary);
    }),
    One::of("PostgreSQL of the primary stands still", 2, |round| {
        let primary = round.primary;
        round.freeze_server(primary);
    }),
    One::of("the primary's host stands still", 3, |round| {
        let primary = round.primary;
        round.freeze_host(primary);
    }),
    One::of("the primary's host stands still for a moment", 2, |round| {
        let primary = round.primary;
        round.freeze_host(primary);
        let span = round.rng.millis(500, 6000);
        round.stage.look_on(span);
        round.thaw_host(primary);
    }),
    One::of("the primary's host is killed", 4, |round| {
        let primary = round.primary;
        round.stage.cluster.crash(primary);
        round.kill_role(primary);
        round.stage.cluster.node_mut(primary).stop_repmgrd();
    }),
    One::of("the primary is cut off from the nodes, not from HAProxy", 4, |round| {
        for other in round.others_and_witness() {
            round.stage.cluster.cut(round.primary, other);
        }
    }),
    One::of("the primary is cut off from everybody", 3, |round| {
        for other in round.others_and_witness() {
            round.stage.cluster.cut(round.primary, other);
        }
        round.stage.cluster.cut(round.primary, CLIENT);
    }),
    One::of("the primary is cut off from HAProxy alone", 1, |round| {
        round.stage.cluster.cut(round.primary, CLIENT);
    }),
    One::of("the primary hears no node and is heard", 2, |round| {
        for other in round.others_and_witness() {
            round.stage.cluster.cut_one_way(other, round.primary);
        }
    }),
    One::of("the primary is heard by no node and hears them", 2, |round| {
        for other in round.others_and_witness() {
            round.stage.cluster.cut_one_way(round.primary, other);
        }
    }),
    One::of("the primary's links are lost one after the other", 2, |round| {
        for other in round.others_and_witness() {
            round.stage.cluster.cut(round.primary, other);
            let span = round.rng.millis(300, 3000);
            round.stage.look_on(span);
        }
    }),
    One::of("the primary and the witness are cut off from the rest", 2, |round| {
        for other in round.others() {
            round.stage.cluster.cut(round.primary, other);
            if round.has_witness() {
                round.stage.cluster.cut(WITNESS, other);
            }
        }
    }),
    One::of("switchover", 5, |round| {
        let to = round.another();
        if round.stage.cluster.try_switchover(to) {
            round.primary = to;
        }
    }),
    One::harmless("one link of the primary is lost", 2, |round| {
        let other = round.another();
        round.stage.cluster.cut(round.primary, other);
    }),
    One::harmless("a standby is promoted by hand", 2, |round| {
        let other = round.another();
        round.stage.cluster.promote_by_hand(other);
    }),
    One::harmless("PostgreSQL of a standby killed", 1, |round| {
        let other = round.another();
        round.stage.cluster.crash(other);
    }),
    One::harmless("a standby's host stands still", 1, |round| {
        let other = round.another();
        round.freeze_host(other);
    }),
    One::harmless("repmgrd of a node killed", 1, |round| {
        let all = round.ids();
        let id = *round.rng.pick(&all);
        round.stage.cluster.node_mut(id).stop_repmgrd();
    })
    .sparing_servers(),
    One::harmless("rolecall of the primary killed and started", 2, |round| {
        let primary = round.primary;
        round.kill_role(primary);
        round.start_role(primary);
    })
    .sparing_servers(),
    One::harmless("every rolecall restarted", 1, |round| {
        for id in round.ids() {
            if !round.killed.contains(&id) {
                round.stage.roles.get_mut(&id).expect("a rolecall").restart();
            }
        }
    })
    .sparing_servers(),
    One::of("rolecall of the primary stands still", 2, |round| {
        round.stage.roles[&round.primary].signal(Signal::STOP);
        let span = round.rng.millis(500, 8000);
        round.stage.look_on(span);
        round.stage.roles[&round.primary].signal(Signal::CONT);
    }),
    One::of("both HAProxys are reloaded", 2, |round| {
        round.stage.haproxy.reload();
        round.second.haproxy.reload();
    })
    .sparing_servers(),
];

impl Round {
    fn stop(&mut self, how: Shutdown) {
        let primary = self.primary;
        self.stage.cluster.node_mut(primary).postgres.stop(how);
    }

    fn freeze_server(&mut self, id: u8) {
        if self.stage.cluster.node_mut(id).postgres.runs() {
            self.stage.cluster.freeze(id);
        }
    }

    fn freeze_host(&mut self, id: u8) {
        self.freeze_server(id);
        if !self.killed.contains(&id) {
            self.stage.roles[&id].signal(Signal::STOP);
        }
        self.stage.cluster.node_mut(id).signal_repmgrd(Signal::STOP);
        self.usual.freeze(id, true);
    }

    fn thaw_host(&mut self, id: u8) {
        self.stage.cluster.thaw(id);
        if !self.killed.contains(&id) {
            self.stage.roles[&id].signal(Signal::CONT);
        }
        self.stage.cluster.node_mut(id).signal_repmgrd(Signal::CONT);
        self.usual.freeze(id, false);
    }

    fn kill_role(&mut self, id: u8) {
        if !self.killed.contains(&id) {
            self.stage.roles.get_mut(&id).expect("a rolecall").kill9();
            self.killed.insert(id);
        }
    }

    fn start_role(&mut self, id: u8) {
        if self.killed.remove(&id) {
            self.stage.roles.get_mut(&id).expect("a rolecall").start();
        }
    }

    /// All processes go on, all links are whole, and servers that are down are started as they lie there: an old
    /// primary as a primary.
    pub fn mend_hosts(&mut self) {
        for id in self.ids() {
            self.thaw_host(id);
            self.start_role(id);
            self.stage.cluster.net().heal_one_way(id, CLIENT);
            self.stage.cluster.net().heal_one_way(CLIENT, id);
        }
        self.stage.cluster.heal();
        for id in self.ids() {
            let node = self.stage.cluster.node_mut(id);
            if !node.postgres.runs() {
                node.postgres.start();
            }
        }
        for id in self.ids() {
            let node = self.stage.cluster.node_mut(id);
            if !node.repmgrd_runs() {
                node.start_repmgrd();
            }
        }
        self.stage.look_on(Duration::from_secs(2));
    }

    /// Every other node follows node `id` again, by `repmgr node rejoin` where it does not by itself.
    pub fn mend_standbys(&mut self, id: u8) {
        for other in self.data().into_iter().filter(|other| *other != id) {
            if !self.follows(other, id) {
                self.stage.cluster.rejoin(other, id);
            }
        }
        self.stage.cluster.unpause(id);
        for other in self.ids().into_iter().filter(|other| *other != id) {
            if !self.stage.cluster.node(other).watches_within(id, Duration::from_secs(10)) {
                let node = self.stage.cluster.node_mut(other);
                node.stop_repmgrd();
                node.start_repmgrd();
                self.stage.cluster.wait_watched(other, id);
            }
        }
    }

    /// Whether it streams from node `id` soon, and is registered so.
    fn follows(&self, other: u8, id: u8) -> bool {
        let asks = format!(
            "select concat(pg_is_in_recovery(), ' ', exists(select from pg_stat_wal_receiver where status = \
             'streaming' and sender_host = '{}'), ' ', (select type || active || upstream_node_id from \
             repmgr.nodes where node_id = {other}))",
            crate::fixtures::netns::host(id)
        );
        let wanted = format!("t t standbytrue{id}");
        self.stage.cluster.node(other).says_within(&asks, &wanted, Duration::from_secs(5))
    }
}
