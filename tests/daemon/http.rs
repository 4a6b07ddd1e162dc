//! The HTTP port of the real program: pages, codes, bounds, reload; and that its documents are true.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Heard, Rolecall, ask, eventually, now};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer: its code, its head and its body.
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn request(addr: SocketAddr, method: &str, path: &str) -> Answer {
    with(connect(addr), method, path, "")
}

/// One request with these header lines.
fn with(mut stream: TcpStream, method: &str, path: &str, headers: &str) -> Answer {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn get(addr: SocketAddr, path: &str) -> Answer {
    request(addr, "GET", path)
}

/// The page of metrics as Prometheus asks for it.
fn openmetrics(addr: SocketAddr) -> Answer {
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    with(connect(addr), "GET", "/metrics", &format!("Accept: {accept}\r\n"))
}

/// A rolecall for one node that is the primary, with a service for each role.
fn one_node(ground: &Ground, http: &str) -> Rolecall {
    let (agent, replica) = (ground.addr(1, AGENT_PORT), ground.addr(2, AGENT_PORT));
    let config = format!(
        "{http}\n[source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n\
         [[service]]\nname = \"replica\"\nroles = [\"replica\"]\nlisten = \"{replica}\"\n"
    );
    let mut rolecall = Rolecall::new(ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config);
    rolecall.start();
    rolecall
}

fn section(ground: &Ground) -> (SocketAddr, String) {
    let addr = ground.addr(1, HTTP_PORT);
    (addr, format!("[http]\nlisten = \"{addr}\""))
}

#[test]
fn a_node_is_asked_as_patronis_api_is_asked() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let _rolecall = one_node(&ground, &text);
    for (path, code) in [
        ("/primary", 200),
        ("/primary/", 200),
        ("/primary?lag=1", 400),
        ("/primary/local", 200),
        ("/master", 200),
        ("/read-write", 200),
        ("/replica", 503),
        ("/replica/local", 503),
        ("/primary/other", 404),
        ("/leader", 404),
        ("/", 200),
        ("/?refresh=off", 200),
        ("/?refresh=on", 400),
        ("/primary?refresh=off", 400),
        ("/a/b/c", 404),
        ("/%ff", 404),
        ("/live", 200),
        ("/ready", 200),
        ("/status", 200),
        ("/history", 200),
        ("/history?since=2h", 400),
        ("/metrics", 200),
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let answer = request(http, method, path);
            assert_eq!(answer.code, code, "{method} {path}");
            assert_eq!(answer.body.is_empty(), method != "GET", "{method} {path}");
            assert!(method != "OPTIONS" || answer.head.contains("allow: get, head, options"));
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        assert_eq!(request(http, method, "/primary").code, 405, "{method}");
    }
    // What is asked and not honoured is not passed over, as Patroni's parameters would be.
    let asked = get(http, "/primary?lag=1MB&replication_state=streaming");
    assert_eq!(asked.code, 400, "{}", asked.body);
    let said = asked.json()["error"].to_string();
    assert!(said.contains("lag, replication_state"), "{said}");
    assert_eq!(get(http, "/release/1?urgent=1").code, 400);
    assert_eq!(get(http, "/primary?").code, 200);
    let long = get(http, &format!("/primary?{}=1", "x".repeat(500)));
    let said = long.json()["error"].to_string();
    assert!(
        long.code == 400 && said.contains(&"x".repeat(40)) && !said.contains(&"x".repeat(61)),
        "{said}"
    );
    let said = get(http, "/replica").json();
    assert_eq!(said["service"]["state"], "not_ready");
    assert_eq!(said["service"]["reason"], "other_role");
    let lost = get(http, "/leader").json();
    assert!(lost["hint"].as_str().unwrap().contains("primary, replica"), "{lost}");
}

#[test]
fn the_page_for_a_person_says_what_a_browser_may_do_with_it() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let rolecall = one_node(&ground, &text);
    for path in ["/", "/?refresh=off"] {
        let page = get(http, path);
        for line in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(page.head.contains(line), "{path}: {line}: {}", page.head);
        }
        assert!(page.body.starts_with("<!DOCTYPE html>") && page.body.ends_with("</html>\n"));
        let refreshed = page.body.contains("<meta http-equiv=\"refresh\" content=\"5\">");
        assert_eq!(refreshed, path == "/", "{path}");
        let head = request(http, "HEAD", path);
        assert_eq!(head.head.contains("content-security-policy"), head.code == 200, "{path}");
    }
    // `allow` is for all paths.
    let closed = format!("{text}\nallow = [\"192.0.2.0/24\"]");
    let config = std::fs::read_to_string(ground.dir().join("rolecall.toml")).unwrap();
    rolecall.write_config(&config.replace(&text, &closed));
    rolecall.reload();
    let refused = get(http, "/");
    assert!(refused.code == 403 && !refused.body.contains('<'), "{}", refused.body);
}

