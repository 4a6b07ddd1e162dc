//! The way in: a connection to a server, and the login on it.

use std::net::IpAddr;

use tokio::net::UnixStream;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls};

use super::channel::{self, Backend, Entered, Stream};
use super::explain::Step;
use super::login::{self, Encrypted, Refused, Who};
use super::proof::Demand;
use super::wire::{Bounded, tcp_kind, unix_kind};
use super::{Connector, Password};
use crate::config::PasswordFrom;
use crate::config::secret::Secret;
use crate::look::error::{ErrorKind, SourceError};
use crate::source::stage::Stage;
use crate::source::tls::Attempt;

/// A connection on which the user is in.
pub(super) type Open = (Client, Connection<Entered, NoTlsStream>);

impl Connector {
    pub(super) async fn open(&mut self, password: Option<&Secret>) -> Result<Open, SourceError> {
        let own_socket = self.place.socket_dir().is_some();
        // `sslmode` means nothing on a socket.
        let attempts = if own_socket { &[Attempt::Disable] } else { self.tls.attempts() };
        let mut refused: Option<SourceError> = None;
        for attempt in attempts {
            self.peer_end = None;
            match self.enter(*attempt, own_socket, password).await {
                Ok(entered) => {
                    if let Some(refused) = refused.filter(|_| *attempt == Attempt::Disable) {
                        self.tell_unencrypted(&refused);
                    }
                    // Whom it would announce is of no matter: the user is in.
                    let opened = Config::new().user(&self.user).connect_raw(entered, NoTls).await;
                    return opened.map_err(|error| self.explained(&error, Step::Connect));
                }
                Err(refusal) => {
                    let hinges = hinges_on_encryption(&refusal);
                    let error = self.refusal(refusal);
                    let error = match refused.take() {
                        // What the first way failed by may be what is to be mended.
                        Some(first) => {
                            let (how, place) = (attempt.shown(), format!("{}: ", self.place));
                            let first = first.detail.strip_prefix(&place).unwrap_or(&first.detail);
                            let also = format_args!("{error} ({how}; before that: {first})");
                            SourceError::new(error.kind, also)
                        }
                        None => error,
                    };
                    if !hinges {
                        return Err(error);
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| self.failed(ErrorKind::Tls, "there is no way to connect")))
    }

    /// Says once that a look goes without TLS, though the server has it.
    fn tell_unencrypted(&mut self, why: &SourceError) {
        if !std::mem::replace(&mut self.told_unencrypted, true) {
            tracing::warn!(
                %why,
                hint = "correct that, or set sslmode=disable in `conninfo`: the server logs a \
                        failed handshake at every poll",
                "{}: rolecall connected without TLS, because TLS failed", self.place
            );
        }
    }

    /// One attempt to be let in.
    async fn enter(
        &mut self,
        attempt: Attempt,
        own_socket: bool,
        password: Option<&Secret>,
    ) -> Result<Entered, Refused> {
        let config = if own_socket { None } else { Some(self.tls.config()?) };
        let stream = self.dial().await?;
        self.dialer.waits_for(if attempt == Attempt::Disable { Stage::Login } else { Stage::Tls });
        let channel::Channel { mut stream, encrypted, ends } =
            channel::open(stream, attempt, config, &self.tls_name()).await?;
        self.peer_end = ends;
        let certified = matches!(encrypted, Encrypted::Tls(_)) && self.tls.verifies();
        let demand = Demand {
            require: self.require_auth,
            binding: self.binding,
            password: !matches!(self.password, Password::From(PasswordFrom::Nowhere)),
            known: own_socket || certified,
        };
        let who = Who {
            user: &self.user,
            dbname: &self.dbname,
            application_name: &self.application_name,
            options: &self.options,
            password,
            keyring: &self.keyring,
            waits_for: &|stage| self.dialer.waits_for(stage),
        };
        self.dialer.waits_for(Stage::Login);
        login::login(&mut stream, &who, encrypted, demand).await?;
        self.backend = Backend::default();
        Ok(Entered::new(stream, self.backend.clone()))
    }

    /// The name the server's certificate must have.
    pub(super) fn tls_name(&self) -> String {
        match (&self.place.host, self.place.hostaddr) {
            (None, Some(addr)) => addr.to_string(),
            _ => self.place.name().to_owned(),
        }
    }

    async fn dial(&self) -> Result<Box<dyn Stream>, SourceError> {
        if let Some(dir) = self.place.socket_dir() {
            let path = dir.join(format!(".s.PGSQL.{}", self.place.port));
            return match UnixStream::connect(&path).await {
                Ok(stream) => {
                    self.dialer.has_reached();
                    Ok(Box::new(Bounded::new(stream)))
                }
                Err(e) => Err(self.failed(unix_kind(&e), format!("{}: {e}", path.display()))),
            };
        }
        self.dialer.waits_for(Stage::Name);
        let addresses = self.addresses().await?;
        let (host, port) = (self.place.name(), self.place.port);
        match self.dialer.connect(&self.resolver, host, &addresses, port).await {
            Ok(stream) => Ok(Box::new(Bounded::new(stream))),
            Err(failed) => {
                let error =
                    failed.into_error(|addr, e| self.failed(tcp_kind(e), format!("{addr}: {e}")));
                Err(error.unwrap_or_else(|| {
                    self.failed(ErrorKind::Unresolved, "the host name has no address")
                }))
            }
        }
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, SourceError> {
        match (self.place.hostaddr, self.place.name().parse()) {
            (Some(addr), _) | (None, Ok(addr)) => Ok(vec![addr]),
            (None, Err(_)) => self.resolver.lookup(self.place.name()).await,
        }
    }
}

/// Whether another attempt of the same `sslmode` may fare better.
fn hinges_on_encryption(refused: &Refused) -> bool {
    match refused {
        Refused::Is(kind, _) => *kind == ErrorKind::Tls,
        Refused::Said(said) => said.code == "28000",
        Refused::Io(_) | Refused::NoPassword | Refused::Before(_) => false,
    }
}
