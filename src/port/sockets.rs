//! The listening sockets: inherited from systemd where it holds them, else bound here.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::failure::{Exit, Failure};
use crate::reply::routes::Listen;

/// Connections that may wait to be accepted: every server line of every HAProxy that asks, while
/// the first look is still under way. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// The sockets that a service manager handed over and nobody has adopted yet.
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// No inherited sockets: at a reload all of them have been adopted long ago.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes over the sockets named by `LISTEN_PID` and `LISTEN_FDS`, if there are any.
    ///
    /// # Errors
    /// One of them is no listening TCP socket.
    pub fn from_env() -> Result<Self, Failure> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let socket = passed
                .take_tcp_listener(index)
                .and_then(|socket| socket.ok_or_else(|| io::Error::other("it was passed on twice")))
                .and_then(|socket| Ok((socket.local_addr()?, socket)))
                .map_err(|error| {
                    let fd = index + 3;
                    Failure::new(
                        Exit::Config,
                        format_args!(
                            "socket passed on by systemd (descriptor {fd}): expected a listening \
                             TCP socket: {error}"
                        ),
                    )
                    .hint("use only ListenStream=ADDRESS:PORT in rolecall.socket")
                })?;
            // The kernel hands it over open to children; a `command` source must not inherit it.
            fcntl_setfd(&socket.1, FdFlags::CLOEXEC).map_err(|error| internal(&error))?;
            sockets.push(socket);
        }
        Ok(Self(sockets))
    }

    /// The socket for this address, if one was handed over.
    fn adopt(&mut self, listen: Listen) -> Option<TcpListener> {
        let index = self.0.iter().position(|(addr, _)| listen.covers(*addr))?;
        Some(self.0.swap_remove(index).1)
    }

    /// The addresses of the sockets that nobody has adopted.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(addr, _)| *addr).collect()
    }

    /// Every socket that is left has no `listen` of its own: nobody would ever answer on it.
    ///
    /// # Errors
    /// There is one.
    pub(crate) fn all_adopted(&self) -> Result<(), Failure> {
        self.0.first().map_or(Ok(()), |(addr, _)| Err(unasked(*addr)))
    }
}

/// A socket that the service manager holds and no service listens on.
pub fn unasked(addr: SocketAddr) -> Failure {
    Failure::new(
        Exit::Config,
        format_args!("socket passed on by systemd at {addr}: no service listens on this address"),
    )
    .hint(format_args!(
        "add `listen = \"{addr}\"` to a [[service]], or remove the address from rolecall.socket \
         and restart rolecall.socket"
    ))
}

/// Opens the socket for `listen`: the inherited one where there is one, else a new one.
///
/// # Errors
/// The address is in use, not this host's, or not allowed.
pub fn open(listen: Listen, inherited: &mut Inherited) -> Result<TcpListener, Failure> {
    let socket = match inherited.adopt(listen) {
        Some(socket) => Ok(socket),
        None => bind_first(&listen.candidates()),
    };
    socket
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| refused(listen, &error))
}

fn bind_first(candidates: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut last = io::Error::other("there is no address to listen on");
    for addr in candidates {
        match bind(*addr) {
            Ok(socket) => return Ok(socket),
            // Without IPv6 the kernel knows neither the family nor the address.
            Err(error) => last = error,
        }
        if matches!(last.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) {
            break;
        }
    }
    Err(last)
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the last connections of its predecessor to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(listen: Listen, error: &io::Error) -> Failure {
    let (exit, hint) = match error.kind() {
        ErrorKind::AddrInUse => (
            Exit::Unavailable,
            "another program already listens there (perhaps another rolecall): stop it, or choose \
             another `listen`",
        ),
        ErrorKind::PermissionDenied => {
            (Exit::Permission, "ports below 1024 need a privilege: choose another `listen`")
        }
        _ => (
            Exit::Unavailable,
            "check that this host has the address; `listen = \"5555\"` listens on every address",
        ),
    };
    Failure::new(exit, format_args!("cannot listen on {listen}: {error}")).hint(hint)
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Internal, format_args!("sockets passed on by systemd: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_unavailable_with_a_hint() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::At(taken.local_addr().unwrap());
        let failure = open(listen, &mut Inherited::none()).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.hint.is_some(), "{failure}");
    }

    #[test]
    fn an_address_of_another_host_is_unavailable() {
        let listen = Listen::At("192.0.2.1:5555".parse().unwrap());
        assert_eq!(open(listen, &mut Inherited::none()).unwrap_err().exit, Exit::Unavailable);
    }

    #[test]
    fn an_inherited_socket_is_adopted_by_its_address_only() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let mut inherited = Inherited(vec![(addr, socket)]);
        let other = Listen::At("127.0.0.2:1".parse().unwrap());
        assert!(inherited.adopt(other).is_none());
        let failure = inherited.all_adopted().unwrap_err();
        assert!(failure.to_string().contains(&addr.to_string()), "{failure}");
        let adopted = open(Listen::At(addr), &mut inherited).unwrap();
        assert_eq!(adopted.local_addr().unwrap(), addr);
        assert_eq!(inherited.all_adopted(), Ok(()));
    }

    #[test]
    fn everywhere_adopts_the_unspecified_address_of_either_family() {
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let mut inherited = Inherited(vec![(addr, socket)]);
        assert!(inherited.adopt(Listen::Everywhere(addr.port())).is_some());
    }
}
