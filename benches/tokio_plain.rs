//! The agent port as one writes it first with tokio: a task for every connection, a static reply, a bounded linger.
//!
//! `benches/run.sh` sets rolecall beside it, to show what the shorter path is worth.
//!
//! usage: `tokio_plain ADDRESS:PORT`

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long a client may keep its side open after the reply; a checker closes within milliseconds.
const LINGER: Duration = Duration::from_secs(1);

/// What a client sends is read and thrown away in pieces of this many bytes.
const SCRAP: usize = 512;

async fn answer(mut client: TcpStream) -> io::Result<()> {
    client.write_all(b"READY\n").await?;
    client.shutdown().await?;
    let mut scrap = [0; SCRAP];
    while client.read(&mut scrap).await? > 0 {}
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "usage: tokio_plain ADDRESS:PORT")
    })?;
    let listener = TcpListener::bind(address).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(tokio::time::timeout(LINGER, answer(client)));
    }
}
