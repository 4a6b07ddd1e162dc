//! The file in which orders survive a restart and a boot.
//!
//! It is written anew and moved into place, each step on disk before the next: a crash leaves the old
//! one or the new one. A damaged file is set aside and said; nothing of it is guessed at.

// When an order ends is written twice. Within one boot it ends by the clock that nobody can set; after another boot
// by wall time, which may have stepped: then it lasts no longer than it was given for in the first place.
//
// A no must act before any disk does, so a `ready` that a no ended can still be in the file when the process is
// killed. A process that ends by itself therefore notes which stood to the end; after any other end each `ready`
// waits to be seen fit (`order`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::config::units::name;
use crate::host::clock::wall_clock;
use crate::host::failure::{Exit, Failure};
use crate::host::own_file::{self, Lock};
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::verdict::order::{MOST_REASON, Order, Target};
use crate::verdict::state::Wish;

/// Most orders at one time: what a person can keep in mind, many times over.
pub const MOST: usize = 256;
/// Longest file that is read, in bytes.
const MAX_FILE: usize = 1024 * 1024;
/// Most damaged files that are kept, the first ones and the newest.
const MOST_DAMAGED: usize = 9;
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
    /// No no had ended it when nothing could any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stood_to_the_end: bool,
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
    /// That no other process writes it.
    _lock: Option<Lock>,
}

impl OrderFile {
    /// What the file at `path` has; nothing where there is none.
    ///
    /// # Errors
    /// Another process has it.
    pub fn open(path: &Path, now: Stamp) -> Result<Self, Failure> {
        let lock = match own_file::lock(path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let what = format_args!("{}: another process uses this order file", path.display());
                let hint = "stop the other rolecall, or set another `state` in [control]";
                return Err(Failure::new(Exit::Unavailable, what).hint(hint));
            }
            Err(error) => {
                warn!(%error, "the order file {} cannot be locked", path.display());
                None
            }
        };
        // Hidden by the unit's sandbox: then wall time alone counts after a restart.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self { _lock: lock, ..Self::open_in(path, boot.trim(), now, wall_clock()) })
    }

    fn open_in(path: &Path, boot: &str, now: Stamp, wall: i64) -> Self {
        let (path, boot) = (path.to_owned(), boot.to_owned());
        let mut file = Self { path, boot, orders: Vec::new(), damaged: None, _lock: None };
        match file.read() {
            Ok(written) => {
                file.orders = standing(written, &file.boot, now, wall);
                file.begin();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => file.set_aside(&error),
        }
        for (_, order) in &file.orders {
            let waits = if order.waits() {
                ", suspended until a poll shows that the node is fit"
            } else {
                ""
            };
            let (target, order) = (order.target.to_string(), order.wish.as_str());
            info!(
                target_of_order = target,
                order, "order restored from disk: {order} {target}{waits}"
            );
        }
        file
    }

    fn read(&self) -> io::Result<Written> {
        Written::read(&own_file::read(&self.path, MAX_FILE)?)
    }

    /// Lets each order wait that may have been dropped. That the others were not is true of the last
    /// process only, so it must be off the disk before this one looks.
    fn begin(&mut self) {
        let mut orders = self.orders.clone();
        let mut certain = Vec::new();
        for (kept, order) in orders.iter_mut().filter(|(_, order)| order.ends_at_a_no()) {
            if std::mem::take(&mut kept.stood_to_the_end) {
                certain.push(Arc::clone(order));
            } else {
                order.wait();
            }
        }
        if certain.is_empty() {
            return;
        }
        if let Err(error) = self.replace(orders) {
            warn!(%error, "the order file {} cannot be written: `ready` orders stay suspended \
                           until a poll shows that their node is fit", self.path.display());
            for order in certain {
                order.wait();
            }
        }
    }

    /// Notes which orders stood to the end. To be called once nothing can drop one any more.
    ///
    /// # Errors
    /// It could not be written down: each `ready` will wait.
    pub(crate) fn seal(&mut self, now: Stamp) -> io::Result<()> {
        let mut orders = self.orders.clone();
        orders.retain(|(_, order)| order.stands(now));
        for (kept, order) in &mut orders {
            kept.stood_to_the_end = order.ends_at_a_no() && !order.waits();
        }
        if orders.iter().any(|(kept, _)| kept.stood_to_the_end) {
            self.replace(orders)
        } else {
            Ok(())
        }
    }

    /// Each damaged file is kept: it may be the only one that still tells what was ordered.
    fn set_aside(&mut self, error: &io::Error) {
        let aside = self.aside();
        let moved = fs::rename(&self.path, &aside);
        let (file, aside) = (self.path.display(), aside.display());
        let hint = "see in the kept file which orders it held, and give them again";
        error!(%error, hint, "the order file {file} cannot be read, so no order is in effect; the \
                              file is kept as {aside}");
        let kept = match moved {
            Ok(()) => format!("it is kept as {aside}"),
            Err(error) => format!("it could not be moved to {aside}: {error}"),
        };
        self.damaged = Some(format!("the order file {file} could not be read ({error}); {kept}"));
    }

    /// The first name that is free; of those that are not, the last.
    fn aside(&self) -> PathBuf {
        let mut names = (2..=MOST_DAMAGED).map(|n| format!("damaged.{n}"));
        let mut aside = self.path.with_extension("damaged");
        while fs::symlink_metadata(&aside).is_ok()
            && let Some(name) = names.next()
        {
            aside = self.path.with_extension(name);
        }
        aside
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
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
            stood_to_the_end: false,
        };
        let mut orders = self.orders.clone();
        orders.retain(|(_, old)| old.target != order.target);
        if orders.len() >= MOST {
            return Err(io::Error::other(format!("there are already {MOST} orders")));
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
        own_file::replace(&self.path, &serde_json::to_vec_pretty(&written)?, true)?;
        self.orders = orders;
        Ok(())
    }
}

