//! The rolecall of another data node, asked to give way to this candidate: `GET /release/NODE` at the
//! HTTP port beside that node's server.
//!
//! Asked in the rhythm of a look, with its deadline. What comes back is believed only with the cluster's
//! secret ([`crate::source::releasing`]); a rolecall that cannot be reached, or that says nothing of the kind, is
//! as if it had not been asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::conninfo::{SslMode, TlsSettings};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Observation;
use crate::look::place::Place;
use crate::look::release::LONGEST;
use crate::look::repmgr::{NodeId, Row};
use crate::look::role::Role;
use crate::source::RoleSource;
use crate::source::dial::Dialer;
use crate::source::releasing::{CODE, FROM, Key, NONCE, WITHOUT, Without, nonce};
use crate::source::resolve::Resolver;
use crate::source::tls::{PeerEnd, client_config};
use crate::source::web;

/// The status of an answer.
const HELD: u16 = 200;

/// How long a look at a release may take is the business of who looks; its addresses share about so much.
const USUAL_LOOK: Duration = Duration::from_secs(1);

/// Where the rolecall of another node may answer, and as whom it is asked.
pub struct Asked {
    node: NodeId,
    from: NodeId,
    places: Arc<[Place]>,
    port: u16,
    key_file: PathBuf,
    without: Without,
    resolver: Resolver,
    dialer: Dialer,
    /// Which place is asked next.
    next: usize,
}

impl Asked {
    /// The rolecall beside the server of this row, asked by node `from`.
    pub fn new(row: &Row, from: NodeId, port: u16, key_file: PathBuf, resolver: Resolver) -> Self {
        let (places, without) = (row.places.clone(), Without::default());
        let dialer = Dialer::new(USUAL_LOOK);
        Self { node: row.id, from, places, port, key_file, without, resolver, dialer, next: 0 }
    }

    /// Says with each question whether `from` is confirmed without the node that is asked.
    #[must_use]
    pub fn saying(self, without: Without) -> Self {
        Self { without, ..self }
    }

    /// The host of the next place: one a look, so that one that hangs does not take all its time.
    fn host(&mut self) -> Result<String, SourceError> {
        let Some(place) = self.places.get(self.next % self.places.len().max(1)) else {
            return Err(SourceError::new(ErrorKind::Unresolved, "its row leads nowhere"));
        };
        self.next = self.next.wrapping_add(1);
        match (place.hostaddr, place.socket_dir()) {
            (Some(ip), _) => Ok(ip.to_string()),
            (None, Some(_)) => {
                let what = "its row names a socket, and no host";
                Err(SourceError::new(ErrorKind::Unresolved, what))
            }
            (None, None) => Ok(place.name().to_owned()),
        }
    }

    async fn ask(&mut self) -> Result<Observation, SourceError> {
        let key = Key::read(&self.key_file)?;
        let host = self.host()?;
        let unusable = |what: &dyn std::fmt::Display| {
            SourceError::new(ErrorKind::Unreachable, format_args!("release: {what}"))
        };
        let nonce = nonce().ok_or_else(|| unusable(&"the system gives no random bytes"))?;
        // Any name will do, and no TLS: what is answered proves itself.
        let url = format!("http://rolecall.invalid:{}/release/{}", self.port, self.node.0);
        let url = url.parse().map_err(|error| unusable(&error))?;
        let tls = client_config(&TlsSettings::of(SslMode::Disable), &PeerEnd::default())?;
        let server =
            web::Server { resolver: &self.resolver, dialer: &self.dialer, host: &host, tls: &tls };
        let without = self.without.said();
        let mut headers = vec![
            (NONCE, nonce.clone()),
            (FROM, self.from.0.to_string()),
            (CODE, key.ask(self.node, self.from, without, &nonce)),
        ];
        if let Some(timeline) = without {
            headers.push((WITHOUT, timeline.0.to_string()));
        }
        let asked = web::Asked { url, headers: &headers, most: LONGEST };
        let answered = web::get(&server, &asked, |_| web::Wanted::Whole).await;
        let answered = answered.map_err(|error| unusable(&error))?;
        if answered.status != HELD {
            return Err(SourceError::new(ErrorKind::Status, answered.status));
        }
        match answered.ended {
            Ok(()) => {}
            Err(web::Broken::TooLong) => {
                return Err(SourceError::new(ErrorKind::TooLong, "a release of unusual length"));
            }
            Err(error) => return Err(unusable(&error)),
        }
        let body = answered.body;
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
