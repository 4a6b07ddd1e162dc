//! `make bench-flip`: how long clients wait for a new primary, with rolecall and the usual way.
//!
//! Controlled promotions, 20 or as many as the first argument says. Each is seen by both ways at
//! once: two `listen` sections of one HAProxy, each with clients of its own. Measured from the end
//! of recovery on the new primary to the first write through HAProxy that it took.

#[path = "../demo/client.rs"]
mod client;
#[path = "../fixtures/mod.rs"]
mod fixtures;
#[path = "../demo/needs.rs"]
mod needs;
mod pair;
mod responder;
#[path = "../demo/stage.rs"]
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use needs::{Needs, UNAVAILABLE};
use pair::{Pair, Waited};

/// How many promotions without an argument.
const PROMOTIONS: u32 = 20;
/// A promotion takes about 10 s; this many take about an hour.
const MOST_PROMOTIONS: u32 = 360;

fn main() -> ExitCode {
    stage::play(|| {
        let promotions = match std::env::args().nth(1).map(|n| n.parse()) {
            None => PROMOTIONS,
            Some(Ok(n)) if (1..=MOST_PROMOTIONS).contains(&n) => n,
            Some(_) => {
                eprintln!("usage: flip [PROMOTIONS]   (1 to {MOST_PROMOTIONS})");
                return ExitCode::from(64);
            }
        };
        match Needs::find(false) {
            Ok(needs) => {
                bench(&needs, promotions);
                ExitCode::SUCCESS
            }
            Err(missing) => {
                eprintln!("{missing}");
                ExitCode::from(UNAVAILABLE)
            }
        }
    })
}

fn bench(needs: &Needs, promotions: u32) {
    println!("From the end of recovery on the new primary to the first write through HAProxy.");
    println!("Two ways side by side in one HAProxy {}:", needs.haproxy_version);
    println!("   rolecall   interval 100ms, agent-inter 100ms, else haproxy/haproxy.cfg");
    println!("   httpchk    inter 3s fall 3 rise 2, answered from pg_is_in_recovery()");
    println!("`option pgsql-check` is no third way: a standby passes it like a primary.");
    println!("\n{promotions} promotions, about {} s ...\n", promotions * 11);

    let mut pair = Pair::set(needs);
    println!("   {:>3}   {:<14}{:>12}{:>12}", "", "new primary", "rolecall", "httpchk");
    let mut all = Vec::new();
    for n in 0..promotions {
        let waited = pair.flip(n, promotions);
        let (primary, rolecall, httpchk) = (pair.primary(), waited.rolecall, waited.httpchk);
        println!("   {:>3}   {primary:<14}{:>12}{:>12}", n + 1, ms(rolecall), ms(httpchk));
        all.push(waited);
    }

    let row = |way: &str, of: fn(&Waited) -> Duration| {
        let mut took: Vec<Duration> = all.iter().map(of).collect();
        took.sort_unstable();
        let (median, worst) = (median(&took), took[took.len() - 1]);
        println!("   {way:<14}{:>4}{:>12}{:>12}", took.len(), ms(median), ms(worst));
        (median, worst)
    };
    println!("\n   {:<14}{:>4}{:>12}{:>12}", "way", "n", "median", "worst");
    let rolecall = row("rolecall", |w| w.rolecall);
    let httpchk = row("httpchk", |w| w.httpchk);
    let times = |slow: Duration, fast: Duration| {
        format!("{:.1} x", slow.as_secs_f64() / fast.as_secs_f64().max(0.001))
    };
    let (medians, worsts) = (times(httpchk.0, rolecall.0), times(httpchk.1, rolecall.1));
    println!("   {:<14}{:>4}{medians:>12}{worsts:>12}", "ratio", "");
}

fn ms(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

/// The median of a sorted list that is not empty.
fn median(sorted: &[Duration]) -> Duration {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2 }
}
