//! The bytes between a look and its server: what a failure to carry them means, and a bound.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::look::error::ErrorKind;

/// Most bytes a server may send in one look. The longest honest answer is repmgr's table of nodes:
/// some hundred bytes a node.
pub const MAX_ANSWER: usize = 256 * 1024;

/// What it means that a socket file cannot be connected to.
pub(super) fn unix_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ErrorKind::ServerDown,
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        // The queue of connections is full: somebody listens and does not accept.
        io::ErrorKind::WouldBlock => ErrorKind::NotAccepting,
        _ => ErrorKind::Unreachable,
    }
}

/// What it means that an address cannot be connected to.
pub(super) fn tcp_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::ServerDown,
        _ => ErrorKind::Unreachable,
    }
}

/// What an error of an open connection says by itself; `None` where its place says more.
pub(super) fn io_kind(error: &io::Error) -> Option<ErrorKind> {
    match error.kind() {
        _ if is::<rustls::Error>(error) => Some(ErrorKind::Tls),
        _ if is::<TooLong>(error) => Some(ErrorKind::TooLong),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(ErrorKind::Unreachable),
        _ => None,
    }
}

/// Whether bytes arrived that are no message of PostgreSQL's protocol, or half of one.
pub(super) fn is_nonsense(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other};
    matches!(error.kind(), InvalidData | InvalidInput | Other)
}

fn is<T: std::error::Error + 'static>(error: &io::Error) -> bool {
    error.get_ref().and_then(|cause| cause.downcast_ref::<T>()).is_some()
}

/// The server sent more than so many bytes.
#[derive(Debug, thiserror::Error)]
#[error("the server sent more than {0} bytes")]
pub(super) struct TooLong(pub usize);

/// A stream that is read up to a bound: the protocol lets a server announce a gigabyte.
pub(super) struct Bounded<S> {
    inner: S,
    left: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, left: MAX_ANSWER }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(left) = self.left.checked_sub(buf.filled().len() - before) else {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(TooLong(MAX_ANSWER))));
        };
        self.left = left;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_up_to_the_bound_and_no_further() {
        let mut read = Vec::new();
        let fits = vec![0; MAX_ANSWER];
        assert_eq!(Bounded::new(&*fits).read_to_end(&mut read).await.unwrap(), MAX_ANSWER);
        let longer = vec![0; MAX_ANSWER + 1];
        let error = Bounded::new(&*longer).read_to_end(&mut read).await.unwrap_err();
        assert_eq!(io_kind(&error), Some(ErrorKind::TooLong));
    }

    #[test]
    fn only_what_proves_that_nobody_listens_is_a_server_that_is_down() {
        let of = io::Error::from;
        assert_eq!(tcp_kind(&of(io::ErrorKind::ConnectionRefused)), ErrorKind::ServerDown);
        assert_eq!(unix_kind(&of(io::ErrorKind::ConnectionRefused)), ErrorKind::ServerDown);
        assert_eq!(unix_kind(&of(io::ErrorKind::NotFound)), ErrorKind::ServerDown);
        assert_eq!(unix_kind(&of(io::ErrorKind::WouldBlock)), ErrorKind::NotAccepting);
        assert_eq!(unix_kind(&of(io::ErrorKind::PermissionDenied)), ErrorKind::Denied);
        for kind in [
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::TimedOut,
            io::ErrorKind::ConnectionReset,
        ] {
            assert_eq!(tcp_kind(&of(kind)), ErrorKind::Unreachable);
            assert_eq!(io_kind(&of(kind)), Some(ErrorKind::Unreachable));
        }
    }
}
