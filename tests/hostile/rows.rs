//! Rows of `repmgr.nodes` that whoever may write them has written, on a server that is healthy.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::fixtures::{Ground, Postgres, eventually, lacks_postgres, now};
use crate::sources::ATTACK;
use crate::well::{PATIENCE, Well, postgres};

/// What the packaged SQL makes of repmgr's tables, without repmgr.
const VIEW: &str = "
create role u login;
create schema rolecall;
create table rolecall.nodes (node_id int, upstream_node_id int, node_name text, type text, active bool,
  conninfo text, config_file text);
create function rolecall.repmgrd_state(out local_node_id int, out upstream_node_id int,
  out upstream_last_seen int, out running bool, out paused bool) language sql
  as $$ select 1, null::int, 0, true, false $$;
grant usage on schema rolecall to u; grant select on rolecall.nodes to u;";

/// Places of one row.
const PLACES: u32 = 3000;
/// The shipped unit's `MemoryMax`, in KiB.
const MEMORY: u64 = 128 * 1024;
/// As many authorities as an operating system trusts.
const AUTHORITIES: usize = 140;

#[test]
fn h07_a_row_that_leads_to_thousands_of_places_costs_no_more_than_another() {
    if lacks_postgres() {
        return;
    }
    let ground = Ground::new();
    let mut server = Postgres::init(&ground, "own", ground.host(7));
    server.start();
    server.execute(VIEW);
    let hosts: Vec<_> =
        (0..PLACES).map(|n| format!("127.88.{}.{}", n / 250, n % 250 + 1)).collect();
    let hosts = hosts.join(",");
    server.execute(&format!(
        "insert into rolecall.nodes values (1, null, 'db1', 'primary', true, 'host={}', ''), \
         (2, 1, 'db2', 'standby', true, 'host={hosts}', '')",
        server.addr().ip()
    ));
    let bundle = ground.write("ca.crt", &authorities());
    let with = format!("dbname=postgres sslmode=prefer sslrootcert={}", bundle.display());
    let node = postgres("own", server.addr(), &with).replace("dbname=d ", "");
    let node = node.replace("kind = \"postgres\"", "kind = \"repmgr\", node_id = 1");
    let mut well = Well::beside("H7", ground, &node);
    well.start();
    eventually(PATIENCE, "the rows are read", || match well.page("/status") {
        page if page.contains("\"node_id\": 2") => Ok(()),
        page => Err(page[page.find("\"own\"").unwrap_or(0)..].to_owned()),
    });
    let meanwhile = well.meanwhile();
    let began = now();
    std::thread::sleep(ATTACK);
    let (memory, cpu) = well.costs();
    let seconds = now().since(began).as_secs_f64();
    well.figure(&format!("{} MiB at most, {cpu} ms of CPU in {seconds:.0} s", memory / 1024));
    meanwhile.was_ready();
    assert!(memory < MEMORY / 2, "{memory} KiB");
}

/// A bundle of certificates.
fn authorities() -> String {
    let key = KeyPair::generate().unwrap();
    let one = |n: usize| {
        let mut params = CertificateParams::new(vec![format!("ca{n}.test")]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    };
    (0..AUTHORITIES).map(one).collect()
}
