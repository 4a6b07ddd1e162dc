//! The running daemon: here all parts are made, wired to each other, reloaded and ended.
//!
//! Two threads, each with a runtime of its own: this one answers, the other looks. What a look
//! costs (a TLS handshake, SCRAM's hashing) can so never delay an answer.

pub mod log_queue;
pub mod logging;
mod signals;
pub mod systemd;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::schema::Loaded;
use crate::config::warning::Warning;
use crate::config::{Config, Control};
use crate::control::desk::Desk;
use crate::daemon::logging::Logging;
use crate::daemon::signals::{LastWords, Signals, Told, log_at_once, said};
use crate::facts::{Facts, beats, longest_last_word};
use crate::host::boot;
use crate::host::clock::{Clock, wall_clock};
use crate::host::descriptors::Shares;
use crate::host::failure::{Exit, Failure};
use crate::host::unit_folders;
use crate::look::measure;
use crate::port::agent;
use crate::port::http::{self, Pages};
use crate::port::open::{Bound, Ports};
use crate::port::sockets::{self, Inherited};
use crate::report::history::History;
use crate::report::metrics::{Exposed, Metrics};
use crate::report::view::View;
use crate::source::releasing::{QUESTIONS_WAITING, Question};
use crate::source::resolve::Resolver;
use crate::watch::fencing::{self, Fenced};
use crate::watch::keeper::{Keeper, Orders};
use crate::watch::plan::Plan;
use crate::watch::planner::Planner;
use crate::watch::poke::{self, Door, Poke};
use crate::watch::record::Records;

/// How long stopping waits for the pollers to let go of what they hold, and for the service manager to be told.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Opens the control socket as it is configured; without `[control]` where the service manager gave rolecall folders
/// of its own, which root alone may ask. That one is a convenience: where it cannot be opened the daemon goes on.
fn desk(config: &Config, view: &View, clients: usize) -> Result<Option<(Desk, Orders)>, Failure> {
    if let Some(chosen) = &config.control {
        return Desk::open(chosen, view.clone(), clients).map(Some);
    }
    let Some(usual) = Control::in_folders_of_the_unit() else { return Ok(None) };
    let opened = Desk::open(&usual, view.clone(), clients);
    let opened = opened.inspect_err(|Failure { what, hint, .. }| {
        warn!(hint, "`rolecall status` and orders are not available: {what}");
    });
    Ok(opened.ok())
}

/// Reads the configuration, at start and at every reload.
pub type Load<'a> = dyn Fn() -> Result<Loaded, Failure> + 'a;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, a socket cannot be opened, or a part that must live for ever ended.
pub fn run(load: &Load<'_>) -> Result<(), Failure> {
    let answering = runtime()?;
    // First of all: a reload that is asked for while the daemon starts must not end it.
    let signals = {
        let _within = answering.enter();
        Signals::new().map_err(|error| internal("signals", &error))?
    };
    let loaded = load()?;
    let logging = logging::start(loaded.config.log)?;
    let _last_lines = logging.flushed_at_the_end();
    let mut inherited = Inherited::from_env()?;
    let held = inherited.addresses();

    let clock = Clock::Boot;
    let (facts_out, facts) = watch::channel(Facts::default());
    let (announced_out, announced) = watch::channel(Vec::new());
    let (plans, plans_in) = mpsc::channel(1);
    let (pokes, pokes_in) = mpsc::channel::<Poke>(poke::POKES_WAITING);
    let records = Records::from_env();
    let metrics = Metrics::default();
    let counted = metrics.clone();
    let (fences, fence_in_force) = watch::channel(None);
    let resolver = Resolver::system();
    let guarding = fencing::run(
        clock.clone(),
        facts.clone(),
        fence_in_force,
        resolver.clone(),
        counted.fence.clone(),
    );
    let keeper = Keeper::new(clock.clone(), facts_out, announced_out, records, counted.clone());
    let exposed = Arc::new(Exposed::new(&counted, facts.clone(), clock.clone()));
    let (questions, questions_in) = mpsc::channel::<Question>(QUESTIONS_WAITING);
    let keeper = keeper.asked(questions_in);
    let shares = Shares::of_this_process();
    let places = http::Room::of(&shares);
    let history = unit_folders::state().map_or_else(History::default, |folder| {
        History::kept_in(&folder, boot::id(), clock.clone())
    });
    let keeper = keeper.noting(history.clone());
    let view = View { facts, announced, history: history.clone(), clock, counted };
    let (desk, orders) = desk(&loaded.config, &view, shares.clients)?.unzip();
    let ending = desk.as_ref().map(Desk::ending);
    let stopping = CancellationToken::new();
    let keeper = keeper.under(orders).until(stopping.clone());
    let looking = runtime()?;
    let looking_thread = std::thread::Builder::new()
        .name("sources".to_owned())
        .spawn(move || {
            looking.spawn(guarding);
            looking.block_on(keeper.run(plans_in, pokes_in));
            // Dropping the pollers ends what they started; a name look-up that hangs is left behind.
            looking.shutdown_timeout(STOP_WITHIN);
        })
        .map_err(|error| internal("thread", &error))?;

    let pages = Pages { view: view.clone(), exposed, questions, places };
    let ports = Ports::new(pages, agent::Room::of(&shares));
    let sockets = ports.bind(&loaded.config, &mut inherited)?;
    inherited.all_adopted()?;
    let daemon = Daemon {
        load,
        logging,
        planner: Planner::new(resolver, view.clock.clone()),
        fences,
        view,
        plans,
        held,
        ports,
        door: None,
        pokes: Some(pokes),
        coming: None,
        reload_again: false,
        started: false,
        stopping,
        desk,
        control: loaded.config.control.clone(),
        warned: Vec::new(),
    };
    let ended = answering.block_on(daemon.run(signals, loaded, sockets));
    // The keeper ends with the sender of plans, which went with the daemon.
    let panicked = |_| Failure::new(Exit::Internal, "an internal thread panicked: sources");
    looking_thread.join().map_err(panicked)?;
    // From here on no look can end an order.
    if let Some(ending) = ending {
        ending.seal();
    }
    history.end();
    systemd::wait_told(STOP_WITHIN);
    ended
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| internal("runtime", &error))
}

