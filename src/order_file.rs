//! The file that orders survive a restart and a boot in.
//!
//! It is written anew and moved into place, each step on disk before the next: a crash leaves the old
//! one or the new one. A damaged file is set aside and said; nothing of it is guessed at.
//!
//! When an order ends is written twice. Within one boot it ends by the clock that nobody can set;
//! after another boot by wall time, which may have stepped: then it lasts no longer than it was given
//! for in the first place.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::clock::{Stamp, wall_clock};
use crate::order::{Order, Target, Wish};

/// Most orders at one time: what a person can keep in mind, many times over.
pub const MOST: usize = 256;
/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The form of the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    boot: String,
    orders: Vec<Kept>,
}

/// An order as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    service: Option<String>,
    node: Option<String>,
    order: String,
    by: String,
    reason: String,
    forced: bool,
    since_unix: i64,
    since_boot_ms: u64,
    ends: Option<Ends>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    unix: i64,
    boot_ms: u64,
    lasts_s: u64,
}

/// The orders that stand, and their file.
#[derive(Debug)]
pub struct OrderFile {
    path: PathBuf,
    boot: String,
    orders: Vec<(Kept, Arc<Order>)>,
    damaged: Option<String>,
}

impl OrderFile {
    /// What the file at `path` has; nothing where there is none.
    pub fn open(path: &Path, now: Stamp) -> Self {
        // Hidden by the unit's sandbox: then wall time alone counts after a restart.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in(path, boot.trim(), now, wall_clock())
    }

    fn open_in(path: &Path, boot: &str, now: Stamp, wall: i64) -> Self {
        let (path, boot) = (path.to_owned(), boot.to_owned());
        let mut file = Self { path, boot, orders: Vec::new(), damaged: None };
        match file.read() {
            Ok(written) => {
                let same_boot = !file.boot.is_empty() && written.boot == file.boot;
                let stands = |kept| restored(kept, same_boot, now, wall);
                file.orders = written.orders.into_iter().filter_map(stands).collect();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => file.set_aside(&error),
        }
        for (_, order) in &file.orders {
            let (target, order) = (order.target.to_string(), order.wish.as_str());
            info!(target_of_order = target, order, "an order from before stands: {order} {target}");
        }
        file
    }

    fn read(&self) -> io::Result<Written> {
        let mut text = Vec::new();
        File::open(&self.path)?.take(MAX_FILE).read_to_end(&mut text)?;
        let written: Written = serde_json::from_slice(&text)?;
        let known = written.version == VERSION && written.orders.len() <= MOST;
        let readable = written.orders.iter().all(|kept| Wish::read(&kept.order).is_some());
        if known && readable {
            Ok(written)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "of another version, or damaged"))
        }
    }

    fn set_aside(&mut self, error: &io::Error) {
        let aside = self.path.with_extension("damaged");
        let moved = fs::rename(&self.path, &aside);
        let (file, aside) = (self.path.display(), aside.display());
        let hint = "see which orders it held, and give them again";
        error!(%error, hint, "{file} cannot be read, no order stands; it is kept as {aside}");
        let kept = match moved {
            Ok(()) => format!("it is kept as {aside}"),
            Err(error) => format!("it could not be moved to {aside}: {error}"),
        };
        self.damaged = Some(format!("{file} could not be read ({error}); {kept}"));
    }

    /// What became of a file that could not be read at start.
    pub fn damaged(&self) -> Option<&str> {
        self.damaged.as_deref()
    }

    /// The orders, the oldest first.
    pub fn orders(&self) -> Vec<Arc<Order>> {
        self.orders.iter().map(|(_, order)| Arc::clone(order)).collect()
    }

    /// Adds an order, instead of the one of the same target. `lasts`: `None` for ever.
    ///
    /// # Errors
    /// It could not be written down, and does not stand.
    pub fn add(&mut self, mut order: Order, lasts: Option<Duration>) -> io::Result<()> {
        let since_unix = wall_clock();
        order.until = lasts.map(|lasts| order.since.plus(lasts));
        let ends = lasts.zip(order.until).map(|(lasts, until)| Ends {
            unix: since_unix.saturating_add_unsigned(lasts.as_secs()),
            boot_ms: ms(until),
            lasts_s: lasts.as_secs(),
        });
        let kept = Kept {
            service: order.target.service.clone(),
            node: order.target.node.clone(),
            order: order.wish.as_str().to_owned(),
            by: order.by.to_string(),
            reason: order.why.to_string(),
            forced: order.forced,
            since_unix,
            since_boot_ms: ms(order.since),
            ends,
        };
        let mut orders = self.orders.clone();
        orders.retain(|(_, old)| old.target != order.target);
        if orders.len() >= MOST {
            return Err(io::Error::other(format!("there are {MOST} orders already")));
        }
        orders.push((kept, Arc::new(order)));
        self.replace(orders)
    }

    /// Takes out those that `ended` names. Tells how many there were.
    ///
    /// # Errors
    /// It could not be written down, and they stand.
    pub fn remove(&mut self, ended: impl Fn(&Order) -> bool) -> io::Result<usize> {
        let mut orders = self.orders.clone();
        orders.retain(|(_, order)| !ended(order));
        let gone = self.orders.len() - orders.len();
        if gone > 0 {
            self.replace(orders)?;
        }
        Ok(gone)
    }

    fn replace(&mut self, orders: Vec<(Kept, Arc<Order>)>) -> io::Result<()> {
        let kept = orders.iter().map(|(kept, _)| kept.clone()).collect();
        let written = Written { version: VERSION, boot: self.boot.clone(), orders: kept };
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&written)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(dir) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir)?.sync_all()?;
        }
        self.orders = orders;
        Ok(())
    }
}