#[test]
fn the_status_says_everything_that_is_known() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let _rolecall = one_node(&ground, &text);
    assert_eq!(ask(ground.addr(1, AGENT_PORT), PATIENCE).heard, Heard::Said("READY\n".to_owned()));
    let status = get(http, "/status").json();
    assert_eq!(status["version"], 1);
    assert_eq!(status["rolecall"], env!("CARGO_PKG_VERSION"));
    let node = &status["nodes"][0];
    assert_eq!((&node["node"], &node["role"]), (&"local".into(), &"primary".into()));
    assert_eq!(node["sources"][0]["kind"], "static");
    assert!(node["sources"][0]["good_ms"].as_u64().unwrap() < 60_000);
    let primary = &node["services"][0];
    assert_eq!(primary["state"], "ready");
    assert_eq!(primary["findings"][0]["says"], "yes");
    assert!(primary["since_ms"].is_u64() && primary["stands_ms"].is_u64(), "{primary}");
    assert_eq!(primary["asked"]["ready"], 1);
    assert!(primary["asked"]["by"].as_str().unwrap().starts_with("127."), "{primary}");
    let askers = primary["asked"]["askers"].as_array().unwrap();
    assert_eq!((askers.len(), &askers[0]["by"]), (1, &primary["asked"]["by"]), "{primary}");
    assert_eq!(primary["roles"], serde_json::json!(["primary"]));
    let listen = primary["listen"].as_array().unwrap();
    assert!(
        listen[0]["at"].as_str().unwrap().starts_with("127.") && listen.len() == 1,
        "{primary}"
    );
    assert_eq!(node["services"][1]["asked"]["last_ms"], Value::Null, "nobody asked");
    // Every key that is documented is there, and every key that is there is documented.
    let document = std::fs::read_to_string("docs/http.md").unwrap();
    let documented: BTreeSet<&str> = first_cells(&document, "| key |").collect();
    let mut keys = BTreeSet::new();
    collect_keys(&status, &mut keys);
    // Of a failing source and of a repmgr node's peers; neither is there now.
    keys.insert("node_id".to_owned());
    // Of a repmgr node's votes; tests/daemon/page reads them.
    let votes = ["votes", "electors", "ballots", "name", "registered", "active", "side", "vote"];
    keys.extend(votes.map(str::to_owned));
    // Of an order; tests/daemon/orders.rs reads one.
    keys.extend(["target", "why", "ends_ms", "forced", "waits"].map(str::to_owned));
    // Of a question; tests/daemon/agent_send.rs reads one.
    keys.extend(["question", "count"].map(str::to_owned));
    // Of a fence; tests/real/fence.rs reads one.
    keys.extend(["acts", "because", "ended", "failed"].map(str::to_owned));
    assert_eq!(documented, keys.iter().map(String::as_str).collect());
    // The schema, which is made of the types, has no other.
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/status.schema.json").unwrap()).unwrap();
    let forms = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let properties = forms.flat_map(|form| form["properties"].as_object().unwrap().keys());
    assert_eq!(documented, properties.map(String::as_str).collect());
}

#[test]
fn the_history_has_the_keys_that_are_documented() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let _rolecall = one_node(&ground, &text);
    let history = get(http, "/history").json();
    let changes = history["changes"].as_array().unwrap();
    assert_eq!(changes.iter().filter(|change| change["node"] == "local").count(), 2, "{history}");
    let document = std::fs::read_to_string("docs/http.md").unwrap();
    let documented: BTreeSet<&str> = first_cells(&document, "| key of /history |").collect();
    let mut keys = BTreeSet::new();
    collect_keys(&history, &mut keys);
    assert_eq!(documented, keys.iter().map(String::as_str).collect());
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/history.schema.json").unwrap())
            .unwrap();
    let forms = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    let properties = forms.flat_map(|form| form["properties"].as_object().unwrap().keys());
    assert_eq!(documented, properties.map(String::as_str).collect());
}

fn collect_keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            collect_keys(value, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| collect_keys(value, into)),
        _ => {}
    }
}

