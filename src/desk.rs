//! Who sits behind the control socket: where operators give orders and ask what is known.
//!
//! One client at a time, on a thread of its own that nothing waits for: a line of JSON in, JSON out, the
//! end (`control`). The kernel tells who it is. Root and rolecall's own user may; with `group` also whoever the
//! socket's mode lets in. An order stands once it is on disk.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{SockRef, Type};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock::{Clock, Stamp};
use crate::config::Control;
use crate::control::{BECOME, CLIENT, MOST_READY, MOST_REASON, QUESTION, Question};
use crate::failure::{Exit, Failure};
use crate::http::Pages;
use crate::keeper::Orders;
use crate::order::{self, Order, Target, Wish};
use crate::order_file::OrderFile;
use crate::role::Role;
use crate::snapshot::ServiceFacts;
use crate::status;
use crate::unix_socket;
use crate::verdict::State;

/// How often orders that have ended are taken out of the file.
const TIDY: Duration = Duration::from_millis(250);
/// How often and how many times it is looked whether orders are in force.
const IN_FORCE_LOOK: Duration = Duration::from_millis(5);
const IN_FORCE_LOOKS: u32 = 400;
/// How long the end of the daemon waits for the disk.
const SEAL_WITHIN: Duration = Duration::from_secs(1);

/// The open socket and the orders.
pub struct Desk {
    listener: UnixListener,
    config: Control,
    file: Arc<Mutex<OrderFile>>,
    orders: watch::Sender<Vec<Arc<Order>>>,
    pages: Pages,
    me: u32,
}

impl Desk {
    /// Opens the socket and reads the orders that stand.
    ///
    /// # Errors
    /// The socket cannot be opened; another rolecall has it.
    pub fn open(config: &Control, pages: Pages) -> Result<(Self, Orders), Failure> {
        let listener = listen(config)?;
        let file = OrderFile::open(&config.state, pages.clock.now());
        let (orders, kept) = watch::channel(file.orders());
        let file = Arc::new(Mutex::new(file));
        let me = rustix::process::geteuid().as_raw();
        Ok((Self { listener, config: config.clone(), file, orders, pages, me }, kept))
    }

    /// What is left to do at the end.
    pub fn ending(&self) -> Ending {
        Ending { file: Arc::clone(&self.file), clock: self.pages.clock.clone() }
    }

