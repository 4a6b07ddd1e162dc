//! What is measured: answers, and what the daemon takes of the machine.

use std::sync::Mutex;
use std::time::Duration;

/// What one who asks properly was told.
#[derive(Default)]
pub struct Answers {
    kept: Mutex<(Vec<Duration>, Vec<String>)>,
}

impl Answers {
    /// An answer that took so long; `wrong` says what is wrong with it.
    pub fn note(&self, took: Duration, wrong: Option<String>) {
        let mut kept = self.kept.lock().expect("answers");
        kept.0.push(took);
        kept.1.extend(wrong);
    }

    /// How many there were, how many of them were wrong, the slowest and the slowest of all but one in a
    /// thousand.
    pub fn sum(&self) -> Sum {
        let (mut took, wrong) = self.kept.lock().expect("answers").clone();
        took.sort_unstable();
        let at = |share: f64| {
            #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]
            #[allow(clippy::cast_possible_truncation, reason = "far from all limits")]
            let index = (took.len() as f64 * share) as usize;
            took.get(index).or(took.last()).copied().unwrap_or_default()
        };
        let (most, median, slowest) = (at(0.999), at(0.5), took.last().copied());
        Sum { asked: took.len(), wrong, median, most, slowest: slowest.unwrap_or_default() }
    }
}

/// The answers of one door, summed up.
pub struct Sum {
    pub asked: usize,
    /// What was wrong, each time.
    pub wrong: Vec<String>,
    pub median: Duration,
    /// p99.9
    pub most: Duration,
    pub slowest: Duration,
}

/// What the process takes at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Resident memory, in KiB.
    pub memory: u64,
    pub descriptors: u64,
    pub threads: u64,
}

impl Size {
    /// Of this process; `None` where it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Self { memory: number("VmRSS:")?, descriptors, threads: number("Threads:")? })
    }
}

/// How much may come on top of the most of the warm-up: pages that the allocator had not touched yet.
const MORE_MEMORY: u64 = 4 * 1024;
/// How much the middle of the end may lie above the middle of the beginning.
const CREEP: u64 = 2 * 1024;
/// Connections come and go; of what is lost there would be more with every minute.
const MORE_DESCRIPTORS: u64 = 64;

/// What speaks against the sizes of one run, one a second: the first fifth is the warm-up.
pub fn growth(sizes: &[Size]) -> Vec<String> {
    let (warm, rest) = sizes.split_at(sizes.len() / 5);
    let last = &rest[rest.len() - rest.len() / 4..];
    let first = &rest[..rest.len() / 4];
    let mut against = Vec::new();
    let mut hold = |what: &str, of: fn(&Size) -> u64, more: u64, creep: u64| {
        let (before, after) = (most(warm, of), most(rest, of));
        if after > before + more {
            against.push(format!("{what}: {before} at most in the warm-up, {after} after it"));
        }
        let (before, after) = (middle(first, of), middle(last, of));
        if after > before + creep {
            against.push(format!(
                "{what}: {before} in the middle after the warm-up, {after} at the end"
            ));
        }
    };
    hold("KiB of memory", |size| size.memory, MORE_MEMORY, CREEP);
    hold("descriptors", |size| size.descriptors, MORE_DESCRIPTORS, MORE_DESCRIPTORS / 2);
    hold("threads", |size| size.threads, 8, 4);
    against
}

pub fn most(sizes: &[Size], of: fn(&Size) -> u64) -> u64 {
    sizes.iter().map(of).max().unwrap_or_default()
}

pub fn middle(sizes: &[Size], of: fn(&Size) -> u64) -> u64 {
    let mut all: Vec<u64> = sizes.iter().map(of).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