/// The order that was kept, where it has not ended meanwhile.
fn restored(kept: Kept, same_boot: bool, now: Stamp, wall: i64) -> Option<(Kept, Arc<Order>)> {
    let wish = Wish::read(&kept.order)?;
    let target = Target { service: kept.service.clone(), node: kept.node.clone() };
    let at = |ms| Stamp::new(Duration::from_millis(ms));
    let (since, before_boot) = if same_boot {
        (at(kept.since_boot_ms), Duration::ZERO)
    } else {
        let age = u64::try_from(wall.saturating_sub(kept.since_unix)).unwrap_or(0);
        let (age, booted) = (Duration::from_secs(age), now.since_boot());
        (Stamp::new(booted.saturating_sub(age)), age.saturating_sub(booted))
    };
    let until = match kept.ends {
        None => None,
        Some(ends) if same_boot => Some(at(ends.boot_ms)),
        Some(ends) => {
            let left = u64::try_from(ends.unix.saturating_sub(wall)).unwrap_or(0);
            Some(now.plus(Duration::from_secs(left.min(ends.lasts_s))))
        }
    };
    if until.is_some_and(|until| until <= now) {
        return None;
    }
    let mut order = Order::new(target, wish, (&kept.by, &kept.reason), since);
    (order.until, order.forced, order.before_boot) = (until, kept.forced, before_boot);
    Some((kept, Arc::new(order)))
}

fn ms(stamp: Stamp) -> u64 {
    u64::try_from(stamp.since_boot().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Stamp {
        Stamp::new(Duration::from_secs(s))
    }

    fn file_with(path: &Path, lasts: Option<u64>) -> OrderFile {
        let mut file = OrderFile::open_in(path, "boot 1", at(1000), wall_clock());
        let order = Order::new(Target::default(), Wish::Maint, ("ann", "disk"), at(1000));
        file.add(order, lasts.map(Duration::from_secs)).unwrap();
        file
    }

    #[test]
    fn an_order_survives_and_ends_when_it_was_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        let given = file_with(&path, Some(600)).orders();
        let wall = wall_clock();
        let left = |boot: &str, now: u64, wall: i64| {
            let orders = OrderFile::open_in(&path, boot, at(now), wall).orders();
            orders.first().map(|order| order.until.unwrap().since(at(now)).as_secs())
        };
        assert_eq!(OrderFile::open_in(&path, "boot 1", at(1100), wall).orders(), given);
        // Within the boot no step of the wall clock matters.
        assert_eq!(left("boot 1", 1100, wall + 1_000_000), Some(500));
        assert_eq!(left("boot 1", 1600, wall), None);
        // After another boot wall time counts, and never makes it longer than it was.
        assert!(left("boot 2", 10, wall + 100).is_some_and(|left| (499..=501).contains(&left)));
        assert_eq!(left("boot 2", 10, wall - 1_000_000), Some(600));
        assert_eq!(left("boot 2", 10, wall + 700), None);
        assert!(left("", 10, wall + 100).is_some_and(|left| (499..=501).contains(&left)));
    }

    #[test]
    fn the_age_of_an_order_counts_over_boots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        file_with(&path, None);
        let wall = wall_clock();
        let age = |boot: &str, now: u64, wall: i64| {
            let orders = OrderFile::open_in(&path, boot, at(now), wall).orders();
            orders[0].age(at(now)).as_secs()
        };
        assert_eq!(age("boot 1", 1100, wall + 1_000_000), 100);
        assert!((86_400..=86_401).contains(&age("boot 2", 10, wall + 86_400)));
        assert_eq!(age("boot 2", 10, wall - 1_000_000), 0);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_nothing_of_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        file_with(&path, None);
        let good = fs::read_to_string(&path).unwrap();
        let other_version = good.replace("\"version\": 1", "\"version\": 2");
        let other_word = good.replace("\"maint\"", "\"main\"");
        for text in ["", "{", "null", &good[..good.len() / 2], &other_version, &other_word] {
            fs::write(&path, text).unwrap();
            let file = OrderFile::open_in(&path, "boot 1", at(1100), 0);
            assert!(file.orders().is_empty() && file.damaged().is_some(), "{text:?}");
            assert_eq!(fs::read_to_string(dir.path().join("orders.damaged")).unwrap(), text);
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_cannot_be_written_down_does_not_stand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone/orders.json");
        let mut file = OrderFile::open_in(&path, "boot 1", at(0), 0);
        let order = Order::new(Target::default(), Wish::Maint, ("ann", ""), at(0));
        assert!(file.add(order, None).is_err());
        assert!(file.orders().is_empty());
    }

    #[test]
    fn a_target_has_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = file_with(&dir.path().join("orders.json"), None);
        let order = Order::new(Target::default(), Wish::Drain, ("bob", ""), at(1001));
        file.add(order, None).unwrap();
        assert_eq!(file.orders().len(), 1);
        assert_eq!(file.remove(|order| order.wish == Wish::Drain).unwrap(), 1);
        assert!(file.orders().is_empty());
    }
}
