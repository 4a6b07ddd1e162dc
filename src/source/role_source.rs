//! What a source is: whoever looks at one server, and says what it saw. Everything but the look itself has a default.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

use crate::host::failure::Failure;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::measure;
use crate::look::observation::Observation;
use crate::look::patroni::Times;
use crate::look::repmgr::Row;
use crate::source::members::{Members, Reached};

/// One place where the role of a node can be learned.
pub trait RoleSource: Send + 'static {
    /// Looks at one server once.
    ///
    /// No retry, rhythm, deadline or policy here. The poller drops the future when its time is up;
    /// whatever it held (sockets, children) must go with it, and the next call starts clean.
    fn observe(&mut self) -> impl Future<Output = Result<Observation, SourceError>> + Send;

    /// What may be done while no look is under way, such as asking for times that seldom change. The
    /// poller drops the future when the next look is due.
    fn between_looks(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// For whom and for what a look was waiting that was just dropped: a sentence, where it had come so far.
    fn waited_for(&self) -> Option<String> {
        None
    }

    /// Whether what the last look saw will be otherwise in a moment, so that the next one is worth while
    /// sooner. Whoever says it bounds for how long.
    fn expects_change(&self) -> bool {
        false
    }

    /// An operator had everything read again: what seldom changes is asked for anew, too.
    fn renew(&mut self) {}

    /// How the other nodes of its cluster are looked at, where each is to be asked itself.
    fn peers(&self) -> Option<Peers> {
        None
    }

    /// The times that the lock of its cluster's leader lives by; `None`: it has no such lock.
    fn lock_times(&mut self) -> impl Future<Output = Option<Result<Times, SourceError>>> + Send {
        async { None }
    }

    /// The servers of its cluster, for `rolecall haproxy`; `None`: it does not know the others. `limit` is the time
    /// of a look.
    fn members(
        &mut self,
        _limit: Duration,
    ) -> impl Future<Output = Option<Result<Members, Failure>>> + Send {
        async { None }
    }

    /// Where clients reach its own node, which the configuration calls `node`; `None`: it does not know.
    fn reached(
        &mut self,
        _node: &str,
    ) -> impl Future<Output = Option<Result<Reached, Failure>>> + Send {
        async { None }
    }
}

/// Makes the source of another node, which a row of the own node's table describes.
pub type Peers = Box<dyn Fn(&Row) -> Source + Send + Sync>;

/// A source of whatever kind.
pub struct Source(Box<dyn AnySource>);

impl Source {
    /// This one.
    pub fn of(source: impl RoleSource) -> Self {
        Self(Box::new(source))
    }
}

impl RoleSource for Source {
    fn observe(&mut self) -> impl Future<Output = Result<Observation, SourceError>> + Send {
        self.0.observe()
    }

    fn between_looks(&mut self) -> impl Future<Output = ()> + Send {
        self.0.between_looks()
    }

    fn waited_for(&self) -> Option<String> {
        self.0.waited_for()
    }

    fn expects_change(&self) -> bool {
        self.0.expects_change()
    }

    fn renew(&mut self) {
        self.0.renew();
    }

    fn peers(&self) -> Option<Peers> {
        self.0.peers()
    }

    fn lock_times(&mut self) -> impl Future<Output = Option<Result<Times, SourceError>>> + Send {
        self.0.lock_times()
    }

    fn members(
        &mut self,
        limit: Duration,
    ) -> impl Future<Output = Option<Result<Members, Failure>>> + Send {
        self.0.members(limit)
    }

    async fn reached(&mut self, node: &str) -> Option<Result<Reached, Failure>> {
        self.0.reached(node).await
    }
}

type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`RoleSource`] in the form in which sources of several kinds can be one type: its futures in boxes.
trait AnySource: Send {
    fn observe(&mut self) -> Soon<'_, Result<Observation, SourceError>>;
    fn between_looks(&mut self) -> Soon<'_, ()>;
    fn waited_for(&self) -> Option<String>;
    fn expects_change(&self) -> bool;
    fn renew(&mut self);
    fn peers(&self) -> Option<Peers>;
    fn lock_times(&mut self) -> Soon<'_, Option<Result<Times, SourceError>>>;
    fn members(&mut self, limit: Duration) -> Soon<'_, Option<Result<Members, Failure>>>;
    fn reached<'a>(&'a mut self, node: &'a str) -> Soon<'a, Option<Result<Reached, Failure>>>;
}

impl<S: RoleSource> AnySource for S {
    fn observe(&mut self) -> Soon<'_, Result<Observation, SourceError>> {
        Box::pin(RoleSource::observe(self))
    }

    fn between_looks(&mut self) -> Soon<'_, ()> {
        Box::pin(RoleSource::between_looks(self))
    }

    fn waited_for(&self) -> Option<String> {
        RoleSource::waited_for(self)
    }

    fn expects_change(&self) -> bool {
        RoleSource::expects_change(self)
    }

    fn renew(&mut self) {
        RoleSource::renew(self);
    }

    fn peers(&self) -> Option<Peers> {
        RoleSource::peers(self)
    }

    fn lock_times(&mut self) -> Soon<'_, Option<Result<Times, SourceError>>> {
        Box::pin(RoleSource::lock_times(self))
    }

    fn members(&mut self, limit: Duration) -> Soon<'_, Option<Result<Members, Failure>>> {
        Box::pin(RoleSource::members(self, limit))
    }

    fn reached<'a>(&'a mut self, node: &'a str) -> Soon<'a, Option<Result<Reached, Failure>>> {
        Box::pin(RoleSource::reached(self, node))
    }
}

/// Looks once, within the deadline. The source's future is dropped when its time is up.
pub async fn look<S: RoleSource>(
    source: &mut S,
    deadline: Duration,
) -> Result<Observation, SourceError> {
    if let Ok(result) = timeout(deadline, source.observe()).await {
        return result;
    }
    let within = measure::time(deadline);
    let waited = source.waited_for().map_or_else(String::new, |what| format!(": {what}"));
    let what = format_args!("no answer within {within}{waited}");
    Err(SourceError::new(ErrorKind::Timeout, what))
}
