//! `[defaults]` and `[source]`: what every source has, whatever its kind, and the one key that says the kind.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::document::{Fault, Table};
use crate::config::kind::settings::Profile;
use crate::config::kind::{Entry, KINDS};
use crate::config::rhythm::{Rhythm, Timing};
use crate::config::units::{duration, word};
use crate::config::{Haproxy, Source};

/// Bounds of `interval`: below, looks cost the server more than they tell; above, nobody waits.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// Bounds of `timeout`: below, a loaded server never answers in time; above, a hung one is noticed
/// too late to matter, and a start would outlast the unit's `TimeoutStartSec`.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(20));

/// Bounds of `hold`: above, a verdict is memory and no fact.
pub const HOLD: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));

/// `[defaults]`, from which every source starts; what is wrong in it is reported, also where no
/// source takes it.
pub fn defaults<'d>(root: &Table<'d>, credentials: Option<&Path>) -> Table<'d> {
    let defaults = root.table("defaults");
    read_defaults(&defaults, credentials);
    defaults
}

/// The source of the command line, which names one. `None` only where a problem was reported.
pub(crate) fn flagged(
    flags: Table<'_>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    flags.spare("listen");
    if flags.take("kind", kind_word).is_some_and(|kind| !kind.profile.sees.role) {
        flags.report("kind", no_role());
        return None;
    }
    let source = source(&flags.starting_from(defaults), credentials, haproxy);
    source.map(|source| vec![source])
}

/// The sources of `[source]`, else Patroni on this host. `None` only where a problem was reported.
pub(crate) fn of_file(
    root: &Table<'_>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    let written = root.tables("source");
    if written.is_empty() {
        let empty = root.table("source").starting_from(defaults);
        return source(&empty, credentials, haproxy).map(|source| vec![source]);
    }
    sources(written, defaults, credentials, haproxy)
}

/// Several sources; `None` only where a problem was reported.
pub fn sources(
    written: Vec<Table<'_>>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    let read = |table: Table<'_>| source(&table.starting_from(defaults), credentials, haproxy);
    // Every source is read before one that is wrong spoils the whole.
    let first = written.first().cloned();
    let sources: Vec<Option<Source>> = written.into_iter().map(read).collect();
    check_role(&sources, first.as_ref());
    sources.into_iter().collect()
}

/// The kind of a source that says none.
static USUAL: &Entry = &KINDS[0];

fn read_defaults(defaults: &Table<'_>, credentials: Option<&Path>) {
    defaults.take("kind", kind_word);
    rhythm(defaults, USUAL.profile);
    for kind in &KINDS {
        (kind.profile.check_defaults)(defaults, credentials);
    }
    defaults.finish();
}

/// One source; `None` only where a problem was reported.
fn source(table: &Table<'_>, credentials: Option<&Path>, haproxy: &Haproxy) -> Option<Source> {
    let registered = if table.has("kind") { table.take("kind", kind_word) } else { Some(USUAL) };
    let profile = registered.map(|kind| kind.profile);
    let (rhythm, hold) = rhythm(table, profile.unwrap_or(USUAL.profile));
    let kind = registered.and_then(|kind| (kind.read)(table, credentials));
    refuse_other_keys(table, profile);
    table.finish();
    let memory = haproxy.memory();
    let (hold_chosen, beside) = (table.has("hold"), rhythm.look() + memory);
    let (mut kind, mut times) = (kind?, Timing { rhythm, hold, hold_chosen, beside, memory });
    kind.settings_mut().fit(table, &mut times, haproxy);
    Some(Source::new(kind, times))
}

/// Reports the keys that only other kinds have. Where the kind itself is not known they are spared.
fn refuse_other_keys(table: &Table<'_>, own: Option<&Profile>) {
    for key in KINDS.iter().flat_map(|kind| kind.profile.keys) {
        table.spare(key);
        let Some(own) = own.filter(|own| !own.keys.contains(key) && table.has_own(key)) else {
            continue;
        };
        let having = KINDS.iter().filter(|kind| kind.profile.keys.contains(key));
        let mut owners: Vec<&str> = having.map(|kind| kind.profile.word).collect();
        owners.sort_unstable();
        let what = format!("a source of kind `{}` has no such key", own.word);
        let hint = format!("it is a key of kind {}", owners.join(" and "));
        table.report(key, Fault::new(what, format!("no `{key}`"), hint));
    }
}

fn kind_word(value: &DeValue<'_>) -> Result<&'static Entry, Fault> {
    let words: Vec<_> = KINDS.iter().map(|kind| (kind.profile.word, kind)).collect();
    word(&words)(value)
}

/// `interval`, `timeout` and `hold`.
fn rhythm(table: &Table<'_>, kind: &Profile) -> (Rhythm, Duration) {
    let take = |key, bounds: (Duration, Duration)| table.take(key, duration(bounds.0..=bounds.1));
    let interval = take("interval", INTERVAL).unwrap_or(Duration::from_millis(500));
    let timeout = take("timeout", TIMEOUT).unwrap_or(kind.timeout);
    (Rhythm { interval, timeout }, take("hold", HOLD).unwrap_or(kind.hold))
}

/// Reports sources of one node that know no role all together.
fn check_role(sources: &[Option<Source>], first: Option<&Table<'_>>) {
    let knows = |source: &Option<Source>| {
        source.as_ref().is_none_or(|of| of.kind.settings().profile().sees.role)
    };
    if let Some(first) = first.filter(|_| !sources.iter().any(knows)) {
        first.report("kind", no_role());
    }
}

/// Nobody would ever be ready.
fn no_role() -> Fault {
    let what = "does not know the role: it only tells whether somebody answers at the port";
    let hint = "add a [[source]] of kind patroni, repmgr or postgres; all sources must agree";
    Fault::new(what, "another source in addition", hint)
}
