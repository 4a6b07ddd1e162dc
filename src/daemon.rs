//! The running daemon: the only file that knows every other.
//!
//! Two threads, each with a runtime of its own: this one answers, the other looks. What a look
//! costs (a TLS handshake, SCRAM's hashing) can so never delay an answer.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::agent::{Answering, Port};
use crate::clock::Clock;
use crate::config::{Config, Listen, Service};
use crate::failure::{Exit, Failure};
use crate::keeper::{Announced, Keeper, Plan, Planned};
use crate::logging::Logging;
use crate::poller::{self, Rhythm};
use crate::record::Records;
use crate::snapshot::NodeFacts;
use crate::sockets::{self, Inherited};
use crate::source::Source;
use crate::source::resolve::Resolver;
use crate::systemd;

/// How long stopping waits for the pollers to let go of what they hold.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Reads the configuration, at start and at every reload.
pub type Load<'a> = dyn Fn() -> Result<Config, Failure> + 'a;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, a socket cannot be opened, or a part that must live for ever ended.
pub fn run(load: &Load<'_>, config: Config, logging: Logging) -> Result<(), Failure> {
    let mut inherited = Inherited::from_env()?;
    let sockets = open_new(&config, &BTreeMap::new(), &mut inherited)?;
    inherited.all_adopted()?;

    let clock = Clock::Boot;
    let (facts_out, facts) = watch::channel(NodeFacts::default());
    let (announced_out, announced) = watch::channel(Vec::new());
    let (plans, plans_in) = mpsc::channel(1);
    let node = config.node.name.as_str().into();
    let records = Records::from_env();
    let keeper = Keeper::new(node, clock.clone(), facts_out, announced_out, records);
    let looking = runtime()?;
    let looking_thread = std::thread::Builder::new()
        .name("sources".to_owned())
        .spawn(move || {
            looking.block_on(keeper.run(plans_in));
            // Dropping the pollers ends what they started; a name look-up that hangs is left behind.
            looking.shutdown_timeout(STOP_WITHIN);
        })
        .map_err(|error| internal("thread", &error))?;

    let daemon = Daemon {
        load,
        logging,
        clock,
        resolver: Resolver::system(),
        facts,
        announced,
        plans,
        ports: BTreeMap::new(),
        serving: JoinSet::new(),
        coming: None,
        reload_again: false,
        started: false,
    };
    runtime()?.block_on(daemon.run(config, sockets))?;
    // The keeper ends with the sender of plans, which went with the daemon.
    looking_thread.join().map_err(|_| Failure::new(Exit::Internal, "the thread `sources` panicked"))
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| internal("runtime", &error))
}

fn internal(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, format_args!("{what}: {error}"))
}

type Sockets = BTreeMap<Listen, TcpListener>;

/// Opens the sockets that `config` asks for and that are not open yet.
fn open_new(
    config: &Config,
    open: &BTreeMap<Listen, OpenPort>,
    inherited: &mut Inherited,
) -> Result<Sockets, Failure> {
    let wanted = config.services.iter().flat_map(|service| &service.listen);
    wanted
        .filter(|listen| !open.contains_key(listen))
        .map(|listen| Ok((*listen, sockets::open(*listen, inherited)?)))
        .collect()
}

struct OpenPort {
    answering: watch::Sender<Answering>,
    stop: CancellationToken,
}

/// A configuration that was read and whose plan is not in force yet.
struct Coming {
    config: Config,
    sockets: Sockets,
    in_force: oneshot::Receiver<()>,
}

struct Daemon<'a> {
    load: &'a Load<'a>,
    logging: Logging,
    clock: Clock,
    resolver: Resolver,
    facts: watch::Receiver<NodeFacts>,
    announced: watch::Receiver<Vec<Announced>>,
    plans: mpsc::Sender<Plan>,
    ports: BTreeMap<Listen, OpenPort>,
    serving: JoinSet<std::io::Result<()>>,
    coming: Option<Coming>,
    /// SIGHUP came while a configuration was coming: read again once it is in force.
    reload_again: bool,
    started: bool,
}

