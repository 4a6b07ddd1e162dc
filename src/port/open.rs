//! The open ports: which there are, what each is for, and what stops it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{Config, Purpose};
use crate::host::failure::Failure;
use crate::port::agent::{Port, Room};
use crate::port::http::{self, Pages};
use crate::port::sockets::{self, Inherited};
use crate::report::view::View;

/// The open ports by the address each is bound to.
pub struct Ports {
    pages: Pages,
    room: Room,
    open: BTreeMap<SocketAddr, Open>,
    serving: JoinSet<io::Result<()>>,
}

struct Open {
    purpose: Purpose,
    stop: CancellationToken,
}

/// A socket that is bound and not served yet.
pub struct Bound {
    listener: TcpListener,
    purpose: Purpose,
}

impl Ports {
    /// None is open yet; what is answered comes from `pages`, to as many as there is `room` for.
    pub fn new(pages: Pages, room: Room) -> Self {
        Self { pages, room, open: BTreeMap::new(), serving: JoinSet::new() }
    }

    /// Binds the sockets that `config` asks for and that are not open yet.
    pub fn bind(&self, config: &Config, inherited: &mut Inherited) -> Result<Vec<Bound>, Failure> {
        let missing = config.listens().filter(|(listen, purpose)| {
            !self.open.iter().any(|(addr, port)| listen.covers(*addr) && port.purpose == *purpose)
        });
        let bind = |(listen, purpose): (crate::reply::routes::Listen, Purpose)| {
            let listener = sockets::open(listen, inherited).map_err(|failure| {
                match self.open.keys().find(|addr| addr.port() == listen.port()) {
                    Some(addr) => failure.hint(format_args!(
                        "rolecall opened {addr} itself: restart rolecall to change that"
                    )),
                    None => failure,
                }
            })?;
            Ok(Bound { listener, purpose })
        };
        missing.map(bind).collect()
    }

    /// Serves sockets that were bound.
    pub fn serve(&mut self, bound: Vec<Bound>) {
        for Bound { listener, purpose } in bound {
            let addr = match listener.local_addr() {
                Ok(addr) => addr,
                Err(error) => {
                    error!(%error, "a socket without an address is not served");
                    continue;
                }
            };
            info!(%addr, "listening on {addr}");
            let stop = CancellationToken::new();
            let pages = self.pages.clone();
            match purpose {
                Purpose::Agent => {
                    let View { facts, clock, counted, .. } = pages.view;
                    let room = self.room.clone();
                    let port = Port { listener, facts, clock, counted, room };
                    self.serving.spawn(port.serve(stop.clone()))
                }
                Purpose::Http => self.serving.spawn(http::serve(listener, pages, stop.clone())),
            };
            self.open.insert(addr, Open { purpose, stop });
        }
    }

    /// Closes the ports that `config` does not ask for.
    pub(crate) fn close_others(&mut self, config: &Config) {
        self.open.retain(|addr, port| {
            let stays = config
                .listens()
                .any(|(listen, purpose)| listen.covers(*addr) && port.purpose == purpose);
            if !stays {
                info!(%addr, "the port {addr} is closed");
                port.stop.cancel();
            }
            stays
        });
    }

    /// Stops them all; each answers those who already wait.
    pub fn stop(&self) {
        for port in self.open.values() {
            port.stop.cancel();
        }
    }

    /// Waits until one has ended; `None` where none is open.
    pub async fn ended(&mut self) -> Option<Result<io::Result<()>, JoinError>> {
        self.serving.join_next().await
    }
}
