//! Secrets that systemd reads as root and gives to the daemon alone.

use crate::deb::PEER;
use crate::fixtures::authority::Authority;
use crate::host::Host;

/// The primary over TCP with a password that systemd brings.
const BY_PASSWORD: &str = r#"
[source]
kind = "postgres"
conninfo = "host=127.0.0.1 dbname=postgres user=watcher"
password_credential = "pgpassword"
hold = "3s"

[[service]]
name = "primary"
roles = ["primary"]
listen = "5555"
"#;

/// The same with a key, in the place that the unit gives it.
const BY_KEY: &str = r#"
[source]
kind = "postgres"
conninfo = """host=127.0.0.1 dbname=postgres user=keyed sslmode=require
    sslcert=/etc/rolecall/client.crt sslkey=/run/credentials/rolecall.service/client.key"""
hold = "3s"

[[service]]
name = "primary"
roles = ["primary"]
listen = "5555"
"#;

pub fn a_password_comes_by_a_credential(host: &Host) {
    let machine = &host.machine;
    host.configure(BY_PASSWORD);
    let with = |password: &str| {
        machine.sh(&format!(
            "umask 077 && echo {password} >/etc/credstore/rolecall.pgpassword
             systemctl restart rolecall.service"
        ));
    };
    with("wrong");
    host.says("MAINT\n");
    with("opensesame");
    host.says("READY\n");
    // `rolecall check` in a reload must find it too.
    machine.sh("systemctl reload rolecall.service");
    host.says("READY\n");
    let mode = machine.sh("stat --format '%U %a' /etc/credstore/rolecall.pgpassword");
    assert_eq!(mode, "root 600", "only systemd reads the file");
    let journal = machine.sh("journalctl --no-pager -u rolecall.service -o json");
    assert!(!journal.contains("opensesame"), "the password is in the journal");
}

pub fn a_key_comes_by_a_credential(host: &Host) {
    let machine = &host.machine;
    let authority = Authority::new();
    let share = host.ground.dir().join("share");
    std::fs::copy(authority.ca(), share.join("ca.crt")).expect("copy");
    machine.sh("runuser -u postgres -- psql -qc 'create role keyed login' \
             -c \"alter system set ssl_ca_file = '/mnt/share/ca.crt'\"
         sed -i '1i hostssl postgres keyed 127.0.0.1/32 cert' /etc/postgresql/*/main/pg_hba.conf
         systemctl reload postgresql");
    host.configure(BY_KEY);
    let with = |(certificate, key): (String, String)| {
        machine.sh(&format!(
            "cat >/etc/rolecall/client.crt <<'END'\n{certificate}\nEND
             umask 077 && cat >/etc/credstore/rolecall.client.key <<'END'\n{key}\nEND
             systemctl restart rolecall.service"
        ));
    };
    with(authority.sign("somebody"));
    host.says("MAINT\n");
    with(authority.sign("keyed"));
    host.says("READY\n");
    // systemd hides credentials from what it starts for a reload: `rolecall check` cannot see the key.
    machine.sh("systemctl reload rolecall.service");
    let said = machine.journal("-u rolecall.service");
    let mut said = said.iter().rev().filter_map(|entry| entry["MESSAGE"].as_str());
    assert!(said.any(|line| line.contains("can be read by the daemon only")), "no warning");
    host.says("READY\n");
    // As the scripts of an upgrade run it.
    machine.sh("rolecall check");
    let mode = machine.sh("stat --format '%U %a' /etc/credstore/rolecall.client.key");
    assert_eq!(mode, "root 600", "only systemd reads the file");

    host.configure(PEER);
    machine.sh("systemctl restart rolecall.service");
    host.says("READY\n");
}
