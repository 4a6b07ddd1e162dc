//! Patroni's REST API, by the strict rule: one request a look, `GET /primary`, or `GET /read-only?lag=N`
//! where replicas have a limit: a leader's 200 means the same there.
//!
//! The status is the lock, and only a body that says a role and a running server makes a 200 count. Everything else
//! (other statuses, silence, a body of another form) shows nothing.

// What rolecall rests on, measured on Patroni 2.1.7, 3.3.11 and 4.1.5:
//
// * The status is the lock, the body is not: a stale old primary says `503` with `"role": "primary"`. So **503 is a
//   no, whatever the body**.
// * Status 200 does not mean that PostgreSQL works: it is said with `"state": "stopping"`, `"unknown"` or
//   `"crashed"`, and with `"role": "replica"` during a promotion. So **200 counts only with a body that says a role
//   and `"state": "running"`**, or where it writes, which PostgreSQL itself has just told.
// * The leader's role is `master` up to 3.x, `primary` from 4.0.
// * Answers are HTTP/1.0, ended by closing the connection, sometimes without any header: a truncated body shows only
//   as invalid JSON.
// * A server that died is noticed by Patroni late, and while Patroni stops itself it says nothing. So beside each
//   look PostgreSQL's own port is connected to (`own_port`): refused is a no, whatever is said later, and an answer
//   never waits for it.
// * Five idle connections freeze the whole API of some versions. So there is one request in flight, and its
//   connection is closed with the answer, or with the look.

mod answer;
mod client;
mod cluster;
mod members;
mod own_port;
mod tags;
mod times;

use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;
use tracing::info;

use crate::config::{self, Address};
use crate::host::clock::Clock;
use crate::host::failure::Failure;
use crate::host::own_address;
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Observation;
use crate::look::patroni::Times;
use crate::look::stamp::Stamp;
use crate::source::members::{Members, Reached};
use crate::source::resolve::Resolver;
use crate::source::role_source::RoleSource;
use crate::source::web::Wanted;
use crate::verdict::policy::Hysteresis;
use answer::{HELD, NOT_HELD};
use client::Client;
use own_port::OwnPort;

pub use answer::{Asked, read_answer};
pub use client::BadUrl;
pub use members::Member;
#[cfg(fuzzing)]
pub use members::read as read_members;
#[cfg(fuzzing)]
pub use times::read as read_times;

/// Most bytes of a body that are read. A leader's is some 600 and 170 more per standby.
pub const MAX_BODY: usize = 64 * 1024;

/// How long the body of a 503 is waited for: the status alone is the no, the body only says more.
const NO_BODY_WAIT: Duration = Duration::from_millis(250);

/// How often Patroni's times are asked for: a `ttl` that was lowered must not be counted on for long.
const TIMES_EVERY: Duration = Duration::from_secs(30);

/// How soon they are asked for again where that failed: Patroni may be starting, and until they are
/// known a leader is held as if they were the shortest.
const TIMES_AGAIN: Duration = Duration::from_secs(10);

/// Longest wait for them: `/config` hangs while the consensus store is lost.
const TIMES_WITHIN: Duration = Duration::from_secs(1);

/// How long after its PostgreSQL went down a server is looked at quickly. Patroni starts it again within a
/// round of its loop; what takes longer has another reason.
const HURRY_FOR: Duration = Duration::from_secs(30);

/// Longest wait for `/cluster`, which reads the consensus store.
const CLUSTER_WITHIN: Duration = Duration::from_secs(1);

/// What an operator can do where its times are not known.
pub const TIMES_HINT: &str = "let rolecall read /config of Patroni's REST API, and set ttl, \
                              loop_wait and retry_timeout there as numbers";

/// One Patroni.
pub struct Patroni {
    client: Client,
    url: Url,
    lag: Option<Hysteresis<u64>>,
    /// The replica was over its limit when it was last seen: it is asked for the lower mark now.
    over_lag: bool,
    times: Option<Times>,
    /// When they are asked for next; `None`: as soon as possible.
    times_due: Option<Stamp>,
    /// That they are not known was said, and is so still.
    told_times: bool,
    /// PostgreSQL's own port.
    own_port: OwnPort,
    resolver: Resolver,
    /// Since when its PostgreSQL has been dead, starting or stopping.
    down_since: Option<Stamp>,
}

