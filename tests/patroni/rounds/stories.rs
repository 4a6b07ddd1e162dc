//! What befalls a cluster.

use std::time::Duration;

use serde_json::json;

use super::Round;
use crate::fixtures::eventually;
use crate::fixtures::patroni::PATIENCE;
use crate::scenarios::LONG_ENOUGH;

/// One story.
pub struct Story {
    pub name: &'static str,
    /// On a cluster of so many nodes.
    pub nodes: u8,
    /// What must be so before it begins.
    pub prepare: fn(&mut Round),
    pub befall: fn(&mut Round),
    /// What is put right once everything is counted.
    pub mend: fn(&mut Round),
    /// The cluster is whole again by itself, or by the story.
    pub heals: bool,
}

const USUAL: Story =
    Story { name: "", nodes: 3, prepare: |_| {}, befall: |_| {}, mend: |_| {}, heals: true };

/// Every one, in the order in which they are played; what does not heal is the last.
pub const ALL: &[Story] = &[
    Story {
        name: "Patroni stopped and started, paused",
        prepare: |round| round.stage.cluster.pause(true),
        befall: |round| {
            let node = round.stage.cluster.node_mut(round.leader);
            node.stop_patroni();
            node.start();
            round.says_that_it_leads();
        },
        mend: |round| round.stage.cluster.pause(false),
        ..USUAL
    },
    Story {
        name: "Patroni kill -9 and started",
        befall: |round| {
            let node = round.stage.cluster.node_mut(round.leader);
            node.kill_patroni();
            node.start();
            round.says_that_it_leads();
        },
        ..USUAL
    },
    Story { name: "Patroni SIGSTOP 3 s", befall: |round| round.frozen(3), ..USUAL },
    Story { name: "Patroni SIGSTOP 7 s", befall: |round| round.frozen(7), ..USUAL },
    Story {
        name: "PostgreSQL kill -9",
        befall: |round| {
            round.stage.cluster.node(round.leader).kill_postgres();
            round.goes_on();
        },
        ..USUAL
    },
    Story {
        name: "PostgreSQL fast stop",
        befall: |round| {
            round.stage.cluster.node(round.leader).stop_postgres_fast();
            round.goes_on();
        },
        ..USUAL
    },
    Story {
        name: "PostgreSQL POST /restart",
        befall: |round| round.stage.cluster.tell(round.leader, "POST /restart", &json!({})),
        ..USUAL
    },
    Story { name: "a replica of two crashed", befall: Round::crash_a_replica, ..USUAL },
    Story { name: "the only replica crashed", nodes: 2, befall: Round::crash_a_replica, ..USUAL },
    Story {
        name: "switchover",
        befall: |round| {
            let to = round.others()[0];
            let names =
                json!({"leader": format!("n{}", round.leader), "candidate": format!("n{to}")});
            round.stage.cluster.tell(round.leader, "POST /switchover", &names);
        },
        ..USUAL
    },
    Story {
        name: "Patroni SIGTERM and started",
        befall: |round| {
            let node = round.stage.cluster.node_mut(round.leader);
            node.stop_patroni();
            node.start();
        },
        ..USUAL
    },
    Story {
        name: "Patroni killed, back after the failover",
        befall: |round| {
            round.stage.cluster.node_mut(round.leader).kill_patroni();
            round.failed_over();
        },
        ..USUAL
    },
    Story {
        name: "Patroni and PostgreSQL killed, back later",
        befall: |round| {
            let node = round.stage.cluster.node_mut(round.leader);
            node.kill_patroni();
            node.kill_postgres();
            round.failed_over();
        },
        ..USUAL
    },
    Story {
        name: "paused, promoted by hand, store lost 10 s",
        prepare: |round| round.stage.cluster.pause(true),
        befall: Round::two_writable,
        heals: false,
        ..USUAL
    },
];

impl Round {
    /// Waits until Patroni of the leader says so again.
    fn says_that_it_leads(&self) {
        let node = self.stage.cluster.node(self.leader);
        eventually(PATIENCE, "Patroni leads again", || node.is_leader());
    }

    /// Patroni of the leader stands still for so long.
    fn frozen(&mut self, seconds: u64) {
        let node = self.stage.cluster.node(self.leader);
        node.freeze_patroni();
        self.stage.look_on(Duration::from_secs(seconds));
        node.thaw_patroni();
    }

    /// PostgreSQL is dead: Patroni starts it again, or somebody else leads.
    fn goes_on(&self) {
        self.stage.cluster.wait_leads_again();
    }

    fn crash_a_replica(&mut self) {
        let id = self.others()[0];
        let node = self.stage.cluster.node(id);
        node.kill_postgres();
        eventually(PATIENCE, "it is back", || node.try_value("select 1"));
    }

    /// Somebody else leads; only then its Patroni is started again.
    fn failed_over(&mut self) {
        let old = self.leader;
        self.leader = eventually(PATIENCE, "somebody else leads", || {
            let leads = |id: &u8| self.stage.cluster.node(*id).is_leader().is_ok();
            self.others().into_iter().find(leads).ok_or("nobody")
        });
        self.leads();
        self.stage.cluster.node_mut(old).start();
    }

    /// A replica is promoted by hand, and takes writes; then nobody can tell any more who holds the lock.
    fn two_writable(&mut self) {
        let by_hand = self.others()[0];
        let node = self.stage.cluster.node(by_hand);
        assert_eq!(node.sql("select pg_promote(true, 60)"), "t", "n{by_hand} is not promoted");
        self.stage.look_on(LONG_ENOUGH);
        self.stage.cluster.store.freeze();
        eventually(PATIENCE, "its Patroni says that it leads", || {
            let said = node.get("/primary").map_err(|e| e.to_string())?;
            if said.status == 200 { Ok(()) } else { Err(said.body) }
        });
        self.stage.look_on(2 * LONG_ENOUGH);
        self.stage.cluster.store.thaw();
        let down = format!("primary/n{by_hand}");
        self.beside.haproxy.wait(&down, PATIENCE, "is out again", |server| !server.is_up());
        self.leads();
    }
}