/// The first cell of every row of the table that has this head, without its quotes.
fn first_cells<'a>(document: &'a str, head: &str) -> impl Iterator<Item = &'a str> {
    let lines = document.lines().skip_while(move |line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`'))
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let nodes = "[[node]]\nname = \"n1\"\ncluster = \"orders\"\nsource = { kind = \"static\", role = \"primary\" }\n";
    let agent = ground.addr(1, AGENT_PORT);
    let asked = ground.addr(2, AGENT_PORT);
    let service = format!(
        "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{asked}\"\nagent_send = true\n"
    );
    let config = format!("{text}\n{service}{nodes}listen = {{ primary = \"{agent}\" }}\n");
    let mut rolecall = Rolecall::new(&ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config);
    rolecall.start();
    assert_eq!(ask(agent, PATIENCE).heard, Heard::Said("READY\n".to_owned()));
    // What was never counted has no line yet.
    connect(asked).write_all(b"nonsense\n").unwrap();
    eventually(PATIENCE, "the question is counted", || {
        let metrics = get(http, "/metrics").body;
        if metrics.contains("rolecall_unknown_questions_total{") { Ok(()) } else { Err(metrics) }
    });
    let answer = openmetrics(http);
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let types = answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let document = std::fs::read_to_string("docs/metrics.md").unwrap();
    let documented: BTreeSet<&str> = first_cells(&document, "| metric |").collect();
    assert_eq!(types, documented);
    for line in [
        r#"rolecall_role{node="n1",cluster="orders",role="primary"} 1"#,
        r#"rolecall_verdict{node="n1",cluster="orders",service="primary",state="ready"} 1"#,
        r#"rolecall_verdict{node="n1",cluster="orders",service="primary",state="unknown"} 0"#,
        r#"rolecall_verdict_reason{node="n1",service="primary",reason="serves"} 1"#,
        r#"rolecall_cluster_primaries{cluster="orders"} 1"#,
        r#"rolecall_checks_total{node="n1",service="primary",reply="ready"} 1"#,
        r#"rolecall_connections_refused_total{node="n1",service="primary",reason="not_allowed"} 0"#,
        r#"rolecall_verdict_changes_total{node="n1",service="primary",to="ready"} 1"#,
        // What never was is told as well: the first of its kind is an increase then.
        r#"rolecall_verdict_changes_total{node="n1",service="primary",to="not_ready"} 0"#,
        "rolecall_config_last_reload_successful 1",
        r#"rolecall_http_connections_refused_total{reason="busy"} 0"#,
        r#"rolecall_http_connections_refused_total{reason="not_allowed"} 0"#,
        "# EOF",
    ] {
        assert!(answer.body.lines().any(|has| has == line), "{line}: {}", answer.body);
    }
    rolecall.write_config("nonsense");
    rolecall.reload();
    let failed = get(http, "/metrics").body;
    assert!(failed.contains("\nrolecall_config_last_reload_successful 0\n"), "{failed}");
}

#[test]
fn of_several_nodes_one_must_be_named() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let node = |name: &str, role: &str, at: u8| {
        format!(
            "[[node]]\nname = \"{name}\"\ncluster = \"c\"\nsource = {{ kind = \"static\", role = \"{role}\" }}\n\
             listen = {{ primary = \"{}\" }}\n",
            ground.addr(at, AGENT_PORT)
        )
    };
    let config = format!("{text}\n{}{}", node("pg1", "primary", 1), node("pg2", "replica", 2));
    let mut rolecall = Rolecall::new(&ground, "rolecall", env!("CARGO_BIN_EXE_rolecall"), &config);
    rolecall.start();
    assert_eq!(get(http, "/primary/pg1").code, 200);
    assert_eq!(get(http, "/master/pg1").code, 200);
    assert_eq!(get(http, "/primary/pg2").code, 503);
    let which = get(http, "/primary");
    assert_eq!(which.code, 404, "a check that forgot its node must not pass for every node");
    assert!(which.json()["hint"].as_str().unwrap().contains("pg1, pg2"));
    // Two that both swear.
    let split = format!("{text}\n{}{}", node("pg1", "primary", 1), node("pg2", "primary", 2));
    rolecall.write_config(&split);
    rolecall.reload();
    assert!(get(http, "/metrics").body.contains("rolecall_cluster_primaries{cluster=\"c\"} 2\n"));
    // One is told MAINT, and swears all the same.
    let sworn = "source = [{ kind = \"static\", role = \"primary\" }, { kind = \"static\", role = \"replica\" }]";
    let told = split.replace("source = { kind = \"static\", role = \"primary\" }", sworn);
    rolecall.write_config(&told);
    rolecall.reload();
    let metrics = get(http, "/metrics").body;
    assert!(metrics.contains("rolecall_cluster_primaries{cluster=\"c\"} 2\n"), "{metrics}");
    let ready =
        "rolecall_verdict{node=\"pg2\",cluster=\"c\",service=\"primary\",state=\"ready\"} 0\n";
    assert!(metrics.contains(ready), "{metrics}");
    // Its two sources are of one kind: Prometheus takes no series twice.
    let of_pg2 = r#"rolecall_last_good_look_age_seconds{node="pg2",source="static"} "#;
    assert!(metrics.contains(of_pg2), "{metrics}");
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<_> = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    let printed = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), printed, "{metrics}");
}

#[test]
fn nobody_holds_anything_and_the_agent_port_does_not_wait() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let rolecall = one_node(&ground, &text);
    // As many as there is room for say nothing, or never end their head.
    let mut silent: Vec<_> = (0..64).map(|_| connect(http)).collect();
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(b"GET /primary HTTP/1.1\r\nX: ").unwrap();
    }
    let began = now();
    // One more is answered: one that says nothing makes room for it.
    assert_eq!(get(http, "/live").code, 200);
    assert_eq!(ask(ground.addr(1, AGENT_PORT), PATIENCE).heard, Heard::Said("READY\n".to_owned()));
    for mut stream in silent {
        // Its time is up, whatever it did.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(now().since(began) < PATIENCE, "they were closed by rolecall");
    eventually(PATIENCE, "there is room again", || match get(http, "/live").code {
        200 => Ok(()),
        other => Err(other),
    });
    let refused = "rolecall_http_connections_refused_total{reason=\"busy\"} ";
    let metrics = get(http, "/metrics").body;
    let busy = metrics.lines().find_map(|line| line.strip_prefix(refused)).unwrap_or_default();
    assert!(busy.parse::<u64>().is_ok_and(|busy| busy > 0), "{metrics}");

    let mut long = connect(http);
    let head = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let _ = long.write_all(head.as_bytes());
    let mut said = String::new();
    let _ = long.read_to_string(&mut said);
    assert!(!said.contains("200 OK"), "{said}");
    for garbage in [&b"\0\0\0\0\r\n\r\n"[..], b"\r\n\r\n\r\n", b"READY\n", &[0xff; 300]] {
        let mut stream = connect(http);
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(get(http, "/live").code, 200, "{}", rolecall.log());
}

#[test]
fn those_who_may_not_ask_take_no_place_of_those_who_may() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let friend = ground.host(3);
    let _rolecall = one_node(&ground, &format!("{text}\nallow = \"{friend}\""));
    // More than there are places at all, which say nothing.
    let strangers: Vec<_> = (0..100).map(|_| connect(http)).collect();
    let asks = |path: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((friend, 0)).into()).unwrap();
        socket.connect(&http.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        with(stream, "GET", path, "")
    };
    assert_eq!(asks("/primary").code, 200);
    let metrics = asks("/metrics").body;
    for (reason, count) in [("not_allowed", 100), ("busy", 0)] {
        let line =
            format!("\nrolecall_http_connections_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    drop(strangers);
}

#[test]
fn a_reload_says_who_may_ask_and_opens_and_closes_the_port() {
    let ground = Ground::new();
    let (http, text) = section(&ground);
    let rolecall = one_node(&ground, &text);
    let config = std::fs::read_to_string(ground.dir().join("rolecall.toml")).unwrap();
    rolecall.write_config(&config.replace("[http]", "[http]\nallow = \"10.0.0.0/8\""));
    rolecall.reload();
    let refused = get(http, "/primary");
    assert_eq!(refused.code, 403);
    assert!(refused.json()["hint"].as_str().unwrap().contains("allow"));
    rolecall.wait_log(PATIENCE, &["is not in `allow` of [http]"]);
    rolecall.write_config(&config.replace(&text, ""));
    rolecall.reload();
    eventually(PATIENCE, "the port is closed", || {
        if TcpStream::connect(http).is_err() { Ok(()) } else { Err("still open") }
    });
    rolecall.write_config(&config);
    rolecall.reload();
    assert_eq!(get(http, "/primary").code, 200);
    assert_eq!(ask(ground.addr(1, AGENT_PORT), PATIENCE).heard, Heard::Said("READY\n".to_owned()));
}
