//! Whether an address is one of this host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Nothing is sent there; a socket must be connected to some port.
const ANY_PORT: u16 = 9;

/// Whether an address is one of this host's: to reach it, the kernel sends from the very same.
pub fn is_here(addr: IpAddr) -> bool {
    let addr = addr.to_canonical();
    let any: IpAddr =
        if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = || {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(addr, ANY_PORT))?;
        socket.local_addr()
    };
    addr.is_loopback() || from().is_ok_and(|from| from.ip() == addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_here_where_this_host_has_it() {
        for (addr, here) in [
            ("127.0.0.1", true),
            ("127.77.3.4", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_here(addr.parse().unwrap()), here, "{addr}");
        }
        // The one that this host would send from is its own, where it has a way out at all.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_here(socket.local_addr().unwrap().ip()));
        }
    }
}
