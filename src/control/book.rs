//! The orders that stand: how they are given, taken back and ended, and who is told of them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::LOCAL;
use crate::control::order_file::OrderFile;
use crate::control::protocol::MOST_READY;
use crate::facts::{Facts, NodeFacts, ServiceFacts};
use crate::host::clock::Clock;
use crate::host::failure::{Exit, Failure};
use crate::host::own_name;
use crate::look::measure;
use crate::look::role::Role;
use crate::look::stamp::Stamp;
use crate::look::text;
use crate::report::history::page::{Page, Wanted};
use crate::report::view::View;
use crate::verdict::order::{self, MOST_REASON, Order, Target};
use crate::verdict::state::{State, Wish};
use crate::watch::keeper::Orders;

/// How often and how many times it is looked whether orders are in force.
const IN_FORCE_LOOK: Duration = Duration::from_millis(5);
const IN_FORCE_LOOKS: u32 = 400;
/// How long the end of the daemon waits for the disk.
const SEAL_WITHIN: Duration = Duration::from_secs(1);

/// The orders, their file, and those that follow them.
pub struct OrderBook {
    file: Arc<Mutex<OrderFile>>,
    orders: watch::Sender<Vec<Arc<Order>>>,
    view: View,
    /// That the file cannot be written was said, and is so still.
    told: AtomicBool,
}

impl OrderBook {
    /// Reads the orders that stand.
    ///
    /// # Errors
    /// Another rolecall has the file.
    pub fn open(state: &Path, view: View) -> Result<(Self, Orders), Failure> {
        let file = OrderFile::open(state, view.clock.now())?;
        view.counted.orders.set(file.orders(), file.damaged());
        let (orders, kept) = watch::channel(file.orders());
        let file = Arc::new(Mutex::new(file));
        Ok((Self { file, orders, view, told: AtomicBool::new(false) }, kept))
    }

    /// What is left to do at the end.
    pub(crate) fn ending(&self) -> Ending {
        Ending { file: Arc::clone(&self.file), clock: self.view.clock.clone() }
    }

