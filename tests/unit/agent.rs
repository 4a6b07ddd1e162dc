//! The agent port, byte for byte, on real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rolecall::facts::{Facts, NodeFacts, ServiceFacts};
use rolecall::host::clock::Clock;
use rolecall::host::descriptors::Shares;
use rolecall::look::kind::{Shows, SourceKind};
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::port::agent::{Port, Room};
use rolecall::reply::routes::{Answering, Listen, Route, Routes};
use rolecall::reply::wording::Wording;
use rolecall::report::metrics::Metrics;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Policy, Trust};
use rolecall::verdict::standing::Standing;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// More than any answer here takes; reached only where an answer never comes.
const PATIENCE: Duration = Duration::from_secs(10);

fn room() -> Room {
    Room::of(&Shares::of_this_process())
}

struct Open {
    addr: SocketAddr,
    facts: watch::Sender<Facts>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

/// A node of this role, and one service that wants primaries.
fn node(role: Role, answering: Answering) -> NodeFacts {
    let mut source = Snapshot::default();
    source.record(Clock::Boot.now(), Ok(Observation::of(role)));
    let hour = Duration::from_secs(3600);
    let policy = Policy {
        roles: vec![Role::Primary],
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust: vec![Trust {
            hold: hour,
            look: hour,
            knows_lag: false,
            electorate: None,
            hold_by_repmgr: false,
            lock: None,
        }],
    };
    let service = ServiceFacts {
        name: "primary".into(),
        policy: Arc::new(policy),
        standing: Standing::default(),
        answering: Arc::new(answering),
        asks: Arc::default(),
        orders: [].into(),
        last_word: None,
    };
    let sources = vec![SourceFacts::of(source)];
    NodeFacts {
        name: "n1".into(),
        cluster: None,
        kinds: [SourceKind { word: "static", shows: Shows::Nothing }].into(),
        sources,
        services: vec![service],
    }
}

/// The first service of the first node is asked at this address.
fn first_at(addr: SocketAddr) -> Routes {
    let mut routes = Routes::default();
    routes.add(Listen::At(addr), Route { node: Some(0), service: 0, agent_send: false });
    routes
}

fn plain() -> Answering {
    Answering { wording: Wording::plain(), allow: vec![], last_word: None }
}

impl Open {
    fn now(&self, role: Role, answering: Answering) {
        let nodes = vec![node(role, answering)];
        self.facts.send_replace(Facts { nodes, routes: first_at(self.addr), http_allow: None });
    }
}

fn open_at(addr: &str, answering: Answering) -> Open {
    let listener = TcpListener::bind(addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let (facts, facts_in) = watch::channel(Facts::default());
    let stop = CancellationToken::new();
    let (counted, room) = (Metrics::default(), room());
    let port = Port { listener, facts: facts_in, clock: Clock::Boot, counted, room };
    let serving = tokio::spawn(port.serve(stop.clone()));
    let open = Open { addr, facts, stop, serving };
    open.now(Role::Primary, answering);
    open
}

fn open(answering: Answering) -> Open {
    open_at("127.0.0.1:0", answering)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `first`, then reads to the end as HAProxy or netcat would.
async fn ask(addr: SocketAddr, first: &'static [u8]) -> std::io::Result<Vec<u8>> {
    let asking = spawn_blocking(move || {
        let mut stream = connect(addr);
        stream.write_all(first)?;
        let mut line = Vec::new();
        stream.read_to_end(&mut line)?;
        Ok(line)
    });
    asking.await.unwrap()
}

#[tokio::test]
async fn the_line_comes_without_a_question_and_then_the_end() {
    let port = open(plain());
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"READY\n");
    port.now(Role::Replica, plain());
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"MAINT\n");
}

#[tokio::test]
async fn facts_that_nobody_renewed_are_not_said() {
    let port = open(plain());
    let mut old = port.facts.borrow().clone();
    let mut source = Snapshot::default();
    source.record(Stamp::new(Duration::ZERO), Ok(Observation::of(Role::Primary)));
    old.nodes[0].sources = vec![SourceFacts::of(source)];
    let trust = vec![Trust {
        hold: Duration::ZERO,
        look: Duration::from_millis(1),
        knows_lag: false,
        electorate: None,
        hold_by_repmgr: false,
        lock: None,
    }];
    let policy = Policy { trust, ..Policy::clone(&old.nodes[0].services[0].policy) };
    old.nodes[0].services[0].policy = Arc::new(policy);
    port.facts.send_replace(old);
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"MAINT\n");
}

#[tokio::test]
async fn a_port_answers_for_the_service_that_is_asked_there_whatever_its_name() {
    let port = open(plain());
    let mut renamed = port.facts.borrow().clone();
    renamed.nodes[0].services[0].name = "writes".into();
    port.facts.send_replace(renamed);
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"READY\n");
    port.facts.send_modify(|facts| facts.routes = first_at("127.0.0.1:1".parse().unwrap()));
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"", "a reload took its service away");
}

