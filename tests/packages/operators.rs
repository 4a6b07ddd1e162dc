//! What people and other programs of the host may say to the daemon through its sandbox.

use crate::deb::PEER;
use crate::host::Host;

/// A role in a file that is looked at twice a minute: what is seen sooner was seen by a poke.
const SELDOM: &str = r#"
[source]
kind = "command"
command = ["/bin/cat", "/var/lib/role"]
interval = "30s"
timeout = "1s"

[[service]]
name = "primary"
roles = ["primary"]
listen = "5555"

[control]
group = "dba"
"#;

const CONTROL: &str = include_str!("../../docs/control.md");

/// `EX_NOPERM` of sysexits.h.
const REFUSED: i32 = 77;

pub fn anybody_wakes_it_up(host: &Host) {
    let machine = &host.machine;
    machine.sh("echo replica >/var/lib/role");
    host.configure(&SELDOM.replace("group = \"dba\"", ""));
    for (said, role, says, hook) in [
        ("MAINT\n", "primary", "READY\n", "patroni-callback on_role_change primary demo"),
        ("READY\n", "replica", "MAINT\n", "repmgr-event 1 standby_promote 1 now promoted"),
    ] {
        // A daemon that nobody has poked for as long as it wants between two bursts.
        machine.sh("systemctl restart rolecall.service");
        host.says(said);
        let began = crate::fixtures::now();
        machine.sh(&format!(
            "echo {role} >/var/lib/role
             runuser -u postgres -- /usr/share/rolecall/hooks/{hook}"
        ));
        host.says(says);
        println!("  {says:?} {:.0?} after a hook", crate::fixtures::now().since(began));
    }
}

pub fn root_and_the_group_give_orders_that_outlive_a_restart(host: &Host) {
    let machine = &host.machine;
    let drop_in = CONTROL.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next());
    let drop_in = drop_in.expect("what a group needs, in docs/control.md");
    machine.sh(&format!(
        "echo primary >/var/lib/role && groupadd dba
         mkdir -p /run/systemd/system/rolecall.service.d
         printf '{}' >/run/systemd/system/rolecall.service.d/group.conf
         systemctl daemon-reload",
        drop_in.replace('\n', "\\n")
    ));
    host.configure(SELDOM);
    machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
    let as_postgres = "runuser -u postgres -- rolecall maint all --reason swap";
    let refused = machine.run(as_postgres);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(REFUSED), "{said}");
    assert!(said.contains("hint:"), "{said}");
    host.says("READY\n");

    machine.sh("usermod --append --groups dba postgres");
    machine.sh(as_postgres);
    host.says("MAINT\n");
    machine.sh("systemctl restart rolecall.service");
    host.says("MAINT\n");
    let status = machine.said("rolecall status");
    assert!(status.contains("swap") && status.contains("postgres"), "{status}");
    machine.sh("rolecall auto all");
    host.says("READY\n");

    host.configure(PEER);
    machine
        .sh("rm -r /run/systemd/system/rolecall.service.d /var/lib/role && systemctl daemon-reload
         systemctl restart rolecall.service && groupdel dba");
    host.says("READY\n");
}
