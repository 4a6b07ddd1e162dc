//! Rows of `repmgr.nodes` that nobody can follow to their servers, and a `failover_after` that repmgr.conf
//! does not bear out: what the look, `ask` and `check` make of them.

use std::fs;
use std::process::Command;

use rolecall::look::repmgr::NodeId;
use rolecall::source::RoleSource;
use rolecall::watch::watched::others;

use super::answer;
use super::cluster::{Node, PASSWORD};
use crate::fixtures::lacks_repmgr;
use crate::server::PORT;

/// Connection strings that lead whoever reads them to his own host, or to none.
const NOWHERE: [&str; 7] = [
    "service=beta",
    "user=u dbname=d",
    "port=5433",
    "host=/run/postgresql port=5433",
    "host=db2,/run/postgresql",
    "",
    "postgresql:///repmgr",
];

/// What rolecall prints of the node, and its exit code.
fn rolecall(node: &Node, keys: &str, command: &str) -> (Option<i32>, String) {
    let at = node.server.addr;
    let conf = format!(
        "[source]\nkind = \"repmgr\"\nnode_id = 1\n{keys}conninfo = \"host={at} port={PORT} dbname=repmgr \
         user=rolecall password={PASSWORD} sslmode=disable\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{at}:5555\"\n"
    );
    let conf = node.server.put_secret("rolecall.toml", &conf);
    let mut rolecall = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    let output = rolecall.arg("--config").arg(conf).arg(command).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_row_that_leads_nowhere_is_no_evidence_and_still_counts() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    // Inactive: only a refusal of its own server would take it out of the count.
    node.sql(
        "INSERT INTO repmgr.nodes (node_id, node_name, type, active, conninfo, repluser, config_file) \
         VALUES (2, 'db2', 'standby', false, '', 'r', '')",
    );
    for conninfo in NOWHERE {
        node.sql(&format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = 2"));
        let seen = node.source().observe().await.unwrap();
        assert_eq!(answer(&seen).table.len(), 2, "{conninfo:?}");
        assert_eq!(
            others(&seen, false),
            Vec::<&rolecall::look::repmgr::Row>::new(),
            "{conninfo:?}"
        );

        let (_, said) = rolecall(&node, "", "ask");
        for part in [
            "node 2 db2 (registered as standby, inactive): not polled: its row in repmgr.nodes has no address",
            "1 of 2 nodes vote for this node",
            "service primary: unknown, no majority: 1 of 2 nodes vote for this one",
        ] {
            assert!(said.contains(part), "{conninfo:?}: {said}");
        }
    }
    // Where the own row names another host than whoever reads it, localhost is no other node's.
    let rows = |own: &str, other: &str| {
        for (id, conninfo) in [(1, own), (2, other)] {
            node.sql(&format!(
                "UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = {id}"
            ));
        }
    };
    for (own, followed) in [("host=db1", false), ("host=127.0.0.1", true)] {
        rows(own, "host=localhost port=5433");
        let seen = node.source().observe().await.unwrap();
        assert_eq!(others(&seen, false).len(), usize::from(followed), "{own}");
    }
    // A port that is missing is the usual one, and an address alone leads to its server.
    for conninfo in ["host=10.9.8.7", "hostaddr=10.9.8.7"] {
        node.sql(&format!("UPDATE repmgr.nodes SET conninfo = '{conninfo}' WHERE node_id = 2"));
        let seen = node.source().observe().await.unwrap();
        let followed = others(&seen, false);
        assert_eq!(followed.len(), 1, "{conninfo:?}");
        assert_eq!((followed[0].id, followed[0].places[0].port), (NodeId(2), 5432));
    }
}

/// Who wrote attempts x interval into `failover_after` is told by `check` and by `ask`.
#[test]
fn a_failover_after_that_repmgr_does_not_bear_out_is_told() {
    if lacks_repmgr() {
        return;
    }
    let node = Node::primary();
    node.packaged_role();
    node.told(1);
    let file = node.sql("SELECT config_file FROM repmgr.nodes WHERE node_id = 1");
    let conf = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{conf}reconnect_attempts=3\nreconnect_interval=10\n")).unwrap();
    for command in ["check", "ask"] {
        let (_, said) = rolecall(&node, "failover_after = \"30s\"\n", command);
        for part in [
            "`failover_after` is 30 s",
            "repmgr waits only 20 s",
            "kept for at most 15 s",
            "(reconnect_attempts - 1)",
        ] {
            assert!(said.contains(part), "{command}: {said}");
        }
        for keys in ["failover_after = \"20s\"\n", "failover_after = \"12s\"\n", ""] {
            let (_, said) = rolecall(&node, keys, command);
            assert!(!said.contains("`failover_after` is"), "{command} {keys}: {said}");
        }
    }
    let (code, _) = rolecall(&node, "failover_after = \"30s\"\n", "check");
    assert_eq!(code, Some(0), "it is a warning: the shorter one counts");
}