    fn file(&self) -> MutexGuard<'_, OrderFile> {
        held(&self.file)
    }

    /// Serves for as long as the process lives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn serve(mut self) -> io::Result<()> {
        // `accept` gives up after it, so that the orders are tidied though nobody asks.
        SockRef::from(&self.listener).set_read_timeout(Some(TIDY))?;
        let run = move || {
            loop {
                match self.listener.accept() {
                    Ok((stream, _)) => self.client(&stream),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        warn!(%error, "the control socket cannot accept; trying again");
                        std::thread::sleep(TIDY);
                    }
                }
                self.tidy();
            }
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(run).map(drop)
    }

    fn client(&mut self, mut stream: &UnixStream) {
        let answer = match self.who(stream) {
            Ok(who) => match hear(stream, &self.pages.clock) {
                Ok(question) => self.answer(question, &who),
                Err(error) => {
                    warn!(who, %error, "a client of the control socket was not understood");
                    let hint = "ask by rolecall status, or an order";
                    Refused::new("no question that can be read", hint).json()
                }
            },
            Err(who) => {
                let hint = "set `group` of [control] to a group it is in, if it shall be let in";
                warn!(who, hint, "refused at the control socket: {who}");
                let refused = Refused::new(format!("{who} may not ask here"), BECOME);
                Refused { exit: Exit::Permission, ..refused }.json()
            }
        };
        let told = stream
            .set_write_timeout(Some(CLIENT))
            .and_then(|()| stream.write_all(format!("{answer}\n").as_bytes()));
        if let Err(error) = told {
            info!(%error, "a client of the control socket went without its answer");
        }
    }

    /// Who it is; `Err` where it may not ask.
    fn who(&self, stream: &UnixStream) -> Result<String, String> {
        let peer = rustix::net::sockopt::socket_peercred(stream);
        let peer = peer.map_err(|error| format!("somebody unknown ({error})"))?;
        let uid = peer.uid.as_raw();
        let who = match named("/etc/passwd", 2, &uid.to_string(), 0) {
            Some(name) => format!("{name} (uid {uid})"),
            None => format!("uid {uid}"),
        };
        if may_ask(uid, self.me, self.config.group.is_some()) { Ok(who) } else { Err(who) }
    }

    fn answer(&mut self, question: Question, who: &str) -> Value {
        let done = match question {
            Question::Status => {
                return json!({ "ok": self.status() });
            }
            Question::Auto { target } => self.auto(&target, who),
            Question::Order { order, target, for_ms, reason, force } => {
                let lasts = for_ms.map(Duration::from_millis);
                self.order(&order, &target, lasts, (who, &reason), force)
            }
        };
        match done {
            Ok(said) => json!({ "ok": said }),
            Err(refused) => refused.json(),
        }
    }

    /// What `/status` has, and every order that stands, also one that counts nowhere.
    fn status(&self) -> Value {
        let now = self.pages.clock.now();
        let mut status = json!(self.pages.status(now));
        let file = self.file();
        let orders = file.orders().into_iter().filter(|order| order.stands(now));
        let orders: Vec<_> = orders.map(|order| status::Order::of(now, &order)).collect();
        status["orders"] = json!(orders);
        status["orders_damaged"] = json!(file.damaged());
        status
    }

    fn target(&self, text: &str) -> Result<Target, Refused> {
        let facts = self.pages.facts.borrow();
        let services = facts.nodes.first().map(|node| &*node.services).unwrap_or_default();
        let services: Vec<&str> = services.iter().map(|service| &*service.name).collect();
        let nodes: Vec<&str> = facts.nodes.iter().map(|node| &*node.name).collect();
        Target::read(text, &services, &nodes)
            .map_err(|known| Refused::new(format!("{text:?} is no target"), known))
    }

    fn order(
        &mut self,
        wish: &str,
        target: &str,
        lasts: Option<Duration>,
        (by, why): (&str, &str),
        force: bool,
    ) -> Result<String, Refused> {
        let wish = Wish::read(wish).ok_or_else(|| {
            Refused::new(format!("{wish:?} is no order"), "ready, drain or maint")
        })?;
        if why.len() > MOST_REASON || why.chars().any(char::is_control) {
            let what = format!("a reason is at most {MOST_REASON} bytes on one line");
            return Err(Refused::new(what, "say it shorter"));
        }
        if lasts.is_some_and(|lasts| lasts.is_zero()) {
            return Err(Refused::new("it would end at once", "give --for a time, such as 10m"));
        }
        let about = self.target(target)?;
        let now = self.pages.clock.now();
        if wish == Wish::Ready {
            if lasts.is_none_or(|lasts| lasts > MOST_READY) {
                let what = "`ready` must end by itself, within 24 hours";
                return Err(Refused::new(what, "say --for 10m"));
            }
            if !force {
                self.may_be_ready(now, &about)?;
            }
        }
        let mut order = Order::new(about, wish, (by, why), now);
        order.forced = force && wish == Wish::Ready;
        let force = order.forced;
        self.file().add(order, lasts).map_err(|error| not_kept(&self.config.state, &error))?;
        self.enforce();
        let ends = lasts.map(|lasts| format!(" for {}", humantime::format_duration(lasts)));
        let ends = ends.unwrap_or_else(|| " until it is taken back".to_owned());
        let (order, forced) = (wish.as_str(), if force { ", by force" } else { "" });
        let said = format!("{order} {target}{ends}{forced}");
        if force {
            warn!(by, order, target, reason = why, "ordered by {by}: {said}");
        } else {
            info!(by, order, target, reason = why, "ordered by {by}: {said}");
        }
        Ok(said)
    }

    /// Whether something could come of a `ready` that is not forced.
    fn may_be_ready(&self, now: Stamp, about: &Target) -> Result<(), Refused> {
        let facts = self.pages.facts.borrow();
        let pairs = facts
            .nodes
            .iter()
            .flat_map(|node| node.services.iter().map(move |service| (node, service)));
        let covered = pairs.filter(|(node, service)| about.covers(&service.name, &node.name));
        let covered: Vec<_> = covered.collect();
        let primary = |service: &ServiceFacts| service.policy.roles.contains(&Role::Primary);
        if covered.iter().any(|(_, service)| primary(service)) {
            let what = "a service for primaries is among the targets: writes could reach a node \
                        that is none";
            let hint = "order a service of replicas, or say --force and answer for it yourself";
            return Err(Refused::new(what, hint));
        }
        // A no of one node would end what is about others as well.
        let [(node, service)] = covered.as_slice() else {
            let what = "`ready` is about one service of one node";
            return Err(Refused::new(what, "say SERVICE/NODE"));
        };
        let seen = node.seen(now, service);
        if seen.state == State::NotReady {
            let what = format!("{} of {} is not ready: {}", service.name, node.name, seen.reason);
            let hint = "`ready` speaks where nothing is known, and is dropped at a no";
            return Err(Refused::new(what, hint));
        }
        Ok(())
    }

    fn auto(&mut self, target: &str, by: &str) -> Result<String, Refused> {
        // By its name: what it was about may be gone from the configuration.
        let removed = self.file().remove(|order| order.target.to_string() == target);
        let removed = removed.map_err(|error| not_kept(&self.config.state, &error))?;
        if removed == 0 {
            self.target(target)?;
            let orders = self.file().orders();
            let targets: Vec<_> = orders.iter().map(|order| order.target.to_string()).collect();
            let hint = match targets.as_slice() {
                [] => "there are no orders".to_owned(),
                some => format!("there are orders about {}", some.join(", ")),
            };
            return Err(Refused::new(format!("no order about {target}"), hint));
        }
        self.enforce();
        info!(by, target, "order taken back by {by}: {target}");
        Ok(format!("auto {target}"))
    }

    /// Hands the orders to the keeper, and waits until they are answered by: whoever is told that an
    /// order stands may go on with what it was given for.
    fn enforce(&self) {
        let orders = self.file().orders();
        self.orders.send_replace(orders.clone());
        for _ in 0..IN_FORCE_LOOKS {
            let all_follow = self.pages.facts.borrow().nodes.iter().all(|node| {
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
        warn!("orders are not in force yet: the thread `sources` is busy");
    }

    /// Takes out what has ended. Where that cannot be written it is tried again; it speaks no more
    /// all the same.
    fn tidy(&mut self) {
        let now = self.pages.clock.now();
        let ended: Vec<_> =
            self.file().orders().into_iter().filter(|order| !order.stands(now)).collect();
        if ended.is_empty() {
            return;
        }
        let removed = self.file().remove(|order| !order.stands(now));
        match removed {
            Ok(_) => {
                for order in ended {
                    let (target, wish) = (order.target.to_string(), order.wish.as_str());
                    info!(target, order = wish, by = &*order.by, "order ended: {wish} {target}");
                }
                self.orders.send_replace(self.file().orders());
            }
            Err(error) => error!(%error, "an order that has ended cannot be taken out of its file"),
        }
    }
}

/// What is left to do once nothing can end an order any more.
pub struct Ending {
    file: Arc<Mutex<OrderFile>>,
    clock: Clock,
}

impl Ending {
    /// Notes which orders stood to the end. A disk that hangs is not waited for.
    pub fn seal(self) {
        let (told, sealed) = mpsc::channel();
        let seal = move || {
            // Nobody waits any more where it took too long.
            let _ = told.send(held(&self.file).seal(self.clock.now()));
        };
        let started = std::thread::Builder::new().name("seal".to_owned()).spawn(seal);
        let sealed = started.and_then(|_| {
            let too_slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the disk is too slow");
            sealed.recv_timeout(SEAL_WITHIN).map_err(too_slow)?
        });
        if let Err(error) = sealed {
            warn!(%error, "orders cannot be written: after the restart each `ready` waits to be seen fit");
        }
    }
}

/// What a panic elsewhere left behind is a list of orders all the same.
fn held(file: &Mutex<OrderFile>) -> MutexGuard<'_, OrderFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a user may ask; with a group the socket's mode has let in nobody else.
fn may_ask(uid: u32, me: u32, by_group: bool) -> bool {
    uid == 0 || uid == me || by_group
}

/// Why an order is refused.
struct Refused {
    what: String,
    hint: String,
    exit: Exit,
}

impl Refused {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), exit: Exit::Usage }
    }

    fn json(&self) -> Value {
        json!({ "error": self.what, "hint": self.hint, "exit": self.exit as u8 })
    }
}

