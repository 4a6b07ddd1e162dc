//! A login: what whoever answers at a server's address sends before it lets anybody in.

#![no_main]

use std::pin::Pin;
use std::task::{Context, Poll};

use rolecall::config::conninfo::Conninfo;
use rolecall::fuzzing::pg::logged_in;
use rolecall_fuzz::{run, target};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A server that says this, whatever it hears.
struct Server<'d> {
    says: &'d [u8],
    heard: Vec<u8>,
}

impl AsyncRead for Server<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.says).poll_read(cx, buf)
    }
}

impl AsyncWrite for Server<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.heard.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What `conninfo` says, whether it is known who the server is, and what one that knows no password may
/// come to: to be believed, and to be told the password.
const LOGINS: [(&str, bool, bool, bool); 7] = [
    ("user=u", false, true, false),
    ("user=u password=hunter2", false, false, false),
    ("user=u password=hunter2 require_auth=scram-sha-256", true, false, false),
    ("user=u password=hunter2 require_auth=md5,password", false, true, true),
    ("user=u password=hunter2", true, true, true),
    ("user=u password=hunter2 channel_binding=require", true, false, false),
    ("user=u password=hunter2 require_auth=!password", false, false, false),
];

target!(|data| {
    let Some((which, says)) = data.split_first() else { return };
    let (conninfo, known, believed, told) = LOGINS[usize::from(*which) % LOGINS.len()];
    let conninfo: Conninfo = conninfo.parse().expect("a connection string");
    let mut server = Server { says, heard: Vec::new() };
    let certificate = (which & 0x80 != 0).then_some(CERTIFICATE);
    let entered = run(logged_in(&mut server, &conninfo, known, certificate));
    assert!(believed || entered.is_err(), "nobody proved anything");
    let heard = |word: &[u8]| server.heard.windows(word.len()).any(|window| window == word);
    assert!(told || !(heard(b"hunter2") || heard(b"md5")), "the password is given away");
    // A server's words are cut; what rolecall says itself is short.
    if let Err(what) = entered {
        assert!(what.chars().count() <= 400, "{what:?}");
    }
});

/// A certificate that a login can be bound to.
const CERTIFICATE: &[u8] = include_bytes!("../seeds/certificate/rsa.der");
