//! The keys of kind `pg_auto_failover`.

use rolecall::config::{Kind, MonitorLost, NodeKey, PasswordFrom, PgAutoFailover};

use super::{accepted, ms};

fn read(keys: &str) -> PgAutoFailover {
    let source = "[source]\nkind = \"pg_auto_failover\"\nconninfo = \"host=/run/postgresql user=u\"\n\
                  monitor = \"host=m dbname=pg_auto_failover user=r\"\n";
    let config = accepted(&format!("{source}{keys}")).config;
    let source = &config.nodes[0].sources[0];
    assert_eq!((source.hold, source.timeout), (ms(20_000), ms(1500)));
    match &source.kind {
        Kind::PgAutoFailover(keys) => keys.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let keys = read("node_name = \"db1\"\n");
    assert_eq!((keys.formation.as_str(), keys.lost), ("default", MonitorLost::Maint));
    assert_eq!(keys.node, NodeKey::Name("db1".to_owned()));
    assert_eq!(keys.monitor.conninfo.place.host.as_deref(), Some("m"));
    assert_eq!(keys.monitor.password, PasswordFrom::Nowhere);
}

#[test]
fn what_is_said_counts_and_the_monitor_has_the_same_password() {
    let keys = read(
        "node_id = 3\nformation = \"f\"\nmonitor_lost = \"standbys\"\npassfile = \"/etc/pgpass\"\n",
    );
    assert_eq!((keys.formation.as_str(), keys.lost), ("f", MonitorLost::Standbys));
    assert_eq!(keys.node, NodeKey::Id(3));
    assert_eq!(keys.monitor.password, PasswordFrom::Passfile("/etc/pgpass".into()));
    assert_eq!(keys.server.password, keys.monitor.password);
}
