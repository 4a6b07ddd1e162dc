//! Ten simulated minutes a seed: never two READY, in the daemons' view and in HAProxy's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::oracle::Totals;
use crate::proxy::{Haproxy, SHIPPED};
use crate::reference::Mutant;
use crate::rng::Rng;
use crate::script::{Script, Stage, printed};
use crate::sim::Settings;
use crate::{share, whole};

const MINUTES_10: u64 = 600_000;
/// Seeds of the whole, and the most that a search for a mutant takes.
const SEEDS: u64 = 120;
const SEEDS_FOR_A_HOLE: u64 = 400;
/// Seeds that are played again.
const REPLAYED: u64 = 4;
/// Faults that a seed must have at least.
const FEWEST_FAULTS: u32 = 20;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

/// What a seed is played on.
fn stage(seed: u64, mutant: Option<Mutant>, trace: bool) -> Stage {
    let mut rng = Rng::new(seed);
    let (size, witness) =
        rng.pick(&[(2, false), (3, true), (3, false), (4, true), (4, false), (5, false)]).unwrap();
    let (attempts, reconnect) =
        rng.pick(&[(2, 10_000), (3, 10_000), (3, 5000), (6, 5000)]).unwrap();
    let settings = Settings {
        automatic: true,
        late: true,
        shadow: trace || seed.is_multiple_of(8),
        mutant,
        trace,
        machines_stand_still: from_env("SIM_MACHINES").is_some(),
        proxies: if rng.one_in(3) { 2 } else { 1 },
        socket_held: rng.one_in(2),
        monitor: rng.pick(&[1000, 2000]).unwrap(),
        haproxy: Haproxy { old: rng.one_in(2), ..SHIPPED },
        ..Settings::usual()
    };
    let mut settings = settings.with_patience(attempts, reconnect);
    if rng.one_in(4) {
        settings.file.hold = Some(0);
    }
    Stage { size, witness, settings, seed, until: MINUTES_10 }
}

fn by_chance(stage: &Stage) -> (Totals, Script) {
    let play = stage.play();
    play.sim().let_things_happen();
    play.run(stage.until);
    let sim = play.sim();
    (sim.totals, sim.script.clone())
}

fn one_seed(seed: u64, mutant: Option<Mutant>) -> Totals {
    by_chance(&stage(seed, mutant, false)).0
}

/// A seed that failed, as a script that fails as well: of what is done until the failure, what it needs.
fn explain(seed: u64) -> String {
    let mut stage = stage(seed, None, false);
    let (totals, mut script) = by_chance(&stage);
    let failed = totals.first.or(totals.against_text).unwrap_or(stage.until);
    stage.until = (failed + 5000).min(stage.until);
    script.retain(|(at, _)| *at <= failed);
    let script = stage.shortened(&script);
    let totals = stage.replay(&script);
    format!("{totals:?}\n{stage:?}\n{}", printed(&script))
}

#[test]
fn never_two_ready_over_time() {
    if let Some(seed) = from_env("SIM_SEED") {
        let (totals, _) = by_chance(&stage(seed, None, true));
        println!("{totals:?}");
        if !totals.safe() {
            println!("{}", explain(seed));
        }
        assert!(totals.safe());
        return;
    }
    let seeds = from_env("SIM_SEEDS").unwrap_or(share(SEEDS));
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return done;
            }
            done.push((seed, one_seed(seed, None)));
        }
    };
    let done: Vec<(u64, Totals)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let sum =
        |part: &dyn Fn(&Totals) -> u64| done.iter().map(|(_, totals)| part(totals)).sum::<u64>();
    let hours = seeds * MINUTES_10 / 3_600_000;
    println!(
        "{seeds} seeds, {hours} hours: {} faults, {} promotions, one READY {} % of the time; two READY: {} ms by the daemons, two written {} ms, by an old worker {} ms, READY beside a newer rival {}, by a standby that was down {}, after a twin {}",
        sum(&|t| t.faults.into()),
        sum(&|t| t.promotions.into()),
        100 * sum(&|t| t.one_written) / (seeds * MINUTES_10),
        sum(&|t| t.two_words),
        sum(&|t| t.two_written),
        sum(&|t| t.two_by_old_worker),
        sum(&|t| t.deposed.into()),
        sum(&|t| t.returned.into()),
        sum(&|t| t.twins.into()),
    );
    let bad: Vec<_> = done.iter().filter(|(_, t)| !t.safe()).collect();
    if let Some((first, _)) = bad.first() {
        let seeds: Vec<u64> = bad.iter().map(|(seed, _)| *seed).take(20).collect();
        let script = explain(*first);
        panic!("{} seeds fail, {seeds:?}; SIM_SEED={first} shows it again:\n{script}", bad.len());
    }
    let few = done.iter().filter(|(_, totals)| totals.faults < FEWEST_FAULTS).count();
    assert_eq!(few, 0, "seeds with fewer than {FEWEST_FAULTS} faults");
}

/// The same seed goes the same way again, and so does the script that it was.
#[test]
fn a_run_replays() {
    for seed in 0..share(REPLAYED) {
        let stage = stage(seed, None, false);
        let (totals, script) = by_chance(&stage);
        let again = by_chance(&stage);
        assert_eq!((totals, &script), (again.0, &again.1), "seed {seed} goes another way");
        let replayed = Totals { faults: totals.faults, ..stage.replay(&script) };
        assert_eq!(replayed, totals, "seed {seed}: its script goes another way");
    }
}

/// The same faults find the holes that are wide enough for chance; the others have their scripts.
#[test]
fn the_simulation_would_find_a_hole() {
    let wide =
        [Mutant::ChainByOthersWord, Mutant::NoSettle, Mutant::NoExpiry, Mutant::CompanionOnMaint];
    // The one that shows itself soonest is found either way.
    let looked_for = if whole() { &wide[..] } else { &[Mutant::NoExpiry] };
    for mutant in looked_for.iter().copied() {
        let hole = |seed: &u64| one_seed(*seed, Some(mutant)).first.is_some();
        let first = (0..SEEDS_FOR_A_HOLE).find(hole);
        println!("{mutant:?}: two READY in seed {first:?}");
        assert!(first.is_some(), "{mutant:?} is not caught");
    }
}
