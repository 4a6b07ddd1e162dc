//! The Debian package: as installed, configured, and gone.

use std::collections::BTreeSet;

use crate::host::{Host, all_ready, hear};

/// The primary by peer authentication, as README.md shows it.
pub const PEER: &str = r#"
[source]
kind = "postgres"
conninfo = "host=/run/postgresql dbname=postgres user=rolecall"
hold = "3s"

[[service]]
name = "primary"
roles = ["primary"]
listen = "5555"
"#;

/// Every path in the machine that a package could leave behind.
fn paths(host: &Host) -> BTreeSet<String> {
    let said = host.machine.sh(
        "find / -xdev \\( -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \
         -o -path /var/lib/postgresql -o -path /etc/postgresql \\) -prune -o -print
         find /run/rolecall /run/credentials/rolecall.service /tmp 2>/dev/null || true",
    );
    // The files that hold users and groups are kept beside their backups.
    let backup = |path: &&str| path.starts_with("/etc/") && path.ends_with('-');
    // Every boot has others.
    let of_this_boot =
        |path: &&str| path.contains("/systemd-private-") && !path.contains("rolecall");
    let counts = |path: &&str| !backup(path) && !of_this_boot(path);
    said.lines().filter(counts).map(str::to_owned).collect()
}

pub fn as_installed_it_says_maint_and_why_and_touches_no_database(host: &Host) {
    let machine = &host.machine;
    // Newer systemds bring it; what an operator made himself is not the package's to remove.
    machine.sh("mkdir -p /etc/credstore");
    let before = paths(host);
    machine.sh("printf '%s\\n' \"$(cat /etc/passwd /etc/group)\" >/var/log/users-before");
    std::fs::write(
        host.ground.dir().join("before"),
        before.into_iter().collect::<Vec<_>>().join("\n"),
    )
    .expect("before");

    machine.sh("systemctl stop postgresql 'postgresql@*'");
    machine.sh("dpkg -i /mnt/share/new.deb");
    host.says("MAINT\n");
    machine.sh("rolecall check");
    let why = machine.journal("-u rolecall.service ROLECALL_VERDICT=unknown");
    let why = why.first().expect("why the verdict is unknown, in the journal");
    assert_eq!(why["ROLECALL_REASON"], "refused", "{why:#}");
    let message = why["MESSAGE"].as_str().expect("a message");
    assert!(message.contains("127.0.0.1:8008"), "who refused: {message}");
    let status = machine.sh("systemctl status --no-pager rolecall.service");
    let line = status.lines().find(|line| line.trim_start().starts_with("Status:"));
    let line = line.unwrap_or_else(|| panic!("no status line in {status}"));
    assert!(line.contains("primary: unknown") && line.contains("127.0.0.1:8008"), "{line}");
    println!("  unconfigured: MAINT; {}", line.trim());

    let postgres = "systemctl is-active --quiet postgresql.service 'postgresql@*'";
    machine.sh(&format!("systemctl restart rolecall.service && ! {postgres}"));
    machine.sh("systemctl start postgresql");
    let server = || machine.sh("head -n 1 /var/lib/postgresql/*/main/postmaster.pid");
    let running = server();
    machine.sh("systemctl restart rolecall.socket rolecall.service && dpkg -i /mnt/share/new.deb");
    host.says("MAINT\n");
    assert_eq!(server(), running, "PostgreSQL was restarted");
}

pub fn the_sandbox_is_closed(host: &Host) {
    let machine = &host.machine;
    let said = machine.sh(
        "systemd-analyze security --no-pager --threshold=12 rolecall.service | grep 'Overall exposure'",
    );
    println!("  sandbox: {}", said.trim_start_matches(|c: char| !c.is_ascii_alphabetic()));
    let pid = machine.property("rolecall.service", "MainPID");
    let status = machine.sh(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    let rolecall = machine.sh("id -u rolecall");
    assert_eq!(field("Uid:"), [rolecall.as_str(); 4]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("CapBnd:"), ["0000000000000000"]);
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (vec!["1"], vec!["2"]));
    // As the daemon sees the machine.
    let inside = format!("nsenter --target {pid} --mount --");
    for place in ["/etc", "/usr", "/var", "/root", "/home"] {
        let writing = machine.run(&format!("{inside} touch {place}/rolecall-was-here"));
        assert!(!writing.status.success(), "{place} can be written to");
    }
    machine.sh(&format!("{inside} test -w /run/rolecall -a -w /var/lib/rolecall"));
    let owned = machine.sh("stat --format '%U:%G %a' /run/rolecall /var/lib/rolecall");
    assert_eq!(owned, "rolecall:rolecall 755\nrolecall:rolecall 750");
}

