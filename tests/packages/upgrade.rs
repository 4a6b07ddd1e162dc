//! Upgrades of the Debian package under a checker and an open session.

use crate::deb::PEER;
use crate::host::{Host, all_ready, hear, timed};

/// Upgrades in quick succession, as a configuration manager that retries makes them.
const AGAIN: usize = 4;
/// Answers that are awaited after each.
const ANSWERS: usize = 100;

fn version(host: &Host) -> String {
    host.machine.sh("dpkg-query --show --showformat '${Version}' rolecall")
}

fn configuration(host: &Host) -> String {
    host.machine.sh("cat /etc/rolecall/rolecall.toml")
}

pub fn an_upgrade_is_invisible(host: &Host) {
    let machine = &host.machine;
    assert_eq!(version(host), "0.0.1-1");
    let (configured, before) = (configuration(host), machine.daemon());
    // As a record of a repmgr primary's yes, and as an operator's order.
    let kept = "/run/rolecall/kept /var/lib/rolecall/kept";
    machine.sh(&format!("touch {kept}"));
    let clients = host.clients();
    let answers = host.checker();
    hear(&answers, ANSWERS);
    let took = timed(|| {
        // What an operator changed is kept: so apt is told where nobody can be asked.
        machine.sh("dpkg --force-confold -i /mnt/share/new.deb");
    });
    hear(&answers, ANSWERS);
    assert_ne!(version(host), "0.0.1-1");
    assert_ne!(machine.daemon(), before, "the daemon of the older package runs on");
    assert_eq!(configuration(host), configured, "the configuration was not kept");
    for _ in 0..AGAIN {
        machine.sh("dpkg -i /mnt/share/new.deb");
        hear(&answers, ANSWERS);
    }
    let (asked, slowest) = all_ready(&answers.stop());
    let beats = clients.noticed_nothing();
    machine.sh(&format!("ls {kept} && rm {kept}"));
    println!(
        "  an upgrade ({took:.1?}) and {AGAIN} reinstallations: {asked} answers, all READY, slowest \
         {slowest:.0?}; the session lives, {beats} beats"
    );
}

pub fn a_configuration_that_is_refused_leaves_the_old_daemon(host: &Host) {
    let machine = &host.machine;
    host.configure(&PEER.replace("roles =", "rolls ="));
    let (before, answers) = (machine.daemon(), host.checker());
    let said = machine.sh("dpkg -i /mnt/share/new.deb 2>&1");
    assert!(said.contains("is not restarted") && said.contains("rolls"), "{said}");
    hear(&answers, ANSWERS);
    assert_eq!(
        machine.daemon(),
        before,
        "the daemon was restarted into a configuration it refuses"
    );
    all_ready(&answers.stop());
    host.configure(PEER);
    machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
}

pub fn disabled_stays_disabled(host: &Host) {
    let machine = &host.machine;
    let units = "rolecall.socket rolecall.service";
    machine.sh(&format!("systemctl disable --now {units}"));
    host.refuses();
    machine.sh("dpkg -i /mnt/share/new.deb");
    // What an upgrade would start, it starts before it ends.
    host.refuses();
    let states =
        machine.said(&format!("systemctl is-enabled {units}; systemctl is-active {units}"));
    assert_eq!(states, "disabled\ndisabled\ninactive\ninactive");
    machine.sh(&format!("systemctl enable --now {units}"));
    host.says("READY\n");
}