#[tokio::test]
async fn each_port_answers_for_its_own_node_and_an_address_that_moves_goes_with_the_facts() {
    let port = open(plain());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let addr = other.local_addr().unwrap();
    let (facts, counted) = (port.facts.subscribe(), Metrics::default());
    let second = Port { listener: other, facts, clock: Clock::Boot, counted, room: room() };
    tokio::spawn(second.serve(port.stop.clone()));
    port.facts.send_modify(|facts| {
        facts.nodes.push(node(Role::Replica, plain()));
        facts.routes.add(Listen::At(addr), Route { node: Some(1), service: 0, agent_send: false });
    });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"READY\n");
    assert_eq!(ask(addr, b"").await.unwrap(), b"MAINT\n");
    port.facts.send_modify(|facts| {
        facts.routes.add(Listen::At(addr), Route { node: Some(0), service: 0, agent_send: false });
        facts
            .routes
            .add(Listen::At(port.addr), Route { node: Some(1), service: 0, agent_send: false });
    });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"MAINT\n");
    assert_eq!(ask(addr, b"").await.unwrap(), b"READY\n");
}

#[tokio::test]
async fn what_the_asker_sends_never_turns_into_a_reset() {
    let port = open(plain());
    for _ in 0..300 {
        let line = ask(port.addr, b"pg1 rw and more words than anybody reads\n").await;
        assert_eq!(line.unwrap(), b"READY\n");
    }
}

#[tokio::test]
async fn an_asker_who_stays_or_talks_on_costs_nobody_else_anything() {
    let port = open(plain());
    let addr = port.addr;
    let silent: Vec<_> =
        spawn_blocking(move || (0..400).map(|_| connect(addr)).collect()).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(port.addr, b"").await.unwrap(), b"READY\n");
    }
    let silent: Vec<TcpStream> = silent;
    let answered = spawn_blocking(move || {
        let read = |mut stream: TcpStream| {
            let mut line = [0; 6];
            stream.read_exact(&mut line).map(|()| line)
        };
        silent.into_iter().filter(|s| read(s.try_clone().unwrap()).unwrap() == *b"READY\n").count()
    });
    assert_eq!(answered.await.unwrap(), 400, "over the cap of lingering ones too");
}

#[tokio::test]
async fn an_asker_who_never_ends_is_closed_within_the_bound() {
    let port = open(plain());
    let addr = port.addr;
    let ended = spawn_blocking(move || {
        let mut stream = connect(addr);
        let mut line = [0; 6];
        stream.read_exact(&mut line).unwrap();
        // Writing on and on ends in a reset or a broken pipe: the other side has closed.
        loop {
            match stream.write_all(&[b'x'; 1024]) {
                Ok(()) => std::thread::yield_now(),
                Err(error) => return error.kind(),
            }
        }
    });
    let kind = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
}

#[tokio::test]
async fn an_asker_who_stays_is_closed_when_its_time_is_up() {
    let port = open(plain());
    let addr = port.addr;
    let ended = spawn_blocking(move || {
        let mut stream = connect(addr);
        let mut line = [0; 6];
        stream.read_exact(&mut line).unwrap();
        // So few bytes that only time can end it.
        loop {
            std::thread::sleep(Duration::from_millis(50));
            if let Err(error) = stream.write_all(b"x") {
                return error.kind();
            }
        }
    });
    let kind = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
}

#[tokio::test]
async fn a_stranger_is_closed_without_a_line() {
    let allow = vec!["192.0.2.0/24".parse().unwrap()];
    let port = open(Answering { allow, ..plain() });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"");
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    port.now(Role::Primary, Answering { allow, ..plain() });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"READY\n");
}

#[tokio::test]
async fn an_ipv4_asker_of_an_ipv6_socket_is_the_ipv4_address_it_is() {
    let allow = vec!["127.0.0.1/32".parse().unwrap()];
    let port = open_at("[::]:0", Answering { allow, ..plain() });
    let mapped = SocketAddr::new("127.0.0.1".parse().unwrap(), port.addr.port());
    assert_eq!(ask(mapped, b"").await.unwrap(), b"READY\n");
    let v6 = SocketAddr::new("::1".parse().unwrap(), port.addr.port());
    assert_eq!(ask(v6, b"").await.unwrap(), b"");
}

#[tokio::test]
async fn a_reload_changes_the_words_of_an_open_port() {
    let port = open(plain());
    port.now(Role::Primary, Answering { wording: Wording::full(), ..plain() });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"up ready\n");
    port.now(Role::Replica, Answering { wording: Wording::full(), ..plain() });
    assert_eq!(ask(port.addr, b"").await.unwrap(), b"maint up #is replica\n");
}

#[tokio::test]
async fn those_who_wait_at_the_stop_are_answered_and_then_the_port_is_closed() {
    let port = open(plain());
    // Connected before the port's task has run for the first time: they wait in the backlog.
    let waiting: Vec<_> = (0..10).map(|_| connect(port.addr)).collect();
    port.stop.cancel();
    port.serving.await.unwrap().unwrap();
    for mut stream in waiting {
        let mut line = Vec::new();
        stream.read_to_end(&mut line).unwrap();
        assert_eq!(line, b"READY\n");
    }
    let refused = TcpStream::connect_timeout(&port.addr, PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
