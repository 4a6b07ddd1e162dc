//! PostgreSQL's own port beside its Patroni.
//!
//! Patroni says of a dead server what it last knew, or, while it stops itself, nothing at all. The kernel
//! knows at once: nobody listens. That costs a connection a look, which sends nothing; neither PostgreSQL nor
//! PgBouncer log one (PostgreSQL with `log_connections` says "connection received").

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::config::{Address, ServerPort};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::stamp::Stamp;
use crate::source::resolve::Resolver;
use crate::source::tcp_port::Port;

/// Time between two connections of one look, which goes on while Patroni is silent.
const CONNECT_EVERY: Duration = Duration::from_millis(250);

/// How soon Patroni is asked anew where PostgreSQL is, after it did not say or the port was refused.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The same where what it says cannot be used: it is the same a moment later.
const ASK_SELDOM: Duration = Duration::from_secs(300);

/// The port, as far as it is known. Clones are the same.
#[derive(Clone)]
pub struct OwnPort {
    wanted: ServerPort,
    resolver: Resolver,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    port: Option<Port>,
    /// A refusal is evidence: somebody listened there once, or the operator named it.
    counts: bool,
    /// When Patroni is asked for it.
    ask: Ask,
}

/// When Patroni is asked where PostgreSQL is.
#[derive(Clone, Copy, Default)]
enum Ask {
    #[default]
    Now,
    At(Stamp),
    /// Once it is refused.
    Known(Stamp),
}

impl OwnPort {
    /// The port as the configuration has it.
    pub fn new(wanted: &ServerPort, resolver: Resolver) -> Self {
        let port = match wanted {
            ServerPort::At(address) => Some(Port::new(address.clone(), resolver.clone())),
            ServerPort::Learned | ServerPort::NotAsked => None,
        };
        let known = Known { counts: port.is_some(), port, ask: Ask::Now };
        Self { wanted: wanted.clone(), resolver, known: Arc::new(Mutex::new(known)) }
    }

    /// Ends once nobody listens there, with the evidence; never where nothing is known, or where somebody
    /// listens or is silent.
    pub async fn refused(&self) -> SourceError {
        loop {
            let Some(port) = self.with(|known| known.port.clone()) else { return pending().await };
            match port.connect_at_once().await {
                Ok(_) => self.with(|known| known.counts = true),
                Err(error) if error.kind == ErrorKind::PortRefused => {
                    if self.with(Known::refused) {
                        return error;
                    }
                }
                Err(_) => {}
            }
            sleep(CONNECT_EVERY).await;
        }
    }

    /// Whether Patroni is to be asked now where PostgreSQL is; it is not again so soon.
    pub(crate) fn is_due(&self, now: Stamp) -> bool {
        self.wanted == ServerPort::Learned
            && self.with(|known| {
                let due = match known.ask {
                    Ask::Now => true,
                    Ask::At(at) => at <= now,
                    Ask::Known(_) => false,
                };
                if due {
                    // Before the answer, which the next look may cut off.
                    known.ask = Ask::At(now.plus(ASK_AGAIN));
                }
                due
            })
    }

    /// Patroni says that PostgreSQL is there. Tells whether that is news.
    pub(crate) fn learned(&self, now: Stamp, address: Address) -> bool {
        self.with(|known| {
            known.ask = Ask::Known(now);
            let news = known.port.as_ref().is_none_or(|port| *port.address() != address);
            if news {
                known.port = Some(Port::new(address, self.resolver.clone()));
                // Where nobody was ever met, PostgreSQL may well be somewhere else.
                known.counts = false;
            }
            news
        })
    }

    /// What Patroni says cannot be used.
    pub(crate) fn is_of_no_use(&self, now: Stamp) {
        self.with(|known| known.ask = Ask::At(now.plus(ASK_SELDOM)));
    }

    /// Patroni is to be asked anew.
    pub fn renew(&self) {
        self.with(|known| known.ask = Ask::Now);
    }

    fn with<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    /// Nobody listens there: whether that is evidence. PostgreSQL may have moved, so Patroni is asked again.
    fn refused(&mut self) -> bool {
        if let Ask::Known(since) = self.ask {
            self.ask = Ask::At(since.plus(if self.counts { ASK_AGAIN } else { ASK_SELDOM }));
        }
        self.counts
    }
}
