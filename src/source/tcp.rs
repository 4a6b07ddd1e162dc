//! A port that clients really reach: PostgreSQL's own, or that of a PgBouncer before it.
//!
//! It knows no role, so it can only be the second source of a node: refused is a no for every role, an
//! answer in PostgreSQL's protocol speaks against nobody, silence is silence.

use crate::config;
use crate::look::error::{MOST_DETAIL, SourceError};
use crate::look::observation::Observation;
use crate::look::text;
use crate::source::pg::greeting::{Greeting, greet};
use crate::source::resolve::Resolver;
use crate::source::role_source::RoleSource;
use crate::source::stage::Stage;
use crate::source::tcp_port::Port;

/// A connection, and one question, a look.
pub struct Tcp {
    port: Port,
    user: Option<String>,
    /// Somebody took the connection of the last look.
    reached: bool,
}

impl Tcp {
    /// A source for the port of `settings`.
    pub fn new(settings: &config::Tcp, resolver: Resolver) -> Self {
        let port = Port::new(settings.address.clone(), resolver);
        Self { port, user: settings.user.clone(), reached: false }
    }
}

impl RoleSource for Tcp {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        self.reached = false;
        let stream = self.port.connect().await?;
        self.reached = true;
        let greeted = greet(stream, self.user.as_deref()).await;
        match greeted.map_err(|(kind, what)| self.port.failed(kind, what))? {
            Greeting::Answered => Ok(Observation::answers()),
            Greeting::Closed(word) => {
                let word = text::plain(&word, MOST_DETAIL);
                Ok(Observation { not_running: Some(word.into()), ..Observation::answers() })
            }
        }
    }

    fn waited_for(&self) -> Option<String> {
        let address = self.port.address();
        Some(if self.reached {
            format!("{address} {}", Stage::Greeting)
        } else {
            format!("connecting to {address}, nothing answers")
        })
    }
}
