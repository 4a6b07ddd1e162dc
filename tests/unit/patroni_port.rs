//! PostgreSQL's own port beside each look at Patroni: what a refusal is worth, and that it delays nothing.

use std::net::SocketAddr;
use std::time::Duration;

use rolecall::config::{self, Address, ServerPort};
use rolecall::host::clock::Clock;
use rolecall::look::error::ErrorKind;
use rolecall::look::role::Role;
use rolecall::source::RoleSource;
use rolecall::source::patroni::Patroni;
use rolecall::source::resolve::Resolver;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No test waits longer for what must happen.
const SOON: Duration = Duration::from_secs(10);

/// A look ends well within this where nothing is waited for.
const AT_ONCE: Duration = Duration::from_secs(1);

const LEADER: &str = r#"{"state":"running","role":"primary","timeline":3}"#;

fn address(at: SocketAddr) -> Address {
    Address { host: at.ip().to_string(), port: at.port() }
}

/// A port that refuses: it was a listener's until now.
async fn refusing() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    address(listener.local_addr().unwrap())
}

/// A Patroni of the test's own, and a source that asks it.
async fn fake(server_port: ServerPort) -> (TcpListener, Patroni) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = config::Patroni { server_port, ..config::Patroni::at(&url) };
    let resolver = Resolver::with(|host| match host {
        "here" => Ok(vec!["127.0.0.1".parse().unwrap()]),
        "both" => Ok(vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()]),
        "far" => Ok(vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()]),
        _ => Err(std::io::Error::other("no such name")),
    });
    (listener, Patroni::new(&settings, resolver).unwrap())
}

/// Takes the next connection on which something is asked, and reads that.
async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        // A look that is over has let go of its connection.
        while let Ok(byte) = stream.read_u8().await {
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                return (stream, String::from_utf8(head).unwrap());
            }
        }
    }
}

/// A listener that takes no connection any more: whoever connects hears nothing.
fn silent() -> (Socket, SocketAddr, Vec<Socket>) {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 2], port)).into();
    let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&at(0)).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let waits = Duration::from_millis(100);
    let mut waiting = Vec::new();
    loop {
        let client = stream();
        let full = client.connect_timeout(&address, waits).is_err();
        waiting.push(client);
        if full {
            return (listener, address.as_socket().unwrap(), waiting);
        }
    }
}

async fn answer(listener: &TcpListener, path: &str, body: &str) {
    let (mut stream, head) = asked(listener).await;
    assert!(head.starts_with(&format!("GET {path} ")), "{path}: {head}");
    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
}

/// A look that Patroni answers well.
async fn look(listener: &TcpListener, source: &mut Patroni) -> Result<Option<Role>, ErrorKind> {
    let serve = answer(listener, "/primary", LEADER);
    let both = async {
        tokio::select! {
            // Where the look is over without Patroni nobody asks it.
            seen = source.observe() => seen,
            () = async { serve.await; std::future::pending().await } => unreachable!(),
        }
    };
    let seen = timeout(SOON, both).await.expect("the look ends");
    seen.map(|seen| seen.role).map_err(|error| error.kind)
}

/// What Patroni is asked between looks: its times, and who its members are.
async fn learns(listener: &TcpListener, source: &mut Patroni, api: &str, at: &Address) {
    let serve = async {
        answer(listener, "/config", "{}").await;
        let member = format!(
            r#"{{"members":[{{"name":"n0","api_url":"{api}","host":"{}","port":{}}}]}}"#,
            at.host, at.port
        );
        answer(listener, "/cluster", &member).await;
    };
    source.renew();
    timeout(SOON, async { tokio::join!(source.between_looks(), serve) }).await.expect("it ends");
    // Asked once: the other one hangs while the consensus store is lost.
    timeout(AT_ONCE, source.between_looks()).await.expect("nothing is asked again");
}

#[tokio::test]
async fn refused_is_a_no_at_once_though_patroni_is_silent_or_answers_well() {
    let refusing = refusing().await;
    let (listener, mut source) = fake(ServerPort::At(refusing.clone())).await;
    let error = timeout(AT_ONCE, source.observe()).await.expect("Patroni is not waited for");
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PortRefused, "{error}");
    assert!(error.kind.is_contrary());
    assert!(error.detail.starts_with(&refusing.to_string()), "{error}");
    assert_eq!(look(&listener, &mut source).await, Err(ErrorKind::PortRefused));
    assert!(source.expects_change(), "whoever starts it again does so soon");
}

