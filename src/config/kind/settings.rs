//! What is asked of the settings of a source, whatever its kind. Nobody but the two registries, [`Kind`] here and
//! `Source::new` of `source/`, knows which kinds there are.
//!
//! [`Kind`]: crate::config::Kind

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::conninfo::ClientCertificate;
use crate::config::document::{Fault, Table};
use crate::config::exposure::{Exposure, OpenFile};
use crate::config::haproxy::Haproxy;
use crate::config::rhythm::Timing;
use crate::config::server::Postgres;
use crate::config::warning::Warning;
use crate::look::kind::Shows;
use crate::look::place::Place;
use crate::verdict::policy::{Electorate, Hysteresis, Lock};

/// How long a look may take where nothing speaks for another time.
pub const TIMEOUT: Duration = Duration::from_millis(1500);

/// How long the last yes stands where nothing proves that it may stand for longer: with Patroni's own times nobody
/// else is promoted for 10 s.
pub const HOLD: Duration = Duration::from_secs(3);

/// What is the same for all sources of a kind.
#[derive(Debug)]
pub struct Profile {
    /// The word for it in the configuration.
    pub word: &'static str,
    /// Its keys, beside those that every source has.
    pub keys: &'static [&'static str],
    /// The key by whose flag alone the command line means this kind.
    pub flag: Option<&'static str>,
    /// How long a look may take, unless the operator says otherwise.
    pub timeout: Duration,
    /// How long the last yes stands once looks fail, unless the operator says otherwise.
    pub hold: Duration,
    /// What its looks can see.
    pub sees: Sees,
    /// Reports what is wrong with its keys where `[defaults]` has them; the directory is that of the credentials.
    pub check_defaults: fn(&Table<'_>, Option<&Path>),
}

/// What the looks of a kind can see of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sees {
    /// What the node is to its cluster. Without it a source only bears out what another one says.
    pub role: bool,
    /// What kind of replica it is.
    pub replicas: Replicas,
    /// How far behind a replica is.
    pub lag: Lag,
    /// Its tags.
    pub tags: bool,
    /// Whether the server itself is there, and in recovery.
    pub server: Shows,
}

/// How well the kinds of replica are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// By the cluster's own manager: other sources of the node need only bear out that it is one.
    Apart,
    /// As far as whoever says the role says it.
    AsSaid,
    /// Not at all.
    Alike,
}

/// How far behind a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// In bytes and in time.
    Counted,
    /// Whether it is over the one limit that is asked with, in bytes.
    OverLimit,
    /// Nobody knows.
    Unseen,
}

/// Where a source looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At<'a> {
    /// At whatever its own host is.
    Here,
    /// At a server of PostgreSQL.
    Server(&'a Place),
    /// At a host, by name or address, without brackets.
    Host(String),
}

/// What the warnings about a source depend on beside its own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// Its times.
    pub times: Timing,
    /// There is a service for primaries.
    pub primaries: bool,
    /// Whether rolecalls of other hosts can ask this one over HTTP; `None`: it watches several nodes, and is
    /// none's own.
    pub reached: Option<bool>,
}

/// How rolecalls of one cluster let each other go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releasing {
    /// The file with the secret that all of them have.
    pub key_file: PathBuf,
    /// The HTTP port of the others.
    pub port: u16,
}

/// The settings of one source. What a kind does not say is what most of them say.
pub trait Settings {
    /// What is the same for all sources of its kind.
    fn profile(&self) -> &'static Profile;

    /// Where it looks.
    fn at(&self) -> At<'_>;

    /// Chooses what follows from other keys of the table, or of `[haproxy]`, and reports what does not go with them.
    fn fit(&mut self, _table: &Table<'_>, _times: &mut Timing, _haproxy: &Haproxy) {}

    /// Takes the byte limit of the services for replicas, where there is one, to ask with it.
    fn take_limit(&mut self, _limit: Option<Hysteresis<u64>>) {}

    /// The PostgreSQL that it logs into.
    fn server(&self) -> Option<&Postgres> {
        None
    }

    /// What it shows a server that asks for a certificate.
    fn client_certificate(&self) -> Option<&ClientCertificate> {
        None
    }

    /// What an unverified network may do to it.
    fn exposure(&self) -> Option<Exposure> {
        None
    }

    /// The files with its secrets that others may read.
    fn open_files(&self) -> Vec<OpenFile> {
        Vec::new()
    }

    /// What may surprise somebody.
    fn warnings(&self, _around: &Surroundings) -> Vec<Warning> {
        Vec::new()
    }

    /// What is to be said where all sources of a node that may be a primary are of its kind.
    fn warning_alone(&self) -> Option<Warning> {
        None
    }

    /// How long a yes stands while looks succeed.
    fn remembers(&self, times: &Timing) -> Duration {
        times.hold.max(times.rhythm.look())
    }

    /// How the lock of a leader is trusted; `chosen`: somebody chose the `hold`.
    fn lock(&self, _times: &Timing, _chosen: bool) -> Option<Lock> {
        None
    }

    /// Where the lock of a leader is asked for: what is known of its holder belongs to this.
    fn lock_url(&self) -> Option<&str> {
        None
    }

    /// The rule by which its node is the primary, instead of its own word.
    fn electorate(&self, _times: &Timing) -> Option<Electorate> {
        None
    }

    /// How long a yes of a primary must have been continuous before it counts.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }

    /// How long the cluster's manager waits before it promotes another node, where an operator said so.
    fn failover_after(&self) -> Option<Duration> {
        None
    }

    /// Whether looks find out how long the last yes may stand: nobody chose it.
    fn learns_hold(&self) -> bool {
        false
    }

    /// What is wrong with a `hold` of a service for primaries.
    fn refuses_hold(&self, _hold: Duration) -> Option<Fault> {
        None
    }

    /// How the rolecalls of the other nodes are asked to give way, where they are.
    fn releasing(&self) -> Option<&Releasing> {
        None
    }
}
