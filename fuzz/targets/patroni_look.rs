//! A whole look at Patroni: what a server sends to one connection, head and body.

#![no_main]

use std::cell::RefCell;

use rolecall::config;
use rolecall::look::error::{MOST_DETAIL, SourceError};
use rolecall::source::RoleSource as _;
use rolecall::source::patroni::Patroni;
use rolecall::source::resolve::Resolver;
use rolecall::verdict::policy::Hysteresis;
use rolecall_fuzz::{cleaned, run, target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn serve(listener: &TcpListener, data: &[u8]) {
    let Ok((mut stream, _)) = listener.accept().await else { return };
    // One that ends sooner needs no more.
    let _ = answer(&mut stream, data).await;
}

async fn answer(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    stream.write_all(data).await?;
    stream.shutdown().await?;
    stream.read_to_end(&mut head).await?;
    Ok(())
}

fn failed(error: &SourceError) {
    cleaned(&error.detail, MOST_DETAIL);
}

/// The two ways in which it is asked: alone, and with a limit of lag.
type Stage = (TcpListener, [Patroni; 2]);

fn stage() -> Stage {
    let listener = run(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let limit = Hysteresis { max: 1 << 20, resume: 1 << 19 };
    let asked = [None, Some(limit)].map(|lag| {
        let settings = config::Patroni { lag, ..config::Patroni::at(&url) };
        Patroni::new(&settings, Resolver::system()).expect("a URL")
    });
    (listener, asked)
}

thread_local! {
    static STAGE: RefCell<Stage> = RefCell::new(stage());
}

target!(|data| {
    let Some((what, data)) = data.split_first() else { return };
    STAGE.with_borrow_mut(|(listener, asked)| {
        let patroni = &mut asked[usize::from(what / 4 % 2)];
        run(async {
            let look = async {
                match what % 4 {
                    0 => drop(patroni.ask_members().await.map_err(|error| failed(&error))),
                    1 => drop(patroni.ask_times().await.map_err(|error| failed(&error))),
                    _ => match patroni.observe().await {
                        Ok(seen) => cleaned(seen.not_running.as_deref().unwrap_or_default(), 64),
                        Err(error) => failed(&error),
                    },
                }
            };
            tokio::join!(look, serve(listener, data));
        });
    });
});
