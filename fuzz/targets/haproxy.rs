//! What a HAProxy says of itself, and what becomes of it beside a status.

#![no_main]

use rolecall::cli::haproxy::shown;
use rolecall::cli::haproxy::sides::compare;
use rolecall::cli::haproxy::told::{MOST_FIELD, MOST_SERVERS, read};
use rolecall_fuzz::{cleaned, one_line, target, text};
use serde_json::json;

target!(|data| {
    let Ok(told) = read(text(data)) else { return };
    assert!(told.servers.len() <= MOST_SERVERS);
    for server in &told.servers {
        for word in [
            &server.pool,
            &server.name,
            &server.status,
            &server.agent_status,
            &server.agent_said,
            &server.check_said,
        ] {
            cleaned(word, MOST_FIELD);
        }
    }
    let service = |name: &str, port: u16, state: &str| {
        json!({ "service": name, "roles": [name], "state": state, "since_ms": 60_000,
            "listen": [{ "at": format!("*:{port}"), "agent_send": false }] })
    };
    let node = |name: &str| json!({ "node": name, "services": [service("primary", 5555, "ready"), service("replica", 5556, "not_ready")] });
    for nodes in [json!([node("local")]), json!([node("pg1"), node("pg2")]), json!([])] {
        let sides = compare(&told, &json!({ "nodes": nodes }), |addr| addr.is_loopback());
        assert!(sides.servers.len() <= told.servers.len());
        shown::text(&sides).split('\n').for_each(one_line);
    }
});
