//! Ten simulated minutes a seed: never two READY, in the daemons' view and in HAProxy's.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::Cluster;
use crate::reference::Mutant;
use crate::rng::Rng;
use crate::sim::{Settings, Sim, Totals};

const MINUTES_10: u64 = 600_000;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

pub fn one_seed(seed: u64, mutant: Option<Mutant>, trace: bool) -> Totals {
    let mut rng = Rng::new(seed);
    let (size, witness) =
        rng.pick(&[(2, false), (3, true), (3, false), (4, true), (4, false), (5, false)]).unwrap();
    let detection = rng.pick(&[10_000, 10_000, 20_000]).unwrap();
    let hold = if rng.one_in(4) { 0 } else { (detection - 5000).min(15_000) };
    let settings = Settings {
        detection,
        hold,
        mutant,
        automatic: true,
        slow: 20,
        shadow: trace || seed.is_multiple_of(8),
        trace,
    };
    if trace {
        println!("seed {seed}: {size} nodes, witness {witness}, {settings:?}");
    }
    let mut sim = Sim::new(Cluster::healthy(size, witness), settings, seed);
    sim.let_things_happen();
    sim.run(MINUTES_10);
    sim.totals
}

#[test]
fn never_two_ready_over_time() {
    if let Some(seed) = from_env("SIM_SEED") {
        let totals = one_seed(seed, None, true);
        println!("{totals:?}");
        assert_eq!(totals.first_double, None);
        return;
    }
    let seeds = from_env("SIM_SEEDS").unwrap_or(1000);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return done;
            }
            done.push((seed, one_seed(seed, None, false)));
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
        "{seeds} seeds, {hours} hours: {} faults, {} promotions, one READY {} % of the time; two READY: {} ms by the daemons, {} ms by HAProxy",
        sum(&|t| t.faults.into()),
        sum(&|t| t.promotions.into()),
        100 * sum(&|t| t.one_ready) / (seeds * MINUTES_10),
        sum(&|t| t.double_daemons),
        sum(&|t| t.double_haproxy),
    );
    let bad: Vec<_> = done.iter().filter(|(_, t)| t.first_double.is_some()).collect();
    assert!(
        bad.is_empty(),
        "two READY in {} seeds, such as {:?}; SIM_SEED=n shows one",
        bad.len(),
        bad[..bad.len().min(3)].to_vec()
    );
    let few = done.iter().filter(|(_, totals)| totals.faults < 20).count();
    assert_eq!(few, 0, "seeds with fewer than 20 faults");
}

#[test]
fn probe() {
    use Mutant::*;
    for m in [
        InactiveLeaves,
        ChainByOthersWord,
        EveryDeposedLeaves,
        NoSettle,
        NoExpiry,
        FreshByReceiver,
        SilenceAlone,
        RecordForALife,
        CompanionOnMaint,
    ] {
        let t: Vec<_> = (0..200).map(|s| one_seed(s, Some(m), false)).collect();
        println!(
            "{m:?}: {} of 200 seeds, first {:?} daemons {} haproxy {}",
            t.iter().filter(|t| t.first_double.is_some()).count(),
            t.iter().position(|t| t.first_double.is_some()),
            t.iter().map(|t| t.double_daemons).sum::<u64>(),
            t.iter().map(|t| t.double_haproxy).sum::<u64>()
        );
    }
}