impl Patroni {
    /// A source that asks the REST API under the URL of `settings`, such as `http://127.0.0.1:8008`; a
    /// path before `/primary` is kept, a slash at the end makes no difference.
    ///
    /// Errors where the URL is not one of http or https with a host, or has a query or a fragment, and
    /// where a certificate file cannot be used.
    pub fn new(settings: &config::Patroni, resolver: Resolver) -> Result<Self, BadUrl> {
        let url = client::base(&settings.url)?;
        Ok(Self {
            client: Client::new(&url, &settings.tls, resolver.clone())?,
            url,
            lag: settings.lag,
            over_lag: false,
            times: None,
            times_due: None,
            told_times: false,
            own_port: OwnPort::new(&settings.server_port, resolver.clone()),
            resolver,
            down_since: None,
        })
    }

    /// The same, for looks of at most `timeout`.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.client.within(timeout);
        self
    }

    async fn ask(&mut self, asked: Asked, url: Url) -> Result<Observation, SourceError> {
        let wanted = |status| match status {
            NOT_HELD => Wanted::Within(NO_BODY_WAIT),
            HELD => Wanted::Whole,
            _ => Wanted::Not,
        };
        let answer = self.client.get(url, MAX_BODY, wanted).await?;
        let expiry = self.client.expiry();
        let answer = read_answer(asked, answer.status, &answer.body);
        let mut seen = answer?;
        if let Some(says) = &mut seen.patroni {
            self.over_lag = says.over_lag.unwrap_or(self.over_lag);
            says.times = self.times;
        }
        seen.expiry = expiry;
        Ok(seen)
    }

    /// What is asked, and where.
    fn request(&self) -> (Asked, Url) {
        let Some(lag) = self.lag else {
            return (Asked::Primary, client::page(&self.url, "primary"));
        };
        // Over the limit it is asked for the lower mark, so that nothing flaps at it.
        let bytes = if self.over_lag { lag.resume } else { lag.max };
        let mut url = client::page(&self.url, "read-only");
        url.set_query(Some(&format!("lag={bytes}")));
        (Asked::ReadOnly, url)
    }

    /// Patroni's times, by `GET /config`. Errors as a look's.
    pub async fn ask_times(&mut self) -> Result<Times, SourceError> {
        times::read(&self.page("config").await?)
    }

    /// Says once that nobody knows how long a leader may be held; while the times of before are known,
    /// those count on.
    fn tell_no_times(&mut self, error: &dyn std::fmt::Display) {
        let shown = client::shown(&client::page(&self.url, "config"));
        if self.times.is_some() || std::mem::replace(&mut self.told_times, true) {
            tracing::debug!("{shown}: ttl, loop_wait and retry_timeout cannot be read: {error}");
            return;
        }
        tracing::warn!(
            hint = TIMES_HINT,
            "{shown}: ttl, loop_wait and retry_timeout cannot be read, so rolecall assumes the \
             shortest times that Patroni allows: {error}"
        );
    }

    /// The members of its cluster, by `GET /cluster`. Errors as a look's; without an answer while the
    /// consensus store is lost.
    pub async fn ask_members(&mut self) -> Result<Vec<Member>, SourceError> {
        members::read(&self.page("cluster").await?)
    }

    /// The body of a page that is always answered with status 200.
    async fn page(&mut self, name: &str) -> Result<Vec<u8>, SourceError> {
        let wanted = |status| if status == HELD { Wanted::Whole } else { Wanted::Not };
        let answer = self.client.get(client::page(&self.url, name), MAX_BODY, wanted).await?;
        if answer.status != HELD {
            let detail = format_args!("expected status 200 of /{name}, got {}", answer.status);
            return Err(SourceError::new(ErrorKind::Status, detail));
        }
        Ok(answer.body)
    }
}

