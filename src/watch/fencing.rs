//! Ends the sessions that a node which is out must not keep: at once, and again at every look.
//!
//! A task beside the pollers. It reads the facts as everybody does, decides by [`crate::facts::fence`], and
//! acts by [`crate::source::pg::sessions`], one attempt at a time, each over a connection of its own
//! and within the source's timeout. It keeps nothing that would have to be undone.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::config::{Config, Fence, LOCAL, Source};
use crate::facts::Facts;
use crate::facts::fence::{Due, Record, Watch};
use crate::host::clock::Clock;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::look::stamp::Stamp;
use crate::source::pg::Connector;
use crate::source::pg::sessions::{Ended, Sessions};
use crate::source::resolve::Resolver;
use crate::verdict::reason::Reason;
use crate::watch::beside;

/// Time between two attempts while sessions still turn up: a HAProxy that believes in the node opens
/// new ones until it hears the next answer.
const AGAIN: Duration = Duration::from_millis(75);

/// Time between two questions whether it could act, while it need not: a right that is missing is to be
/// known before it is needed, and an attempt then takes one connection.
const ASKED_EVERY: Duration = Duration::from_secs(60);

/// For so long after the first attempt, and after the last session that was found.
const OFTEN_FOR: Duration = Duration::from_secs(3);

/// What is fenced from now on; sent when a configuration comes into force.
pub type Settings = Option<Arc<Fenced>>;

/// The fence, and where its node's role is learned, which must be on this host too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    fence: Fence,
    sources: Vec<Source>,
}

impl Fenced {
    /// As configured, where it is.
    pub fn of(config: &Config) -> Settings {
        let fence = config.fence.clone()?;
        let sources = config.nodes.iter().flat_map(|node| node.sources.clone()).collect();
        Some(Arc::new(Self { fence, sources }))
    }
}

/// Follows the settings until their sender is gone.
pub async fn run(
    clock: Clock,
    mut facts: watch::Receiver<Facts>,
    mut settings: watch::Receiver<Settings>,
    resolver: Resolver,
    record: Record,
) {
    loop {
        let fenced = settings.borrow_and_update().clone();
        record.set_up(fenced.is_some());
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return },
            () = guard(&clock, &mut facts, fenced, &resolver, &record) => {}
        }
    }
}

/// Guards the node for ever; without a fence it does nothing.
async fn guard(
    clock: &Clock,
    facts: &mut watch::Receiver<Facts>,
    fenced: Settings,
    resolver: &Resolver,
    record: &Record,
) {
    let Some(fenced) = fenced else { return pending().await };
    let mut guard = Guard {
        watch: Watch::new(clock.now(), fenced.fence.heard),
        clock: clock.clone(),
        facts: facts.clone(),
        fenced,
        resolver: resolver.clone(),
        record: record.clone(),
        sessions: None,
        episode: None,
        failing: None,
        asked: None,
    };
    loop {
        let wait = guard.step().await;
        tokio::select! {
            changed = facts.changed() => if changed.is_err() { return pending().await },
            () = sleep(wait) => {}
        }
    }
}

struct Guard {
    watch: Watch,
    clock: Clock,
    facts: watch::Receiver<Facts>,
    fenced: Arc<Fenced>,
    resolver: Resolver,
    record: Record,
    /// Made when it is first needed.
    sessions: Option<Sessions>,
    episode: Option<Episode>,
    /// How the attempts fail, where they do; each way is warned of once.
    failing: Option<ErrorKind>,
    /// When it was last asked whether it could act.
    asked: Option<Stamp>,
}

/// From the first attempt until the node is not out any more.
struct Episode {
    /// When the last attempt began.
    tried: Stamp,
    /// Until when it is tried often.
    often_until: Stamp,
    /// Sessions that were told to end in it.
    ended: u64,
    /// Whether it was said that the server is out of recovery.
    told: bool,
}