pub fn purge_leaves_nothing(host: &Host) {
    host.machine.sh("dpkg --purge rolecall");
    nothing_is_left(host);
}

fn nothing_is_left(host: &Host) {
    let machine = &host.machine;
    host.refuses();
    let before = std::fs::read_to_string(host.ground.dir().join("before")).expect("before");
    let before: BTreeSet<&str> = before.lines().collect();
    let after = paths(host);
    let left: Vec<_> = after.iter().filter(|path| !before.contains(path.as_str())).collect();
    assert!(left.is_empty(), "a purge has left {left:?}");
    machine.sh("printf '%s\\n' \"$(cat /etc/passwd /etc/group)\" | diff /var/log/users-before -");
    let units = machine.said("systemctl list-unit-files --no-legend 'rolecall*'");
    assert_eq!(units, "", "units are left");
    let known = machine.said("dpkg-query --show --showformat '${Status}' rolecall");
    assert!(!known.contains("config-files") && !known.contains("installed"), "{known}");
}

pub fn the_older_package_is_installed_and_configured(host: &Host) {
    let machine = &host.machine;
    machine.sh("dpkg -i /mnt/share/old.deb");
    machine.sh("runuser -u postgres -- psql -qc 'create role rolecall login' \
         -c \"create role watcher login password 'opensesame'\"");
    host.configure(PEER);
    machine.sh("systemctl reload rolecall.service");
    host.says("READY\n");
}

pub fn the_journal_has_a_change_as_fields(host: &Host) {
    let entries = host.machine.journal("-u rolecall.service ROLECALL_VERDICT=ready");
    let entry = entries.last().expect("the change to ready, in the journal");
    let expected = [
        ("ROLECALL_NODE", "local"),
        ("ROLECALL_SERVICE", "primary"),
        ("ROLECALL_ROLE", "primary"),
        ("ROLECALL_REASON", "serves"),
        ("ROLECALL_TIMELINE", "1"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "rolecall"),
    ];
    for (field, value) in expected {
        assert_eq!(entry[field], value, "{field} in {entry:#}");
    }
    println!("  journal: {}", entry["MESSAGE"]);
}

pub fn a_bad_reload_changes_nothing_and_a_good_one_is_in_force(host: &Host) {
    let machine = &host.machine;
    let answers = host.checker();
    let pid = machine.property("rolecall.service", "MainPID");
    host.configure(&PEER.replace("roles =", "rolls ="));
    let reload = machine.run("systemctl reload rolecall.service");
    assert!(!reload.status.success(), "a reload to a bad configuration succeeds");
    let said =
        machine.sh("journalctl --sync && journalctl -u rolecall.service --no-pager -n 20 -o cat");
    assert!(said.contains("rolls") && said.contains("hint:"), "{said}");
    assert_eq!(machine.property("rolecall.service", "ActiveState"), "active");
    hear(&answers, 50);

    host.configure(&format!("{PEER}\n[log]\nlevel = \"debug\"\n"));
    machine.sh("systemctl reload rolecall.service");
    hear(&answers, 50);
    host.configure(PEER);
    machine.sh("systemctl reload rolecall.service");
    hear(&answers, 50);
    assert_eq!(machine.property("rolecall.service", "MainPID"), pid, "it was restarted");
    let (asked, slowest) = all_ready(&answers.stop());
    println!("  a bad and two good reloads: {asked} answers, all READY, slowest {slowest:.0?}");
}

pub fn the_socket_starts_the_service(host: &Host) {
    let machine = &host.machine;
    machine.sh("systemctl stop rolecall.service");
    assert_eq!(machine.property("rolecall.service", "ActiveState"), "inactive");
    host.says("READY\n");
    assert_eq!(machine.property("rolecall.service", "ActiveState"), "active");
}

pub fn removed_it_keeps_what_was_said_to_it_and_purged_it_leaves_nothing(host: &Host) {
    let machine = &host.machine;
    host.configure(&format!("{PEER}\n[control]\n"));
    machine.sh("systemctl restart rolecall.service && rolecall maint all --reason kept");
    machine.sh("dpkg --remove rolecall");
    host.refuses();
    machine.sh("test ! -e /usr/bin/rolecall -a -s /etc/rolecall/rolecall.toml");
    machine.sh("dpkg -i /mnt/share/new.deb");
    host.says("MAINT\n");
    let status = machine.said("rolecall status");
    assert!(status.contains("kept"), "the order is gone: {status}");
    machine.sh("rolecall auto all");
    host.says("READY\n");

    machine.sh("rolecall maint all --for 1h && grep -q maint /var/lib/rolecall/orders.json
         echo secret >/etc/rolecall/pgpass && test -s /etc/credstore/rolecall.pgpassword");
    machine.sh("dpkg --purge rolecall");
    nothing_is_left(host);
}