impl RoleSource for Patroni {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let looked = self.look().await;
        let down = match &looked {
            Ok(seen) => seen.not_running.is_some(),
            Err(error) => error.kind == ErrorKind::PortRefused,
        };
        self.down_since = self.down_since.filter(|_| down).or(down.then(|| Clock::Boot.now()));
        looked
    }

    fn expects_change(&self) -> bool {
        self.down_since.is_some_and(|since| Clock::Boot.now() < since.plus(HURRY_FOR))
    }

    fn renew(&mut self) {
        self.times_due = None;
        self.own_port.renew();
    }

    fn waited_for(&self) -> Option<String> {
        self.client.waited_for(&client::shown(&self.request().1))
    }

    async fn between_looks(&mut self) {
        self.learn_times().await;
        self.learn_port().await;
    }

    async fn lock_times(&mut self) -> Option<Result<Times, SourceError>> {
        Some(self.ask_times().await)
    }

    async fn members(&mut self, _: Duration) -> Option<Result<Members, Failure>> {
        Some(self.cluster().await)
    }

    async fn reached(&mut self, node: &str) -> Option<Result<Reached, Failure>> {
        Some(self.own_place(node).await)
    }
}

impl Patroni {
    async fn look(&mut self) -> Result<Observation, SourceError> {
        let own_port = self.own_port.clone();
        let (asked, url) = self.request();
        let shown = client::shown(&url);
        let looked = tokio::select! {
            // Known first wherever both are: it takes one round trip, and Patroni several.
            biased;
            refused = own_port.refused() => return Err(refused),
            looked = self.ask(asked, url) => looked,
        };
        looked.map_err(|error| SourceError::new(error.kind, format_args!("{shown}: {error}")))
    }

    async fn learn_times(&mut self) {
        let now = Clock::Boot.now();
        if self.times_due.is_some_and(|due| now < due) {
            return;
        }
        // Before the answer, which the next look may cut off.
        self.times_due = Some(now.plus(TIMES_AGAIN));
        match timeout(TIMES_WITHIN, self.ask_times()).await {
            Ok(Ok(times)) => {
                self.times_due = Some(now.plus(TIMES_EVERY));
                self.times = Some(times);
                self.told_times = false;
            }
            Ok(Err(error)) => self.tell_no_times(&error),
            Err(_) => self.tell_no_times(&"no answer"),
        }
    }

    /// Learns where PostgreSQL is, where both it and Patroni are on this host. Asked once: `/cluster` reads
    /// the consensus store.
    async fn learn_port(&mut self) {
        let now = Clock::Boot.now();
        if !self.own_port.is_due(now) {
            return;
        }
        let url = self.url.clone();
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if !self.is_here(host).await {
            return self.own_port.is_of_no_use(now);
        }
        let Ok(Ok(members)) = timeout(CLUSTER_WITHIN, self.ask_members()).await else { return };
        let address = match self.own(&members).await {
            // It has not said yet where it is.
            Some(Member { host: None, .. }) => return,
            Some(Member { host: Some(host), port, .. }) => {
                Address { host: host.clone(), port: *port }
            }
            None => {
                let shown = client::shown(&self.url);
                info!(
                    "{shown}: rolecall cannot tell which member of the cluster runs on this host, \
                     so it does not check PostgreSQL's port"
                );
                return self.own_port.is_of_no_use(now);
            }
        };
        if !self.is_here(&address.host).await {
            info!(
                "{}: PostgreSQL's address {address} is not on this host, so its port is not \
                 checked",
                client::shown(&self.url)
            );
            return self.own_port.is_of_no_use(now);
        }
        if self.own_port.learned(now, address.clone()) {
            info!(
                "{}: PostgreSQL's address is {address}, and its port is checked too",
                client::shown(&self.url)
            );
        }
    }

    /// The member that this Patroni is: the one at the same URL, else the only one on this host with the
    /// same port.
    async fn own<'m>(&self, members: &'m [Member]) -> Option<&'m Member> {
        if let Some(own) = members.iter().find(|member| member.is_at(self.url.as_str())) {
            return Some(own);
        }
        let mut here = Vec::new();
        for member in members {
            let Some((host, port)) = member.api() else { continue };
            if port == self.url.port_or_known_default() && self.is_here(&host).await {
                here.push(member);
            }
        }
        match here.as_slice() {
            [own] => Some(own),
            _ => None,
        }
    }

    /// Whether all that a name or an address leads to is this host.
    async fn is_here(&self, host: &str) -> bool {
        let found = self.resolver.lookup(host).await;
        found.is_ok_and(|found| found.into_iter().all(own_address::is_here))
    }
}