#[tokio::test]
async fn a_silent_port_says_nothing_and_delays_nothing() {
    // Nobody answers behind the one, nobody takes a connection at the other, the third has no address.
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_held, silent, _waiting) = silent();
    let nowhere = Address { host: "nowhere".to_owned(), port: 5432 };
    // One address of a name that refuses leaves a doubt while another is silent.
    let both = Address { host: "both".to_owned(), port: silent.port() };
    for at in [address(listening.local_addr().unwrap()), address(silent), nowhere, both] {
        let (listener, mut source) = fake(ServerPort::At(at.clone())).await;
        for _ in 0..3 {
            let began = Clock::Boot.now();
            assert_eq!(look(&listener, &mut source).await, Ok(Some(Role::Primary)), "{at}");
            assert!(Clock::Boot.now().since(began) < AT_ONCE, "{at}");
        }
        assert!(!source.expects_change());
    }
}

#[tokio::test]
async fn a_server_that_ends_while_patroni_is_silent_is_seen_in_that_look() {
    let postgres = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = address(postgres.local_addr().unwrap());
    let (listener, mut source) = fake(ServerPort::At(at)).await;
    let ends = async {
        // The look has begun; its connection to PostgreSQL stands.
        let (_hanging, _) = asked(&listener).await;
        drop(postgres.accept().await.unwrap());
        drop(postgres);
        std::future::pending::<()>().await;
    };
    let looked = async {
        tokio::select! {
            seen = source.observe() => seen,
            () = ends => unreachable!(),
        }
    };
    let error = timeout(AT_ONCE, looked).await.expect("within the look").unwrap_err();
    assert_eq!(error.kind, ErrorKind::PortRefused, "{error}");
}

#[tokio::test]
async fn the_port_is_learned_from_patroni_and_counts_once_it_has_answered() {
    let postgres = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = address(postgres.local_addr().unwrap());
    let (listener, mut source) = fake(ServerPort::Learned).await;
    let own = format!("http://{}/patroni", listener.local_addr().unwrap());
    drop(postgres);
    learns(&listener, &mut source, &own, &at).await;
    // Nobody was ever met there: PostgreSQL may well be somewhere else.
    assert_eq!(look(&listener, &mut source).await, Ok(Some(Role::Primary)));
    let postgres = TcpListener::bind((at.host.as_str(), at.port)).await.unwrap();
    assert_eq!(look(&listener, &mut source).await, Ok(Some(Role::Primary)));
    drop(postgres);
    assert_eq!(look(&listener, &mut source).await, Err(ErrorKind::PortRefused));
    // It is at another place now, where nobody was met.
    let moved = refusing().await;
    learns(&listener, &mut source, &own, &moved).await;
    assert_eq!(look(&listener, &mut source).await, Ok(Some(Role::Primary)));
}

/// The member is the one at this URL, or the only one of this host with the same port; where it is not for
/// certain, or PostgreSQL is on another host, no port is asked.
#[tokio::test]
async fn the_port_is_asked_where_patroni_and_postgresql_are_on_this_host() {
    for (api, host, is_asked) in [
        ("http://127.0.0.1:PORT/patroni", "127.0.0.1", true),
        ("http://127.0.0.9:PORT/patroni", "127.0.0.1", true),
        ("http://here:PORT/patroni", "here", true),
        ("http://here:PORT/patroni", "192.0.2.1", false),
        ("http://127.0.0.1:PORT/patroni", "far", false),
        ("http://192.0.2.1:PORT/patroni", "127.0.0.1", false),
        ("http://127.0.0.1:1/patroni", "127.0.0.1", false),
    ] {
        let postgres = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = postgres.local_addr().unwrap().port();
        let at = Address { host: host.to_owned(), port };
        let (listener, mut source) = fake(ServerPort::Learned).await;
        let api = api.replace("PORT", &listener.local_addr().unwrap().port().to_string());
        learns(&listener, &mut source, &api, &at).await;
        assert_eq!(look(&listener, &mut source).await, Ok(Some(Role::Primary)), "{api} {host}");
        drop(postgres);
        let wanted = if is_asked { Err(ErrorKind::PortRefused) } else { Ok(Some(Role::Primary)) };
        assert_eq!(look(&listener, &mut source).await, wanted, "{api} {host}");
    }
    // Nobody is asked who is not to be.
    let (listener, mut source) = fake(ServerPort::NotAsked).await;
    let times = answer(&listener, "/config", "{}");
    timeout(SOON, async { tokio::join!(source.between_looks(), times) }).await.expect("it ends");
    timeout(AT_ONCE, source.between_looks()).await.expect("no member is asked for");
}