fn internal(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, format_args!("rolecall cannot start: {what}: {error}"))
}

/// A configuration that was read and whose plan is not in force yet.
struct Coming {
    loaded: Loaded,
    sockets: Vec<Bound>,
    in_force: oneshot::Receiver<()>,
}

struct Daemon<'a> {
    load: &'a Load<'a>,
    logging: Logging,
    planner: Planner,
    /// Says what is fenced.
    fences: watch::Sender<fencing::Settings>,
    /// What every port answers from.
    view: View,
    plans: mpsc::Sender<Plan>,
    /// The sockets that the service manager holds; each must stay a service's.
    held: Vec<SocketAddr>,
    ports: Ports,
    /// The socket by which somebody can wake it up, and where that goes until it is open.
    door: Option<Door>,
    pokes: Option<mpsc::Sender<Poke>>,
    coming: Option<Coming>,
    /// SIGHUP came while a configuration was coming: read again once it is in force.
    reload_again: bool,
    started: bool,
    /// Tells the keeper that the last words are to be said.
    stopping: CancellationToken,
    /// The control socket, until it is served.
    desk: Option<Desk>,
    /// How it was opened.
    control: Option<Control>,
    /// What was warned of already.
    warned: Vec<Warning>,
}

impl Daemon<'_> {
    async fn run(
        mut self,
        mut signals: Signals,
        loaded: Loaded,
        sockets: Vec<Bound>,
    ) -> Result<(), Failure> {
        let mut watchdog = systemd::watchdog().map(interval);
        let mut last_words: Option<LastWords> = None;
        self.plan(loaded, sockets).await?;
        loop {
            tokio::select! {
                () = in_force(&mut self.coming) => {
                    self.enforce();
                    if std::mem::take(&mut self.reload_again) {
                        self.reload().await;
                    }
                }
                asked = signals.next() => match asked {
                    Told::Stop if last_words.is_some() => {
                        log_at_once();
                        return Ok(());
                    }
                    Told::Stop => last_words = Some(self.say_last_words()),
                    Told::Reload if last_words.is_some() => info!("reload ignored: rolecall is stopping"),
                    Told::Reload if self.coming.is_some() => self.reload_again = true,
                    Told::Reload => self.reload().await,
                },
                changed = self.view.announced.changed() => match changed {
                    Ok(()) => systemd::status(&self.view.announced.borrow_and_update()),
                    Err(_) => return Err(Failure::new(Exit::Internal, "an internal task ended: keeper")),
                },
                () = tick(&mut watchdog) => {
                    if !self.started || beats(self.view.clock.now(), &self.view.facts.borrow()) {
                        systemd::alive();
                    }
                }
                Some(ended) = self.ports.ended() => port_ended(ended)?,
                () = said(&mut last_words) => break,
            }
        }
        self.ports.stop();
        loop {
            tokio::select! {
                ended = self.ports.ended() => match ended {
                    Some(ended) => port_ended(ended)?,
                    None => break,
                },
                asked = signals.next() => if let Told::Stop = asked {
                    log_at_once();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Has each service say its last word; ends when it was said for long enough. Where there is none
    /// that is at once.
    fn say_last_words(&self) -> LastWords {
        let lasts = longest_last_word(&self.view.facts.borrow());
        if lasts.is_zero() {
            info!("stopping");
        } else {
            info!("stopping: the last answers are given for {}", measure::time(lasts));
        }
        systemd::stopping(lasts);
        self.stopping.cancel();
        Box::pin(sleep(lasts))
    }

    /// Reads the configuration again. A bad one changes nothing and says so.
    async fn reload(&mut self) {
        systemd::reloading();
        let planned = match self.read_again() {
            Ok((loaded, sockets)) => self.plan(loaded, sockets).await,
            Err(failure) => Err(failure),
        };
        if let Err(Failure { what, hint, .. }) = planned {
            self.view.counted.reload_refused(self.view.clock.now(), &what);
            error!(
                hint,
                "the configuration was not reloaded, and the one from before stays in effect: \
                 {what}"
            );
            systemd::ready();
        }
    }

    fn read_again(&mut self) -> Result<(Loaded, Vec<Bound>), Failure> {
        let loaded = (self.load)()?;
        let asked = |addr| loaded.config.listens().any(|(listen, _)| listen.covers(addr));
        if let Some(addr) = self.held.iter().find(|addr| !asked(**addr)) {
            return Err(sockets::unasked(*addr));
        }
        let sockets = self.ports.bind(&loaded.config, &mut Inherited::none())?;
        Ok((loaded, sockets))
    }

    /// Hands the keeper what to watch and judge; the ports follow when that is in force.
    async fn plan(&mut self, loaded: Loaded, sockets: Vec<Bound>) -> Result<(), Failure> {
        let (plan, in_force) = self.planner.plan(&loaded.config)?;
        self.plans
            .send(plan)
            .await
            .map_err(|_| Failure::new(Exit::Internal, "an internal task ended: keeper"))?;
        self.coming = Some(Coming { loaded, sockets, in_force });
        Ok(())
    }

    /// The coming configuration is in force: open its new ports, close those it left out.
    fn enforce(&mut self) {
        let Some(Coming { loaded, sockets, .. }) = self.coming.take() else { return };
        let Loaded { config, warnings } = loaded;
        for warning in warnings {
            if !self.warned.contains(&warning) {
                warn!(hint = warning.hint(), "{warning}");
                self.warned.push(warning);
            }
        }
        self.fences.send_replace(Fenced::of(&config));
        self.ports.serve(sockets);
        self.ports.close_others(&config);
        if self.logging.apply(config.log) {
            warn!("changes of `to` and `format` in [log] take effect at the next restart");
        }
        if config.control != self.control {
            warn!("changes of [control] take effect at the next restart");
        }
        if let Some(pokes) = self.pokes.take() {
            self.door = poke::open(config.control.as_ref().map(|control| &*control.poke), pokes);
        }
        if let Some(desk) = self.desk.take()
            && let Err(error) = desk.serve()
        {
            error!(%error, "the control socket cannot be served");
        }
        let (nodes, services) = (config.nodes.len(), config.services.len());
        info!(nodes, services, "the configuration is in effect");
        self.started = true;
        self.view.counted.reloaded(wall_clock());
        systemd::ready();
    }
}

/// Ends when the coming plan is in force; never where none is coming.
async fn in_force(coming: &mut Option<Coming>) {
    match coming {
        Some(Coming { in_force, .. }) => {
            if in_force.await.is_err() {
                // The keeper is gone: nothing comes any more, and its end is noticed elsewhere.
                *coming = None;
            }
        }
        None => pending().await,
    }
}

async fn tick(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => pending().await,
    }
}

fn port_ended(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(internal("port", &error)),
        Err(error) => Err(internal("port", &error)),
    }
}
