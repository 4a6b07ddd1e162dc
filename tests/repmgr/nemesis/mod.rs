//! Kinds of repmgr clusters for `make prove`, with two `HAProxys` that ask rolecall and one that asks the usual check
//! beside them.

mod faults;
mod usual;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rolecall::look::stamp::Stamp;

use crate::fixtures::nemesis::Rng;
use crate::fixtures::netns::host;
use crate::fixtures::proving::{self, Fault, Observed, Tried};
use crate::fixtures::repmgr::{DATA, PATIENCE, SECOND_CLIENT, Shape, WITNESS};
use crate::fixtures::repmgr_template::Template;
use crate::fixtures::rows::{Row, writer_after};
use crate::fixtures::{
    Beat, FRONT_PORT, Ground, Haproxy, Recorder, Sample, eventually, find_postgres, haproxies, now,
    proof, sampler,
};
use crate::scenarios::FULL;
use crate::stage::{Setting, Stage, addresses_at, built};
use usual::Usual;

/// The rows of the second HAProxy's writer have the numbers after this one.
const SECOND_ROWS: u64 = 2_000_000_000;

/// The kinds of cluster.
const KINDS: [(&str, Shape); 3] = [
    ("repmgr, 2 + witness", Shape::WITNESSED),
    ("repmgr, 3", Shape::THREE),
    ("repmgr, 3 + witness", Shape::FULL),
];

/// A second HAProxy, of another version and on a host of its own, and its clients.
pub struct Second {
    rows: Recorder<Row>,
    servers: Recorder<Sample>,
    haproxy: Haproxy,
    _ground: Ground,
}

/// One cluster, and everybody who looks on.
pub struct Round {
    usual: Usual,
    second: Second,
    stage: Stage,
    rng: Rng,
    /// Who is the primary, as far as this program knows.
    primary: u8,
    /// Whose rolecall is killed.
    killed: BTreeSet<u8>,
}

/// Tries clusters of all kinds, or of those that have one of `words` in their name.
pub fn prove(template: &Template, minutes: u64, words: &[String]) -> ExitCode {
    let repmgr = find_postgres().map(|bin| proof::version("repmgr", &bin.join("repmgr")));
    let kinds = proving::chosen(&KINDS, words);
    proving::prove(minutes, &kinds, repmgr.as_slice(), |shape, seed| {
        Round::start(template, *shape, seed)
    })
}

impl Round {
    fn start(template: &Template, shape: Shape, seed: u64) -> Self {
        let setting = Setting { shape, ..FULL };
        let stage = Stage::start_with(template, setting, &built());
        let second = Second::start(&stage);
        let usual = Usual::start(&stage);
        // Each kind of cluster has its own numbers for the same seed.
        let size = u64::try_from(shape.nodes.len()).unwrap_or_default();
        let witness = u64::from(shape.nodes.contains(&WITNESS));
        let rng = Rng::new(seed.wrapping_mul(1000).wrapping_add(size * 2 + witness));
        Self { usual, second, stage, rng, primary: 1, killed: BTreeSet::new() }
    }

    fn ids(&self) -> Vec<u8> {
        self.stage.setting.shape.nodes.to_vec()
    }

    fn data(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| DATA.contains(id)).collect()
    }

    fn has_witness(&self) -> bool {
        self.ids().contains(&WITNESS)
    }

    /// The standbys.
    fn others(&self) -> Vec<u8> {
        self.data().into_iter().filter(|id| *id != self.primary).collect()
    }

    fn others_and_witness(&self) -> Vec<u8> {
        self.ids().into_iter().filter(|id| *id != self.primary).collect()
    }

    /// A standby by chance.
    fn another(&mut self) -> u8 {
        let others = self.others();
        *self.rng.pick(&others)
    }

    /// Whom an operator chooses where nobody is READY: of those that take writes the one on the newest timeline.
    fn newest(&self) -> u8 {
        let timeline = |id: &u8| {
            let said = self.stage.cluster.node(*id).ask(
                "select case when pg_is_in_recovery() then 0 else \
                 ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end",
            );
            said.ok().and_then(|said| said.parse::<u32>().ok()).unwrap_or_default()
        };
        self.data().into_iter().max_by_key(timeline).expect("a node")
    }
}

impl Tried for Round {
    fn faults() -> &'static [Fault<Self>] {
        &faults::ALL
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn primary(&self) -> u8 {
        self.primary
    }

    fn begin(&mut self) {
        self.usual.wait_row();
        self.stage.begin_here();
        self.stage.fault();
    }

    fn session(&self) -> Recorder<Beat> {
        self.stage.session()
    }

    fn look_on(&self, span: Duration) {
        self.stage.look_on(span);
    }

    fn mend(&mut self) {
        self.mend_hosts();
    }

    fn ready_after(&self, moment: Stamp) -> Option<u8> {
        self.data().into_iter().find(|id| {
            let last = self.stage.last_answer(*id);
            last.is_some_and(|check| check.at >= moment && check.heard.is_ready())
        })
    }

    fn asked(&self) -> String {
        let of = self.data().into_iter().map(|id| {
            let said = self.stage.asked(id);
            format!("node{id}: {}", said.split_whitespace().collect::<Vec<_>>().join(" "))
        });
        of.collect::<Vec<_>>().join(" | ")
    }

    fn make_whole(&mut self, ready: Option<u8>) {
        let ready = ready.unwrap_or_else(|| self.newest());
        self.mend_standbys(ready);
        let from = now();
        self.primary = eventually(PATIENCE, "somebody is READY in the healthy cluster", || {
            self.ready_after(from).ok_or("nobody")
        });
        self.stage.wait_row(self.primary);
        self.usual.wait_row();
    }

    fn observed(&self, from: Stamp) -> Observed<'_> {
        let own_rows = [self.stage.rows.all(), self.second.rows.all()].concat();
        let usual_rows = self.usual.rows.all();
        Observed {
            to: now(),
            promotions: self.stage.promotions_since_begin(),
            writable: self.stage.simple_series(from, |seen| seen.not_in_recovery),
            ready: self.stage.ready_series(from),
            own_servers: [&self.stage.servers, &self.second.servers],
            own_rows,
            usual_servers: &self.usual.servers,
            usual_rows,
            kept: self.stage.kept(self.primary),
        }
    }

    fn keep(&mut self) -> PathBuf {
        self.stage.keep().to_owned()
    }
}

impl Second {
    fn start(stage: &Stage) -> Self {
        let ground = Ground::new();
        let space = stage.cluster.net().space(SECOND_CLIENT);
        let front = SocketAddr::from((host(SECOND_CLIENT), FRONT_PORT));
        let (_, program) = haproxies().pop().expect("a HAProxy");
        let haproxy = Haproxy::start_in(
            Some(space),
            &ground,
            &program,
            &stage.release.cfg,
            &addresses_at(front),
        );
        let rows = space.inside(|| writer_after(front, SECOND_ROWS));
        let servers = sampler(haproxy.stats());
        haproxy.wait("postgres_rw/db1", PATIENCE, "is up", |s| s.status == "UP");
        Self { rows, servers, haproxy, _ground: ground }
    }
}