impl Guard {
    /// Decides, acts where it is due, and tells how long nothing is to be done if nothing new is seen.
    async fn step(&mut self) -> Duration {
        let interval = self.fenced.fence.rhythm.interval;
        let now = self.clock.now();
        let due = match self.facts.borrow().node(LOCAL) {
            Some(node) => self.watch.due(now, node),
            None => Due::Never,
        };
        match due {
            Due::Never => {
                self.over();
                if self.asked.is_none_or(|asked| now >= asked.plus(ASKED_EVERY)) {
                    self.asked = Some(now);
                    self.ask().await;
                }
                interval
            }
            Due::At(moment) => moment.since(now).min(interval),
            Due::Now(reason) => {
                let next = self.next();
                if next <= now {
                    self.attempt(now, &reason).await;
                }
                self.next().since(self.clock.now())
            }
        }
    }

    /// When the next attempt is due.
    fn next(&self) -> Stamp {
        let Some(episode) = &self.episode else { return Stamp::new(Duration::ZERO) };
        let often = episode.tried < episode.often_until;
        episode.tried.plus(if often { AGAIN } else { self.fenced.fence.rhythm.interval })
    }

    async fn attempt(&mut self, now: Stamp, reason: &Reason) {
        let episode = self.episode.get_or_insert(Episode {
            tried: now,
            often_until: now.plus(OFTEN_FOR),
            ended: 0,
            told: false,
        });
        episode.tried = now;
        let ended = self.within(Self::end).await;
        match ended {
            Ok(Ended::Told(count)) => self.told(now, reason, count),
            Ok(Ended::InRecovery | Ended::CalledOff) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    /// Asks whether it could act. What only time cures is said when it is needed.
    /// News go first: it may be needed now.
    async fn ask(&mut self) {
        let mut news = self.facts.clone();
        news.mark_unchanged();
        let asked = tokio::select! {
            asked = self.within(async |guard| guard.sessions().await?.survey().await) => asked,
            _ = news.changed() => return,
        };
        match asked {
            Ok(()) => self.succeeded(),
            Err(error) if is_lasting(error.kind) => self.failed(&error),
            Err(error) => debug!(
                node = LOCAL,
                "it is not known whether the fence could end sessions: {error}"
            ),
        }
    }

    /// Does `work` within the source's timeout.
    async fn within<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let within = self.fenced.fence.rhythm.timeout;
        self.sessions.iter().for_each(Sessions::begin);
        match timeout(within, work(self)).await {
            Ok(done) => done,
            Err(_) => Err(self.late(within)),
        }
    }

    /// Its time is up.
    fn late(&self, within: Duration) -> SourceError {
        late(within, self.sessions.as_ref().and_then(Sessions::waited_for))
    }

    /// Ends them, if it is still due once the server has let it in.
    async fn end(&mut self) -> Result<Ended, SourceError> {
        let (facts, watch, clock) = (self.facts.clone(), self.watch.clone(), self.clock.clone());
        let still = move || {
            let facts = facts.borrow();
            facts.node(LOCAL).is_some_and(|node| watch.stands(clock.now(), node))
        };
        self.sessions().await?.end(still).await
    }

    /// The sessions of this host's server. What must be on this host is looked for anew each time, since
    /// names and addresses move.
    async fn sessions(&mut self) -> Result<&mut Sessions, SourceError> {
        are_here(&self.fenced, &self.resolver).await?;
        if self.sessions.is_none() {
            self.sessions = Some(sessions(&self.fenced.fence, &self.resolver)?);
        }
        self.sessions.as_mut().ok_or_else(|| late(Duration::ZERO, None))
    }

    /// The server is out of recovery, and so many sessions were told to end.
    fn told(&mut self, now: Stamp, reason: &Reason, count: u64) {
        self.succeeded();
        self.record.note(|deeds| {
            deeds.acting.get_or_insert((now, reason.clone()));
            deeds.ended += count;
            if count > 0 {
                deeds.last = Some(now);
            }
        });
        let Some(episode) = &mut self.episode else { return };
        if count > 0 {
            episode.often_until = now.plus(OFTEN_FOR);
        }
        let first = episode.ended == 0 && count > 0;
        episode.ended += count;
        let told = std::mem::replace(&mut episode.told, true);
        if first {
            let label = reason.label();
            warn!(
                node = LOCAL,
                reason = label,
                sessions = count,
                "PostgreSQL of {LOCAL} accepts writes and is not READY: the fence has ended \
                 {count} client sessions and ends new ones: {reason}"
            );
        } else if !told {
            info!(
                node = LOCAL,
                reason = reason.label(),
                "PostgreSQL of {LOCAL} accepts writes and is not READY: the fence ends client \
                 sessions if there are any: {reason}"
            );
        } else if count > 0 {
            debug!(node = LOCAL, sessions = count, "the fence has ended more client sessions");
        }
    }

    fn succeeded(&mut self) {
        self.record.note(|deeds| deeds.error = None);
        if self.failing.take().is_some() {
            info!(node = LOCAL, "the fence can end sessions again");
        }
    }

    /// No evidence of anything.
    fn failed(&mut self, error: &SourceError) {
        self.record.note(|deeds| {
            deeds.failed += 1;
            deeds.error = Some(error.clone());
        });
        let kind = error.kind;
        if self.failing.replace(kind) == Some(kind) {
            debug!(node = LOCAL, error = kind.label(), "the fence failed again: {error}");
            return;
        }
        let hint = kind.hint();
        warn!(
            node = LOCAL,
            error = kind.label(),
            hint,
            "the fence cannot end sessions on {LOCAL}: {error}"
        );
    }

    /// The node is not out, or nothing is there to end.
    fn over(&mut self) {
        let Some(episode) = self.episode.take() else { return };
        self.record.note(|deeds| deeds.acting = None);
        if episode.told {
            let count = episode.ended;
            info!(
                node = LOCAL,
                sessions = count,
                "the fence has stopped, and has ended {count} client sessions"
            );
        }
    }
}

/// What only an operator cures.
fn is_lasting(kind: ErrorKind) -> bool {
    use ErrorKind::{Credential, Denied, Elsewhere, Grant, Tls};
    matches!(kind, Credential | Denied | Elsewhere | Grant | Tls)
}

fn late(within: Duration, waited: Option<String>) -> SourceError {
    let within = measure::time(within);
    let waited = waited.map_or_else(String::new, |waited| format!(": {waited}"));
    SourceError::new(ErrorKind::Timeout, format_args!("no answer within {within}{waited}"))
}

async fn are_here(fenced: &Fenced, resolver: &Resolver) -> Result<(), SourceError> {
    for source in &fenced.sources {
        beside::of_source(source, resolver).await?;
    }
    beside::of_place(&fenced.fence.server.conninfo.place, resolver).await
}

fn sessions(fence: &Fence, resolver: &Resolver) -> Result<Sessions, SourceError> {
    let connector = Connector::new(&fence.server, fence.rhythm.timeout, resolver.clone())?;
    Ok(Sessions::new(connector, &fence.whose))
}

/// Whether the configured fence could act, asked of the real server.
///
/// # Errors
/// Why it could not. `Ok(Some)`: that cannot be known now.
pub async fn check(config: &Config) -> Result<Option<SourceError>, SourceError> {
    let Some(fenced) = Fenced::of(config) else { return Ok(None) };
    let resolver = Resolver::system();
    let within = fenced.fence.rhythm.timeout;
    let mut sessions = sessions(&fenced.fence, &resolver);
    let asked = async {
        are_here(&fenced, &resolver).await?;
        match &mut sessions {
            Ok(sessions) => sessions.survey().await,
            Err(error) => Err(error.clone()),
        }
    };
    let asked = timeout(within, asked).await;
    let waited = || sessions.as_ref().ok().and_then(Sessions::waited_for);
    match asked.unwrap_or_else(|_| Err(late(within, waited()))) {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.kind, ErrorKind::Grant | ErrorKind::Elsewhere) => Err(error),
        Err(error) => Ok(Some(error)),
    }
}