    fn file(&self) -> MutexGuard<'_, OrderFile> {
        held(&self.file)
    }

    /// What `/status` has.
    pub fn status(&self) -> Value {
        json!(self.view.status(self.view.clock.now()))
    }

    /// What `/history` has, of one target or of everything, of so much time or of all.
    pub fn history(&self, target: Option<&str>, since: Option<Duration>) -> Result<Page, Refused> {
        let about = match target {
            Some(target) => self.target_of_old(&self.meant(target))?,
            None => Target::default(),
        };
        let (service, node) = (about.service.as_deref(), about.node.as_deref());
        Ok(self.view.history.page(self.view.clock.now(), Wanted { since, service, node }))
    }

    /// A target that may be gone from the configuration.
    fn target_of_old(&self, asked: &str) -> Result<Target, Refused> {
        self.target(asked).or_else(|refused| {
            let (services, nodes) = self.view.history.names();
            let services: Vec<&str> = services.iter().map(|name| &**name).collect();
            let nodes: Vec<&str> = nodes.iter().map(|name| &**name).collect();
            Target::read(asked, &services, &nodes).map_err(|_| refused)
        })
    }

    /// A target, in which the host's name means the one node that has no other.
    fn meant(&self, asked: &str) -> String {
        let facts = self.view.facts.borrow();
        let nodes: Vec<&str> = facts.nodes.iter().map(|node| &*node.name).collect();
        own_name::meant(asked, &nodes, LOCAL)
    }

    fn target(&self, asked: &str) -> Result<Target, Refused> {
        let facts = self.view.facts.borrow();
        let services = facts.nodes.first().map(|node| &*node.services).unwrap_or_default();
        let services: Vec<&str> = services.iter().map(|service| &*service.name).collect();
        let nodes: Vec<&str> = facts.nodes.iter().map(|node| &*node.name).collect();
        Target::read(asked, &services, &nodes)
            .map_err(|known| Refused::new(format!("{asked:?} is not a known target"), known))
    }

    /// Gives an order. What is said of it; else why it does not stand.
    pub fn order(
        &self,
        wish: &str,
        target: &str,
        lasts: Option<Duration>,
        (by, why): (&str, &str),
        force: bool,
    ) -> Result<String, Refused> {
        let wish = Wish::read(wish).ok_or_else(|| {
            Refused::new(format!("{wish:?} is not an order"), "use ready, drain or maint")
        })?;
        if why.len() > MOST_REASON || !text::is_plain(why) {
            let what = format!("a reason may have at most {MOST_REASON} bytes, on one line");
            return Err(Refused::new(what, "shorten the reason"));
        }
        if lasts.is_some_and(|lasts| lasts.is_zero()) {
            return Err(Refused::new(
                "an order with `--for 0s` would expire at once",
                "set a longer time, for example --for 10m",
            ));
        }
        if force && wish != Wish::Ready {
            let what =
                format!("`--force` has no effect with {}, which is never refused", wish.as_str());
            return Err(Refused::new(what, "remove `--force`"));
        }
        let target = &self.meant(target);
        let about = self.target(target)?;
        let now = self.view.clock.now();
        if wish == Wish::Ready {
            if lasts.is_none_or(|lasts| lasts > MOST_READY) {
                let what = "`ready` must expire within 24 hours";
                return Err(Refused::new(what, "add a time, for example --for 10m"));
            }
            if !force {
                self.may_be_ready(now, &about)?;
            }
        }
        let mut order = Order::new(about.clone(), wish, (by, why), now);
        order.forced = force;
        let kept = self.file().add(order, lasts);
        kept.map_err(|error| self.not_kept(&error))?;
        self.enforce();
        let ends = lasts.map(|lasts| format!(" for {}", measure::time(lasts)));
        let ends =
            ends.unwrap_or_else(|| format!(" until it is removed with `rolecall auto {target}`"));
        let (order, forced) = (wish.as_str(), if force { ", by force" } else { "" });
        let said = format!("{order} {target}{ends}{forced}");
        if force {
            warn!(by, order, target, reason = why, "order given by {by}: {said}");
        } else {
            info!(by, order, target, reason = why, "order given by {by}: {said}");
        }
        let drained = if wish == Wish::Drain { self.primaries(now, &about) } else { Vec::new() };
        if drained.is_empty() {
            return Ok(said);
        }
        let nodes = drained.join(", ");
        Ok(format!(
            "{said}\nnote: this drains a primary ({nodes}), so every new connection is refused; use a \
             switchover to move the primary"
        ))
    }

    /// The nodes that would be READY for primaries.
    fn primaries(&self, now: Stamp, about: &Target) -> Vec<String> {
        let facts = self.view.facts.borrow();
        let pairs = covered(&facts, about).into_iter().filter(|(node, service)| {
            primary(service) && node.seen(now, service).state == State::Ready
        });
        let mut nodes: Vec<_> = pairs.map(|(node, _)| node.name.to_string()).collect();
        nodes.dedup();
        nodes
    }

    /// Whether something could come of a `ready` that is not forced.
    fn may_be_ready(&self, now: Stamp, about: &Target) -> Result<(), Refused> {
        let facts = self.view.facts.borrow();
        let covered = covered(&facts, about);
        if covered.iter().any(|(_, service)| primary(service)) {
            let what = "the target includes a service for the role primary, so writes could reach \
                        a node that is not the primary";
            let hint = "choose a service of replicas, or add --force if you are certain that this \
                        node must take writes";
            return Err(Refused::new(what, hint));
        }
        // A no of one node would end what is about others as well.
        let [(node, service)] = covered.as_slice() else {
            let what = "`ready` needs one service of one node";
            return Err(Refused::new(what, "give the target as SERVICE/NODE"));
        };
        let seen = node.seen(now, service);
        if seen.state == State::NotReady {
            let what = format!(
                "service {} of node {} is not ready: {}",
                service.name, node.name, seen.reason
            );
            let hint = "`ready` works only while polls fail: the first negative result removes it";
            return Err(Refused::new(what, hint));
        }
        Ok(())
    }

    /// Takes the order of this target back.
    pub fn auto(&self, target: &str, by: &str) -> Result<String, Refused> {
        let target = &self.meant(target);
        // By its name: what it was about may be gone from the configuration.
        let removed = self.file().remove(|order| order.target.to_string() == *target);
        let removed = removed.map_err(|error| self.not_kept(&error))?;
        if removed == 0 {
            self.target(target)?;
            let orders = self.file().orders();
            let targets: Vec<_> = orders.iter().map(|order| order.target.to_string()).collect();
            let hint = match targets.as_slice() {
                [] => "there are no orders".to_owned(),
                some => format!("there are orders for {}", some.join(", ")),
            };
            return Err(Refused::new(format!("there is no order for {target}"), hint));
        }
        self.enforce();
        info!(by, target, "order removed by {by}: {target}");
        Ok(format!("auto {target}"))
    }

    fn not_kept(&self, error: &io::Error) -> Refused {
        let state = self.file().path().display().to_string();
        let what =
            format!("the order file {state} cannot be written, so nothing was changed: {error}");
        let hint = "check with df -h and findmnt whether its file system is full or read-only, \
                    and let rolecall's user write there. To get rid of all orders meanwhile, set \
                    state = \"/run/rolecall/orders.json\" in [control] and restart rolecall: it \
                    then starts without orders";
        Refused::new(what, hint).with(Exit::Unavailable)
    }

    /// Hands the orders that stand to the keeper, and to whoever shows them.
    fn publish(&self) -> Vec<Arc<Order>> {
        let file = self.file();
        let orders = file.orders();
        self.view.counted.orders.set(orders.clone(), file.damaged());
        drop(file);
        self.orders.send_replace(orders.clone());
        orders
    }

    /// Hands the orders to the keeper, and waits until they are answered by: whoever is told that an
    /// order stands may go on with what it was given for.
    fn enforce(&self) {
        let orders = self.publish();
        for _ in 0..IN_FORCE_LOOKS {
            let all_follow = self.view.facts.borrow().nodes.iter().all(|node| {
                let follows = |service: &ServiceFacts| {
                    service.orders == order::about(&orders, &service.name, &node.name)
                };
                node.services.iter().all(follows)
            });
            if all_follow {
                return;
            }
            std::thread::sleep(IN_FORCE_LOOK);
        }
        warn!("the orders are not in effect yet: the thread `sources` is busy");
    }

    /// Takes out what has ended. Where that cannot be written it is tried again; it speaks no more
    /// all the same.
    pub fn tidy(&self) {
        let now = self.view.clock.now();
        let ended: Vec<_> =
            self.file().orders().into_iter().filter(|order| !order.stands(now)).collect();
        if ended.is_empty() {
            return;
        }
        let removed = self.file().remove(|order| !order.stands(now));
        match removed {
            Ok(_) => {
                self.told.store(false, Ordering::Relaxed);
                for order in ended {
                    let (target, wish) = (order.target.to_string(), order.wish.as_str());
                    info!(target, order = wish, by = &*order.by, "order expired: {wish} {target}");
                }
                self.publish();
            }
            Err(error) if !self.told.swap(true, Ordering::Relaxed) => {
                error!(%error, "an expired order cannot be removed from the order file; trying \
                                again");
            }
            Err(_) => {}
        }
    }
}