fn not_kept(state: &Path, error: &io::Error) -> Refused {
    let state = state.display();
    let what = format!("{state} cannot be written, nothing was changed: {error}");
    let refused = Refused::new(what, "let rolecall's user write there; see `state` of [control]");
    Refused { exit: Exit::Unavailable, ..refused }
}

fn hear(mut stream: &UnixStream, clock: &Clock) -> io::Result<Question> {
    let until = clock.now().plus(CLIENT);
    let mut heard = Vec::new();
    let mut more = [0; 512];
    loop {
        let left = until.since(clock.now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long to ask"));
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut more)?;
        heard.extend_from_slice(more.get(..count).unwrap_or_default());
        if let Some(line) =
            heard.split(|byte| *byte == b'\n').next().filter(|line| line.len() < heard.len())
        {
            return Ok(serde_json::from_slice(line)?);
        }
        if count == 0 || heard.len() > QUESTION {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no line, or one that is too long",
            ));
        }
    }
}

/// The field `give` of the line of a file such as /etc/passwd whose field `at` is `is`.
fn named(file: &str, at: usize, is: &str, give: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.into_iter().find(|fields| fields.get(at) == Some(&is))?;
    line.get(give).map(|field| (*field).to_owned())
}

fn listen(config: &Control) -> Result<UnixListener, Failure> {
    let path = &config.socket;
    let listener = UnixListener::from(unix_socket::bind(path, Type::STREAM)?);
    let failed = |error: io::Error| unix_socket::failed(path, &error);
    // Between the two nobody else is let in: who may ask is decided by who it is.
    if let Some(group) = &config.group {
        let gid = named("/etc/group", 0, group, 2).and_then(|gid| gid.parse().ok());
        let gid = gid.ok_or_else(|| {
            Failure::new(Exit::Config, format_args!("[control] group: no group {group:?}"))
                .hint("create it, or name one that is there")
        })?;
        chown(path, None, Some(gid)).map_err(|error| {
            failed(error).hint(
                "is rolecall's user in the group? under systemd SupplementaryGroups= puts it there, and \
                 the packaged unit's sandbox allows it once docs/control.md is followed",
            )
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(config.mode)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_may_not_ask_whatever_the_sockets_mode() {
        for (uid, by_group, may) in
            [(0, false, true), (998, false, true), (1000, false, false), (1000, true, true)]
        {
            assert_eq!(may_ask(uid, 998, by_group), may, "uid {uid}, with a group: {by_group}");
        }
    }
}
