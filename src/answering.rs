//! Where a question is asked, by whom, and in what words it is answered.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::reply::Wording;

/// How one service is asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering {
    /// Where the question is asked; never empty.
    pub listen: Vec<Listen>,
    /// Who may ask; empty: everybody.
    pub allow: Vec<IpNet>,
    /// The words of the answer.
    pub wording: Wording,
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

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addr) => addr.fmt(f),
            Self::Everywhere(port) => write!(f, "*:{port}"),
        }
    }
}