impl Kept {
    /// Whether it orders something, about names that could be configured.
    fn is_readable(&self) -> bool {
        let mut names = self.service.iter().chain(&self.node);
        Wish::read(&self.order).is_some() && names.all(|of| name(of).is_ok())
    }
}

impl Written {
    fn read(text: &[u8]) -> io::Result<Self> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        // The parser's words repeat what it read.
        let written: Self = serde_json::from_slice(text)
            .map_err(|error| damaged(&text::plain(&error.to_string(), MOST_REASON)))?;
        let known = written.version == VERSION && written.orders.len() <= MOST;
        if known && written.orders.iter().all(Kept::is_readable) {
            Ok(written)
        } else {
            Err(damaged("the file has another version, or is damaged"))
        }
    }
}

/// The orders of a file that stand now, in the boot of this id.
fn standing(written: Written, boot: &str, now: Stamp, wall: i64) -> Vec<(Kept, Arc<Order>)> {
    let same_boot = !boot.is_empty() && written.boot == boot;
    let stands = |kept| restored(kept, same_boot, now, wall);
    written.orders.into_iter().filter_map(stands).collect()
}

/// What the orders of such a text are.
#[cfg(fuzzing)]
pub fn read(text: &[u8], boot: &str, now: Stamp, wall: i64) -> io::Result<Vec<Arc<Order>>> {
    let orders = standing(Written::read(text)?, boot, now, wall);
    Ok(orders.into_iter().map(|(_, order)| order).collect())
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
    // The file may have been written by somebody else.
    let [by, why] = [&kept.by, &kept.reason].map(|of| text::plain(of, MOST_REASON));
    let mut order = Order::new(target, wish, (&by, &why), since);
    (order.until, order.forced, order.before_boot) = (until, kept.forced, before_boot);
    Some((kept, Arc::new(order)))
}

fn ms(stamp: Stamp) -> u64 {
    u64::try_from(stamp.since_boot().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