impl Daemon<'_> {
    async fn run(mut self, config: Config, sockets: Sockets) -> Result<(), Failure> {
        let mut signals = Signals::new().map_err(|error| internal("signals", &error))?;
        let mut watchdog = systemd::watchdog().map(interval);
        self.plan(config, sockets).await?;
        loop {
            tokio::select! {
                () = in_force(&mut self.coming) => {
                    self.enforce();
                    if std::mem::take(&mut self.reload_again) {
                        self.reload().await;
                    }
                }
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::Reload if self.coming.is_some() => self.reload_again = true,
                    Asked::Reload => self.reload().await,
                },
                changed = self.announced.changed() => match changed {
                    Ok(()) => systemd::status(&self.announced.borrow_and_update()),
                    Err(_) => return Err(Failure::new(Exit::Internal, "the keeper ended")),
                },
                () = tick(&mut watchdog) => {
                    if !self.started || systemd::beats(self.clock.now(), &self.facts.borrow()) {
                        systemd::alive();
                    }
                }
                Some(ended) = self.serving.join_next() => port_ended(ended)?,
            }
        }
        info!("stopping");
        systemd::stopping();
        for port in self.ports.values() {
            port.stop.cancel();
        }
        while let Some(ended) = self.serving.join_next().await {
            port_ended(ended)?;
        }
        Ok(())
    }

    /// Reads the configuration again. A bad one changes nothing and says so.
    async fn reload(&mut self) {
        systemd::reloading();
        let planned = match self.read_again() {
            Ok((config, sockets)) => self.plan(config, sockets).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = planned {
            error!("configuration not reloaded, nothing changed: {failure}");
            systemd::ready();
        }
    }

    fn read_again(&mut self) -> Result<(Config, Sockets), Failure> {
        let config = (self.load)()?;
        let sockets = open_new(&config, &self.ports, &mut Inherited::none())?;
        Ok((config, sockets))
    }

    /// Hands the keeper what to watch and judge; the ports follow when that is in force.
    async fn plan(&mut self, config: Config, sockets: Sockets) -> Result<(), Failure> {
        let sources = config.node.sources.iter().map(|source| {
            let built = Source::new(source, &self.resolver)?;
            let rhythm = Rhythm { interval: source.interval, timeout: source.timeout };
            let clock = self.clock.clone();
            Ok(Planned {
                source: source.clone(),
                start: Box::new(move |id, report| {
                    tokio::spawn(poller::run(built, rhythm, clock, id, report)).abort_handle()
                }),
                start_peer: None,
            })
        });
        let sources = sources.collect::<Result<_, Failure>>()?;
        let service = |service: &Service| {
            (Arc::from(service.name.as_str()), Arc::new(service.policy(&config.node)))
        };
        let services = config.services.iter().map(service).collect();
        let (told, in_force) = oneshot::channel();
        let plan = Plan { sources, services, in_force: told };
        self.plans
            .send(plan)
            .await
            .map_err(|_| Failure::new(Exit::Internal, "the keeper ended"))?;
        self.coming = Some(Coming { config, sockets, in_force });
        Ok(())
    }

    /// The coming configuration's facts are there: let its ports answer.
    fn enforce(&mut self) {
        let Some(Coming { config, mut sockets, .. }) = self.coming.take() else { return };
        let mut before = std::mem::take(&mut self.ports);
        for service in &config.services {
            let answering = Answering {
                service: service.name.as_str().into(),
                wording: service.wording.clone(),
                allow: service.allow.clone(),
            };
            for listen in &service.listen {
                if let Some(port) = before.remove(listen) {
                    port.answering.send_replace(answering.clone());
                    self.ports.insert(*listen, port);
                } else if let Some(listener) = sockets.remove(listen) {
                    self.open(*listen, listener, answering.clone());
                }
            }
        }
        for (listen, port) in before {
            info!(%listen, "port closed");
            port.stop.cancel();
        }
        if self.logging.apply(config.log) {
            warn!("[log] `to` and `format` change at the next restart");
        }
        info!(services = config.services.len(), "configuration in force");
        self.started = true;
        systemd::ready();
    }

    fn open(&mut self, listen: Listen, listener: TcpListener, answering: Answering) {
        info!(%listen, service = &*answering.service, "answering");
        let (sender, receiver) = watch::channel(answering);
        let stop = CancellationToken::new();
        let port = Port {
            listener,
            answering: receiver,
            facts: self.facts.clone(),
            clock: self.clock.clone(),
        };
        self.serving.spawn(port.serve(stop.clone()));
        self.ports.insert(listen, OpenPort { answering: sender, stop });
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

enum Asked {
    Stop,
    Reload,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = self.hup.recv() => Asked::Reload,
        }
    }
}
