//! Where a question is asked, by whom, and in what words it is answered.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::reply::wording::Wording;
use crate::verdict::last_word::LastWord;

/// How one service is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Who may ask; empty: everybody.
    pub allow: Vec<IpNet>,
    /// The words of the answer.
    pub wording: Wording,
    /// What is said while rolecall stops; `None`: what was said before.
    pub last_word: Option<LastWord>,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// Exactly this address.
    At(SocketAddr),
    /// Every address of the host: IPv6 and IPv4 on one socket, IPv4 alone where there is no IPv6.
    Everywhere(u16),
}

impl Listen {
    /// The addresses to try, best first.
    pub fn candidates(self) -> Vec<SocketAddr> {
        match self {
            Self::At(addr) => vec![addr],
            Self::Everywhere(port) => vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            ],
        }
    }

    /// The port.
    pub fn port(self) -> u16 {
        match self {
            Self::At(addr) => addr.port(),
            Self::Everywhere(port) => port,
        }
    }

    /// Whether a socket bound to `addr` is one for this.
    pub fn covers(self, addr: SocketAddr) -> bool {
        self.candidates().contains(&addr)
    }
}

/// Whether a peer may ask; an empty list lets everybody. An IPv4 peer of an IPv6 socket is compared as
/// the IPv4 address it is.
pub fn allowed(allow: &[IpNet], peer: Option<IpAddr>) -> bool {
    allow.is_empty()
        || peer.is_some_and(|peer| allow.iter().any(|net| net.contains(&peer.to_canonical())))
}

/// What is asked at one address: places in the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// About which node; `None`: the question has to say it.
    pub node: Option<usize>,
    /// Which service, where the question says no other.
    pub service: usize,
    /// Whether a question is read first.
    pub agent_send: bool,
}

/// What is asked at every address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes(BTreeMap<SocketAddr, Route>);

impl Routes {
    /// This is asked wherever a socket for `listen` may be bound.
    pub fn add(&mut self, listen: Listen, asked: Route) {
        self.0.extend(listen.candidates().into_iter().map(|addr| (addr, asked)));
    }

    /// Where one service is asked about one node, by their places in the configuration; and whether a question is
    /// read there, which may name others.
    pub fn places(&self, node: usize, service: usize) -> Vec<(Listen, bool)> {
        let asks =
            |route: &Route| route.service == service && route.node.is_none_or(|of| of == node);
        let mut places: Vec<(Listen, bool)> = Vec::new();
        for (addr, route) in self.0.iter().filter(|(_, route)| asks(route)) {
            // Of a socket for every address both ways to bind it are here.
            let everywhere = addr.ip().is_unspecified();
            let at = if everywhere { Listen::Everywhere(addr.port()) } else { Listen::At(*addr) };
            if !places.contains(&(at, route.agent_send)) {
                places.push((at, route.agent_send));
            }
        }
        places
    }

    /// What is asked at the socket bound to `addr`.
    pub fn at(&self, addr: SocketAddr) -> Option<Route> {
        self.0.get(&addr).copied()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addr) => addr.fmt(f),
            Self::Everywhere(port) => write!(f, "*:{port}"),
        }
    }
}
