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
use crate::source::dial::Dialer;
use crate::source::releasing::{CODE, FROM, Key, NONCE, WITHOUT, Without, nonce};
use crate::source::resolve::Resolver;
use crate::source::tls::{PeerEnd, client_config};
use crate::source::{RoleSource, web};

/// The status of an answer.
const HELD: u16 = 200;

/// How long a look at a release may take is the business of who looks; its addresses share about so much.
const USUAL_LOOK: Duration = Duration::from_secs(1);

/// Where the rolecall of another node may answer, and as whom it is asked.
pub struct ReleaseSource {
    node: NodeId,
    from: NodeId,
    places: Arc<[Place]>,
    port: u16,
    key_file: PathBuf,
    without: Without,
    resolver: Resolver,
    dialer: Dialer,
    /// Which place is asked next: the one that answered, or the one behind it that did not.
    next: usize,
}

impl ReleaseSource {
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
    fn host(&self) -> Result<String, SourceError> {
        let Some(place) = self.places.get(self.next % self.places.len().max(1)) else {
            return Err(SourceError::new(
                ErrorKind::Unresolved,
                "its row in repmgr.nodes contains no usable address",
            ));
        };
        match (place.hostaddr, place.socket_dir()) {
            (Some(ip), _) => Ok(ip.to_string()),
            (None, Some(_)) => {
                let what = "its row in repmgr.nodes contains a socket and no host";
                Err(SourceError::new(ErrorKind::Unresolved, what))
            }
            (None, None) => Ok(place.name().to_owned()),
        }
    }

    async fn ask(&self, host: &str) -> Result<Observation, SourceError> {
        let key = Key::read(&self.key_file)?;
        let unusable = |what: &dyn std::fmt::Display| {
            SourceError::new(ErrorKind::Unreachable, format_args!("release: {what}"))
        };
        let nonce =
            nonce().ok_or_else(|| unusable(&"the operating system returns no random bytes"))?;
        // Any name will do, and no TLS: what is answered proves itself.
        let url = format!("http://rolecall.invalid:{}/release/{}", self.port, self.node.0);
        let url = url.parse().map_err(|error| unusable(&error))?;
        let tls = client_config(&TlsSettings::of(SslMode::Disable), &PeerEnd::default())?;
        let server =
            web::Server { resolver: &self.resolver, dialer: &self.dialer, host, tls: &tls };
        let without = self.without.said();
        let mut headers = vec![
            (NONCE, nonce.clone()),
            (FROM, self.from.0.to_string()),
            (CODE, key.ask(self.node, self.from, without, &nonce)),
        ];
        if let Some(timeline) = without {
            headers.push((WITHOUT, timeline.0.to_string()));
        }
        let asked = web::Request { url, headers: &headers, most: LONGEST };
        let answered = web::get(&server, &asked, |_| web::Wanted::Whole).await;
        let answered = answered.map_err(|error| unusable(&error))?;
        if answered.status != HELD {
            return Err(SourceError::new(ErrorKind::Status, answered.status));
        }
        match answered.ended {
            Ok(()) => {}
            Err(web::Broken::TooLong) => {
                return Err(SourceError::new(
                    ErrorKind::TooLong,
                    "the answer of the other rolecall has an unusual length",
                ));
            }
            Err(error) => return Err(unusable(&error)),
        }
        let body = answered.body;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let release = key.read_answer(text, &nonce).ok_or_else(|| {
            let what = "the answer is not proven to come from a rolecall of this cluster";
            SourceError::new(ErrorKind::Malformed, what)
        })?;
        Ok(Observation { release: Some(Arc::new(release)), ..Observation::of(Role::Replica) })
    }
}

impl RoleSource for ReleaseSource {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        self.dialer.forget();
        let asked = self.next;
        let host = self.host();
        // Also where this is dropped.
        self.next = asked.wrapping_add(1);
        let answered = self.ask(&host?).await;
        if answered.is_ok() {
            self.next = asked;
        }
        answered
    }

    fn waited_for(&self) -> Option<String> {
        self.dialer.silent(&format!("the rolecall of node {}", self.node))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use socket2::{Domain, Socket, Type};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::config::conninfo::places;
    use crate::look::release::Release;
    use crate::look::repmgr::Registered;

    const ALIVE: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 1);
    const DEAD: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 2);

    /// Answers every question with the release of node 2.
    async fn rolecall(key_file: PathBuf) -> u16 {
        let listener = TcpListener::bind((ALIVE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let nonce = head.lines().find_map(|line| line.strip_prefix("rolecall-nonce: "));
                let release = Release {
                    node: NodeId(2),
                    system: "7".into(),
                    timeline: None,
                    claims: false,
                    recovery: None,
                    last_ready: Duration::from_secs(1),
                    left_out: None,
                    life: Duration::from_secs(1),
                    memory: Duration::from_secs(1),
                };
                let body = Key::read(&key_file).unwrap().answer(&release, nonce.unwrap());
                let length = body.len();
                let says = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(says.as_bytes()).await.unwrap();
            }
        });
        port
    }

    /// Somebody listens there whose queue is full: the kernel drops what comes, as at a dead host.
    fn dead(port: u16) -> Vec<Socket> {
        let at = SocketAddr::from((DEAD, port)).into();
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&at).unwrap();
        listener.listen(0).unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let client = socket();
            client.set_nonblocking(true).unwrap();
            // It begins, and does not end.
            let _ = client.connect(&at);
            held.push(client);
        }
        held
    }

    fn row(conninfo: &str) -> Row {
        Row {
            id: NodeId(2),
            name: "db2".into(),
            registered: Registered::Standby,
            active: true,
            places: places(conninfo).unwrap().into(),
            shares_address: false,
        }
    }

    #[tokio::test]
    async fn a_rolecall_is_reached_behind_a_dead_address_and_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("release.key");
        std::fs::write(&key, "a secret of some length").unwrap();
        let port = rolecall(key.clone()).await;
        let _held = dead(port);
        let dns = Resolver::with(|name| match name {
            "db2.test" => Ok([DEAD, ALIVE].map(IpAddr::from).to_vec()),
            _ => Err(std::io::Error::other("no such name")),
        });
        let asked = |conninfo: &str| {
            ReleaseSource::new(&row(conninfo), NodeId(1), port, key.clone(), dns.clone())
        };
        // Within one look where both are addresses of one name.
        let within = Duration::from_secs(10);
        let mut named = asked("host=db2.test");
        assert!(timeout(within, named.observe()).await.is_ok_and(|seen| seen.is_ok()));

        // Of two hosts one a look; whichever answered is asked again.
        let mut listed = asked(&format!("host={DEAD},{ALIVE}"));
        assert!(timeout(Duration::from_millis(100), listed.observe()).await.is_err());
        for _ in 0..3 {
            assert!(timeout(within, listed.observe()).await.is_ok_and(|seen| seen.is_ok()));
        }
    }
}
