//! A certificate of the server that ends while rolecall asks it.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::links::held_then_maint;
use super::{HOLD, Host, LONG};
use crate::fixtures::authority::Authority;
use crate::fixtures::{Ground, Postgres, lacks_postgres, now};
use crate::well::PATIENCE;

/// The first certificate ends after so many seconds: by then everything has started.
const ENDS_AFTER: u64 = 12;

/// Gives the server this certificate and key, as the user that it runs as may read them.
fn put(ground: &Ground, server: &Postgres, (certificate, key): &(String, String)) {
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let path = server.data().join(name);
        write(&path, text).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = ground.user() {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }
}

#[test]
fn a_certificate_that_ends_takes_the_node_out_until_there_is_another() {
    if lacks_postgres() {
        return;
    }
    let name = "a_certificate_that_ends_takes_the_node_out_until_there_is_another";
    let (ground, authority) = (Ground::new(), Authority::new());
    let mut server = Postgres::init(&ground, "own", ground.host(7));
    let second = u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap() + ENDS_AFTER;
    let ends = now().plus(Duration::from_secs(ENDS_AFTER));
    put(&ground, &server, &authority.sign_until_second("db1.test", second));
    server.start();
    server.execute("alter system set ssl = on");
    server.execute("select pg_reload_conf()");
    let source = format!(
        "kind = \"postgres\"\nconninfo = \"host={} port={} user=postgres dbname=postgres sslmode=verify-ca \
         sslrootcert={}\"",
        server.addr().ip(),
        server.addr().port(),
        authority.ca().display()
    );
    let line = "exec PROGRAM \"$@\"";
    let mut host = Host::with_source(name, ground, None, &source, line, None);
    host.rolecall.launch();
    host.is_ready();
    let asked = host.asked();
    host.says("MAINT");
    host.rolecall.wait_log(PATIENCE, &["poll failed", "expired"]);
    asked.until(LONG);
    put(&host.ground, &server, &authority.sign("db1.test"));
    server.execute("select pg_reload_conf()");
    let other = now();
    host.is_ready();
    asked.until(HOLD);
    asked.were(held_then_maint(ends, other));
    host.obeys();
}
