//! The host's way to resolve names, of a source that is known by name.

use std::time::Duration;

use super::{HOLD, Host, is_root, unshare, within};
use crate::dns::Dns;
use crate::fixtures::{Ground, lacks_namespaces};
use crate::servers;

/// What is longer than any poll may last.
const SLOW: Duration = Duration::from_secs(3);

/// A rolecall whose Patroni is known by name, and the name server that knows it.
fn by_name(name: &'static str) -> (Host, Dns) {
    let ground = Ground::new();
    let patroni = servers::patroni(ground.addr(6, 28008));
    let dns = Dns::start(ground.addr(12, 53), ground.host(6));
    let conf = ground.write("resolv.conf", &format!("nameserver {}\n", ground.host(12)));
    let switch = ground.write("nsswitch.conf", "hosts: dns\n");
    let line = format!(
        "exec {} sh -c 'mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && \
         exec PROGRAM \"$@\"' sh \"$@\"",
        unshare(""),
        conf.display(),
        switch.display()
    );
    let url = "http://pg1.test:28008";
    let mut host = Host::with_url(name, ground, patroni, url, &line, None);
    host.rolecall.launch();
    host.is_ready();
    (host, dns)
}

/// Port 53 is root's.
fn lacks_port_53() -> bool {
    lacks_namespaces() || !is_root()
}

#[test]
fn a_resolver_that_is_slow_takes_no_healthy_node_out() {
    if lacks_port_53() {
        return;
    }
    let (host, dns) = by_name("a_resolver_that_is_slow_takes_no_healthy_node_out");
    dns.be_slow(SLOW);
    let asked = host.asked();
    asked.until(HOLD * 6);
    asked.were_ready();
    dns.be_slow(Duration::ZERO);
    host.obeys();
}

#[test]
fn a_resolver_that_knows_nobody_any_more_takes_no_healthy_node_out() {
    if lacks_port_53() {
        return;
    }
    let (host, dns) = by_name("a_resolver_that_knows_nobody_any_more_takes_no_healthy_node_out");
    dns.know_nobody();
    let asked = host.asked();
    asked.until(HOLD * 6);
    asked.were_ready();
    host.obeys();
}

#[test]
fn a_resolv_conf_that_is_gone_takes_no_healthy_node_out() {
    if lacks_port_53() {
        return;
    }
    let (host, _dns) = by_name("a_resolv_conf_that_is_gone_takes_no_healthy_node_out");
    within(&host, "mount --bind /dev/null /etc/resolv.conf");
    let asked = host.asked();
    asked.until(HOLD * 6);
    asked.were_ready();
    host.obeys();
}