/// Each service of each node that a target is about.
fn covered<'a>(facts: &'a Facts, about: &Target) -> Vec<(&'a NodeFacts, &'a ServiceFacts)> {
    let pairs = facts
        .nodes
        .iter()
        .flat_map(|node| node.services.iter().map(move |service| (node, service)));
    pairs.filter(|(node, service)| about.covers(&service.name, &node.name)).collect()
}

/// Whether writes may go there.
fn primary(service: &ServiceFacts) -> bool {
    service.policy.roles.contains(&Role::Primary)
}

/// What is left to do once nothing can end an order any more.
pub struct Ending {
    file: Arc<Mutex<OrderFile>>,
    clock: Clock,
}

impl Ending {
    /// Notes which orders stood to the end. A disk that hangs is not waited for.
    pub(crate) fn seal(self) {
        let (told, sealed) = mpsc::channel();
        let seal = move || {
            // Nobody waits any more where it took too long.
            let _ = told.send(held(&self.file).seal(self.clock.now()));
        };
        let started = std::thread::Builder::new().name("seal".to_owned()).spawn(seal);
        let sealed = started.and_then(|_| {
            let too_slow =
                |_| io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer in time");
            sealed.recv_timeout(SEAL_WITHIN).map_err(too_slow)?
        });
        if let Err(error) = sealed {
            warn!(%error, "the order file cannot be written: after the restart each `ready` order \
                           stays suspended until a poll shows that its node is fit");
        }
    }
}

/// What a panic elsewhere left behind is a list of orders all the same.
fn held(file: &Mutex<OrderFile>) -> MutexGuard<'_, OrderFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why an order is refused.
pub struct Refused {
    what: String,
    hint: String,
    exit: Exit,
}

impl Refused {
    /// What was asked is wrong.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), exit: Exit::Usage }
    }

    /// It ends with this exit code instead.
    #[must_use]
    pub fn with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// As it is told.
    pub fn json(&self) -> Value {
        json!({ "error": self.what, "hint": self.hint, "exit": self.exit as u8 })
    }
}
