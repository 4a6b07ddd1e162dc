//! The rolecall of another data node, asked to give way to this candidate: `GET /release/NODE` at the
//! HTTP port beside that node's server.
//!
//! Asked in the rhythm of a look, with its deadline. What comes back is believed only with the cluster's
//! secret ([`crate::releasing`]); a rolecall that cannot be reached, or that says nothing of the kind, is
//! as if it had not been asked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::electorate::{NodeId, Row};
use crate::observation::{ErrorKind, Observation, SourceError};
use crate::release::LONGEST;
use crate::releasing::{CODE, FROM, Key, NONCE, WITHOUT, Without, nonce};
use crate::role::Role;
use crate::source::RoleSource;
use crate::source::conninfo::{Place, SslMode, TlsSettings};
use crate::source::resolve::Resolver;
use crate::source::tls::{PeerEnd, client_config};

/// Where the rolecall of another node may answer, and as whom it is asked.
pub struct Asked {
    node: NodeId,
    from: NodeId,
    places: Arc<[Place]>,
    port: u16,
    key_file: PathBuf,
    without: Without,
    resolver: Resolver,
    /// Which place is asked next.
    next: usize,
}

impl Asked {
    /// The rolecall beside the server of this row, asked by node `from`.
    pub fn new(row: &Row, from: NodeId, port: u16, key_file: PathBuf, resolver: Resolver) -> Self {
        let (places, without) = (row.places.clone(), Without::default());
        Self { node: row.id, from, places, port, key_file, without, resolver, next: 0 }
    }

    /// Says with each question whether `from` is confirmed without the node that is asked.
    #[must_use]
    pub fn saying(self, without: Without) -> Self {
        Self { without, ..self }
    }

    /// The addresses of the next place: one a look, so that one that hangs does not take all its time.
    async fn addresses(&mut self) -> Result<Vec<SocketAddr>, SourceError> {
        let Some(place) = self.places.get(self.next % self.places.len().max(1)) else {
            return Err(SourceError::new(ErrorKind::Unresolved, "its row leads nowhere"));
        };
        self.next = self.next.wrapping_add(1);
        let found = match (place.hostaddr, place.socket_dir()) {
            (Some(ip), _) => vec![ip],
            (None, Some(_)) => {
                let what = "its row names a socket, and no host";
                return Err(SourceError::new(ErrorKind::Unresolved, what));
            }
            (None, None) => match place.name().parse() {
                Ok(ip) => vec![ip],
                Err(_) => self.resolver.lookup(place.name()).await?,
            },
        };
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }

    async fn ask(&mut self) -> Result<Observation, SourceError> {
        let key = Key::read(&self.key_file)?;
        let addresses = self.addresses().await?;
        let unusable = |what: &dyn std::fmt::Display| {
            SourceError::new(ErrorKind::Unreachable, format_args!("release: {what}"))
        };
        let nonce = nonce().ok_or_else(|| unusable(&"the system gives no random bytes"))?;
        // Any name will do: it is looked up here, and a certificate proves nothing that the code does not.
        let url = format!("http://rolecall.invalid/release/{}", self.node.0);
        // Nothing goes by TLS, but the client is to be told with what it would.
        let unused = TlsSettings { mode: SslMode::Disable, root: None, client: None };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(&unused, &PeerEnd::default())?)
            .resolve_to_addrs("rolecall.invalid", &addresses)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| unusable(&error.without_url()))?;
        let without = self.without.said();
        let mut question = http
            .get(url)
            .header(NONCE, &nonce)
            .header(FROM, self.from.0)
            .header(CODE, key.ask(self.node, self.from, without, &nonce));
        if let Some(timeline) = without {
            question = question.header(WITHOUT, timeline.0);
        }
        let answered = question.send().await;
        let mut answered = answered.map_err(|error| unusable(&error.without_url()))?;
        if answered.status() != reqwest::StatusCode::OK {
            return Err(SourceError::new(ErrorKind::Status, answered.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answered.chunk().await.map_err(|e| unusable(&e.without_url()))? {
            if body.len() + part.len() > LONGEST {
                return Err(SourceError::new(ErrorKind::TooLong, "a release of unusual length"));
            }
            body.extend_from_slice(&part);
        }
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let release = key.read_answer(text, &nonce).ok_or_else(|| {
            let what = "not proven to be the release of a rolecall of this cluster";
            SourceError::new(ErrorKind::Malformed, what)
        })?;
        Ok(Observation { release: Some(Arc::new(release)), ..Observation::of(Role::Replica) })
    }
}

impl RoleSource for Asked {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        self.ask().await
    }
}
