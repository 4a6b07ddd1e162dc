//! What each role may read, and what is said where it may not.

use std::time::Duration;

use rolecall::config::conninfo::places;
use rolecall::look::error::ErrorKind;
use rolecall::look::repmgr::NodeId;
use rolecall::source::RoleSource;
use rolecall::source::repmgr::Repmgr;

use super::cluster::{Node, settings, source};
use super::{SECRET, answer, eventually, refused};
use crate::fixtures::lacks_repmgr;
use crate::server::{PATIENCE, PORT, run};

#[tokio::test]
async fn what_may_not_be_read_is_named() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    node.sql(&format!(
        "UPDATE repmgr.nodes SET conninfo = conninfo || ' password={SECRET} passfile=/{SECRET}'"
    ));
    least_privilege(&node);

    // By the view. The same source finds its way back after each.
    let mut source = node.source();
    assert_eq!(answer(&source.observe().await.unwrap()).me, Some(NodeId(1)));
    for grant in [
        "USAGE ON SCHEMA rolecall",
        "SELECT ON rolecall.nodes",
        "EXECUTE ON FUNCTION rolecall.repmgrd_state()",
    ] {
        node.sql(&format!("REVOKE {grant} FROM rolecall"));
        for _ in 0..2 {
            refused(&mut source, ErrorKind::Grant, &[r#"user "rolecall" is not granted"#, grant])
                .await;
        }
        node.sql(&format!("GRANT {grant} TO rolecall"));
        source.observe().await.unwrap();
    }
    node.sql("DROP SCHEMA rolecall CASCADE");
    refused(&mut source, ErrorKind::Grant, &["USAGE ON SCHEMA repmgr", "SELECT ON repmgr.nodes"])
        .await;

    // By repmgr's own schema.
    let functions = "repmgr.get_local_node_id(), repmgr.get_upstream_node_id(), \
                     repmgr.get_upstream_last_seen(), repmgr.repmgrd_is_running(), \
                     repmgr.repmgrd_is_paused()";
    node.sql("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA repmgr FROM PUBLIC");
    node.sql(&format!("GRANT EXECUTE ON FUNCTION {functions} TO rolecall"));
    node.sql("GRANT USAGE ON SCHEMA repmgr TO rolecall; GRANT SELECT ON repmgr.nodes TO rolecall");
    let seen = source.observe().await.unwrap();
    assert_eq!(answer(&seen).me, Some(NodeId(1)));
    assert!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    let functions = functions.split(", ").map(|name| format!("EXECUTE ON FUNCTION {name}"));
    let others = ["USAGE ON SCHEMA repmgr", "SELECT ON repmgr.nodes"].map(str::to_owned);
    for grant in others.into_iter().chain(functions) {
        node.sql(&format!("REVOKE {grant} FROM rolecall"));
        refused(&mut source, ErrorKind::Grant, &[&grant]).await;
        node.sql(&format!("GRANT {grant} TO rolecall"));
        source.observe().await.unwrap();
    }

    // A standby's receiver hides from a role without this one.
    let standby = Node::standby(2, &node);
    let mut follower = standby.source();
    eventually(&mut follower, |seen| seen.replay.is_some_and(|replay| replay.streaming)).await;
    node.sql("REVOKE pg_read_all_stats FROM rolecall");
    let hidden = tokio::time::timeout(PATIENCE, async {
        while follower.observe().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    hidden.await.unwrap();
    refused(&mut follower, ErrorKind::Grant, &["is not granted pg_read_all_stats"]).await;

    strangers(&node).await;
}

/// The packaged role sees hosts and ports, and can pause nothing.
fn least_privilege(node: &Node) {
    let ask = |sql: &str| {
        let mut psql = node.psql("rolecall");
        psql.args(["-c", sql]).output().unwrap()
    };
    let nodes = ask("SELECT * FROM rolecall.nodes");
    let nodes = String::from_utf8(nodes.stdout).unwrap();
    assert!(nodes.contains(&format!("host={} port={PORT}", node.server.addr)), "{nodes}");
    assert!(!nodes.contains(SECRET), "{nodes}");
    for forbidden in [
        "SELECT repmgr.repmgrd_pause(true)",
        "SELECT * FROM repmgr.nodes",
        "SELECT repmgr.set_upstream_node_id(1)",
        "CREATE TABLE rolecall.t (n int)",
    ] {
        let said = ask(forbidden);
        assert!(String::from_utf8_lossy(&said.stderr).contains("permission denied"), "{said:?}");
    }
    let places = |conninfo: &str| {
        node.sql(&format!("UPDATE repmgr.nodes SET conninfo = $x${conninfo}$x$"));
        let shown = node.sql("SELECT conninfo FROM rolecall.nodes");
        assert!(!shown.contains(SECRET), "{conninfo}: {shown}");
        places(&shown).unwrap_or_else(|error| panic!("{conninfo}: {shown}: {error}"))
    };
    let before = node.sql("SELECT conninfo FROM repmgr.nodes");
    for conninfo in [
        "host=db1 port=5433 user=repmgr password=swordfish",
        "password = 'swordfish host=db9' host = 'db1' hostaddr=10.0.0.1",
        r"password='sword\' host=db9 swordfish' host=db\1,db2 port=5433,5434",
        r"password=a\ host=db9\ swordfish host=db1",
        "host=db1 passfile=/swordfish host=db2",
        "hosts=db9 port=5433",
        "postgresql://repmgr:swordfish@db1:5433,[fd00::1]/repmgr?password=swordfish&connect_timeout=2",
        "postgres://db1/repmgr?user=repmgr&host=db2&sslpassword=swordfish&port=5433",
        "postgresql://repmgr:sword?host=swordfish@db1",
        "postgresql:///repmgr?hostaddr=10.0.0.1",
        "postgresql://%64b1",
    ] {
        let whole = rolecall::config::conninfo::places(conninfo).unwrap();
        assert_eq!(places(conninfo), whole, "{conninfo}");
    }
    node.sql(&format!("UPDATE repmgr.nodes SET conninfo = $x${before}$x$"));
}

/// Servers, databases and users that are not the right ones.
async fn strangers(node: &Node) {
    let to = |rest: &str| {
        source(&settings(&format!("host={} sslmode=disable {rest}", node.server.addr)))
    };
    let mut elsewhere = to("user=postgres dbname=postgres");
    let said = [r#"database "postgres" does not have the extension repmgr"#];
    refused(&mut elsewhere, ErrorKind::NotRepmgr, &said).await;
    node.sql("CREATE DATABASE bare");
    node.server.sql("SELECT 1");
    run(node.psql("postgres").args(["-d", "bare", "-c", "CREATE EXTENSION repmgr"]));
    refused(&mut to("user=postgres dbname=bare"), ErrorKind::NoNodes, &["is empty"]).await;
    run(node.psql("postgres").args([
        "-d",
        "bare",
        "-c",
        "ALTER EXTENSION repmgr DROP FUNCTION repmgr.get_upstream_node_id(); \
         DROP FUNCTION repmgr.get_upstream_node_id()",
    ]));
    let said = ["no get_upstream_node_id: expected repmgr 4.4 or later"];
    refused(&mut to("user=postgres dbname=bare"), ErrorKind::NotRepmgr, &said).await;

    refused(&mut to("user=nobody dbname=repmgr"), ErrorKind::Denied, &["28000"]).await;
    refused(&mut to("user=postgres dbname=nowhere"), ErrorKind::Denied, &["3D000"]).await;
    let mut wrong = to(&format!("user=rolecall dbname=repmgr password={SECRET}"));
    refused(&mut wrong, ErrorKind::Denied, &["28P01"]).await;
    node.sql("ALTER ROLE rolecall CONNECTION LIMIT 0");
    refused(&mut node.source(), ErrorKind::SlotsFull, &["53300"]).await;
}

/// How long repmgr waits is read from the own node's repmgr.conf: at every look, by either way, and
/// only where the server is on this host.
#[tokio::test]
async fn repmgrs_patience_is_read_from_the_own_nodes_file() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    let mut own = node.source();
    let said = async |source: &mut Repmgr| {
        answer(&source.observe().await.unwrap()).failover_after.map(|after| after.as_secs())
    };
    assert_eq!(said(&mut own).await, Some(50), "repmgr's own defaults");
    let file = node.sql("SELECT config_file FROM repmgr.nodes WHERE node_id = 1");
    let conf = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{conf}reconnect_attempts=3\nreconnect_interval='2'\n")).unwrap();
    assert_eq!(said(&mut own).await, Some(4));
    std::fs::write(&file, "node_id=9\n").unwrap();
    assert_eq!(said(&mut own).await, None, "another node's file");
    std::fs::write(&file, conf).unwrap();

    // A view of an older rolecall has no such column.
    let view = "CREATE VIEW rolecall.nodes AS SELECT node_id, upstream_node_id, active, node_name, \
                type, location, priority, conninfo FROM repmgr.nodes; \
                GRANT SELECT ON rolecall.nodes TO rolecall";
    node.sql(&format!("DROP VIEW rolecall.nodes; {view}"));
    assert_eq!(said(&mut node.source()).await, None);
    // As packaged again, over the older one.
    node.packaged_role();
    assert_eq!(said(&mut node.source()).await, Some(50));

    let chosen = rolecall::config::Repmgr { ask_conf: false, ..node.with_password() };
    assert_eq!(said(&mut source(&chosen)).await, Some(50), "it bounds what was chosen");
    node.sql("DROP SCHEMA rolecall CASCADE");
    let by_repmgrs_own_schema = node.settings("postgres");
    assert_eq!(said(&mut source(&by_repmgrs_own_schema)).await, Some(50));
}
