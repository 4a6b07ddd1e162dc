//! A repmgr cluster of three that one PostgreSQL plays: at each address it says what that node would say.
//!
//! The functions that a poll asks are replaced for rolecall's user by those of a schema that stands before
//! `pg_catalog`. Nothing of it is repmgr's.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::fixtures::{Ground, PG_PORT, Postgres};

/// db1, db2 and the witness live at these hosts of the ground.
const HOSTS: [u8; 3] = [1, 2, 3];

const FAKE: &str = "
create role u login;
create schema rolecall; create schema fake;
grant usage on schema rolecall, fake to u;
alter role u set search_path = fake, pg_catalog;
create table fake.node (host inet primary key, id int, recovery bool, upstream int);
create table fake.row (host inet, node_id int, upstream_node_id int, node_name text, type text, active bool,
  conninfo text, config_file text);
grant select on fake.node, fake.row to u;
create view rolecall.nodes as select node_id, upstream_node_id, node_name, type, active, conninfo, config_file
  from fake.row where host = inet_server_addr();
grant select on rolecall.nodes to u;
create function rolecall.repmgrd_state(out local_node_id int, out upstream_node_id int,
  out upstream_last_seen int, out running bool, out paused bool) language sql
  as $$ select id, upstream, case when upstream is null then -1 else 0 end, true, false
        from fake.node where host = inet_server_addr() $$;
create function fake.pg_is_in_recovery() returns bool language sql
  as $$ select recovery from fake.node where host = inet_server_addr() $$;
create function fake.pg_is_wal_replay_paused() returns bool language sql as $$ select false $$;
create view fake.pg_stat_wal_receiver as select 1 as pid, 'streaming' as status, 1 as received_tli,
  '0/0'::pg_lsn as latest_end_lsn, host(up.host) as sender_host, PORT as sender_port,
  clock_timestamp() as last_msg_receipt_time
  from fake.node me join fake.node up on up.id = me.upstream
  where me.host = inet_server_addr() and me.recovery;
grant select on fake.pg_stat_wal_receiver to u;
";

/// The server that plays all nodes.
pub struct Cluster {
    _ground: Ground,
    server: Postgres,
    hosts: [Ipv4Addr; 3],
}

impl Cluster {
    /// A cluster that is well: db1 is the primary, and the others follow it.
    pub fn start() -> Self {
        let ground = Ground::new();
        let hosts = HOSTS.map(|host| ground.host(host));
        let mut server = Postgres::init(&ground, "nodes", hosts[0]);
        let file = server.data().join("postgresql.conf");
        let config = std::fs::read_to_string(&file).expect("postgresql.conf");
        let all = hosts.map(|host| host.to_string()).join(",");
        std::fs::write(&file, format!("{config}\nlisten_addresses = '{all}'\n"))
            .expect("postgresql.conf");
        server.start();
        server.execute(&FAKE.replace("PORT", &PG_PORT.to_string()));
        let cluster = Self { _ground: ground, server, hosts };
        let [db1, db2, witness] = hosts;
        cluster.server.execute(&format!(
            "insert into fake.node values ('{db1}', 1, false, null), ('{db2}', 2, true, 1), ('{witness}', 3, false, 1)"
        ));
        for host in hosts {
            cluster.table(host, [("primary", true), ("standby", true), ("witness", true)]);
        }
        cluster
    }

    /// How rolecall reaches db1.
    pub fn conninfo(&self) -> String {
        format!("host={} port={PG_PORT} dbname=postgres user=u", self.hosts[0])
    }

    /// What one node's own table says of the three.
    fn table(&self, host: Ipv4Addr, rows: [(&str, bool); 3]) {
        let mut sql = format!("delete from fake.row where host = '{host}';");
        for (id, (at, (kind, active))) in (1..).zip(self.hosts.iter().zip(rows)) {
            let name = if id == 3 { "witness".to_owned() } else { format!("db{id}") };
            // Writing to a string cannot fail.
            _ = write!(
                sql,
                "insert into fake.row values ('{host}', {id}, null, '{name}', '{kind}', {active}, \
                 'host={at} port={PG_PORT}', '');"
            );
        }
        self.server.execute(&sql);
    }

    /// db2 was promoted, and the witness follows it; db1 was started again and knows nothing of it.
    pub fn splits(&self) {
        let [_, db2, witness] = self.hosts;
        for host in [db2, witness] {
            self.table(host, [("primary", false), ("primary", true), ("witness", true)]);
        }
        self.server.execute(&format!(
            "update fake.node set recovery = false, upstream = null where host = '{db2}'; \
             update fake.node set upstream = 2 where host = '{witness}'"
        ));
    }
}
