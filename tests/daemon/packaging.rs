//! What can be known of the packages without building them: units that are valid and as closed as they
//! are meant to be, scripts that leave the socket and every database alone. The rest is
//! `make test-packaging`.

use std::path::Path;
use std::process::Command;

use crate::fixtures::ground::Ground;
use crate::fixtures::programs;

/// `systemd-analyze security`'s exposure times ten; what is left is the network it needs.
const MOST_EXPOSED: &str = "12";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(root().join("packaging/systemd").join(name)).unwrap()
}

/// The value of a key of the service.
fn service(key: &str) -> Option<String> {
    let unit = unit("rolecall.service");
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    unit.lines().find_map(value)
}

/// The scripts that dpkg and rpm run, by their path.
fn scripts() -> Vec<(String, String)> {
    let names = ["debian/postinst", "debian/postrm", "rpm/post", "rpm/preun", "rpm/postun"];
    let text = |name: &str| std::fs::read_to_string(root().join("packaging").join(name)).unwrap();
    names.into_iter().map(|name| (name.to_owned(), text(name))).collect()
}

fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze").args(arguments).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn the_units_are_valid_and_closed() {
    let ground = Ground::new();
    // Where the program is installed is the package's business; the syntax is ours.
    let service =
        unit("rolecall.service").replace("/usr/bin/rolecall", env!("CARGO_BIN_EXE_rolecall"));
    let service = ground.write("rolecall.service", &service);
    let socket = ground.write("rolecall.socket", &unit("rolecall.socket"));
    let (service, socket) = (service.to_str().unwrap(), socket.to_str().unwrap());

    let Some((valid, said)) = analyze(&["verify", "--man=no", service, socket]) else {
        return programs::missing("systemd-analyze");
    };
    // Keys that only a newer systemd knows are named and ignored by an older one.
    let known =
        |line: &&str| !line.contains("RestartSteps") && !line.contains("RestartMaxDelaySec");
    let complaints: Vec<_> =
        said.lines().filter(|l| l.contains("rolecall")).filter(known).collect();
    assert!(valid && complaints.is_empty(), "{said}");

    let threshold = format!("--threshold={MOST_EXPOSED}");
    let (closed, said) =
        analyze(&["security", "--offline=yes", &threshold, service]).expect("it ran above");
    assert!(closed, "{said}");
}

#[test]
fn the_service_follows_the_databases_and_starts_none() {
    let after = service("After").unwrap();
    assert!(after.contains("patroni.service") && after.contains("postgresql.service"), "{after}");
    for pulls in ["Wants", "BindsTo", "PartOf", "Upholds", "Conflicts"] {
        assert_eq!(service(pulls), None, "{pulls}=");
    }
    assert_eq!(service("Requires").as_deref(), Some("rolecall.socket"));
    for (name, script) in scripts() {
        for database in ["postgresql", "patroni", "repmgr", "pg_ctl"] {
            assert!(!script.contains(database), "{name} names {database}");
        }
    }
}

#[test]
fn a_dead_daemon_is_started_again_for_ever_and_before_a_check_of_haproxy_fails() {
    assert_eq!(service("Restart").as_deref(), Some("always"));
    for name in ["rolecall.service", "rolecall.socket"] {
        assert!(unit(name).contains("\nStartLimitIntervalSec=0\n"), "{name}");
    }
    let ms = |text: &str| text.strip_suffix("ms").unwrap().parse::<u32>().unwrap();
    let cfg = std::fs::read_to_string(root().join("haproxy/haproxy.cfg")).unwrap();
    let patience = cfg.lines().find_map(|line| line.trim().strip_prefix("timeout check")).unwrap();
    // A start takes less than 200 ms where the host is not busy.
    let longest = ms(&service("RestartMaxDelaySec").unwrap()) + 200;
    assert!(longest < ms(patience.trim()), "{longest} ms, and HAProxy waits {patience}");
    assert!(ms(&service("RestartSec").unwrap()) <= longest);
}

#[test]
fn a_reload_checks_first() {
    let unit = unit("rolecall.service");
    let reload: Vec<_> = unit.lines().filter_map(|l| l.strip_prefix("ExecReload=")).collect();
    assert_eq!(reload, ["/usr/bin/rolecall check", "/bin/kill -HUP $MAINPID"]);
}

#[test]
fn the_runtime_directory_outlives_a_restart() {
    assert_eq!(service("RuntimeDirectory").as_deref(), Some("rolecall"));
    assert_eq!(service("RuntimeDirectoryPreserve").as_deref(), Some("restart"));
    assert_eq!(service("StateDirectory").as_deref(), Some("rolecall"));
}

#[test]
fn the_socket_unit_listens_where_the_default_configuration_does() {
    assert!(unit("rolecall.socket").contains("\nListenStream=5555\n"));
}

#[test]
fn the_scripts_are_valid_and_restart_no_socket() {
    let ground = Ground::new();
    for (name, script) in scripts() {
        let file = ground.write("script", &script);
        let output = Command::new("sh").arg("-n").arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let restarts = line.contains("restart") && line.contains(".socket");
            assert!(!restarts, "{name} closes the port: {line}");
        }
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let units = manifest.lines().find(|line| line.starts_with("systemd-units = ")).unwrap();
    for left_to_the_script in [
        "enable = true",
        "start = false",
        "restart-after-upgrade = false",
        "stop-on-upgrade = false",
    ] {
        assert!(units.contains(left_to_the_script), "{units}");
    }
}

#[test]
fn the_user_and_its_directory_are_made() {
    let ground = Ground::new();
    let tree = ground.dir().join("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    let make = |program: &str, file: &str| {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", tree.display()));
        if program == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let file = root().join("packaging/systemd").join(file);
        let text = std::fs::read_to_string(file).unwrap();
        let copy = tree.join("etc").join(program);
        std::fs::write(&copy, text).unwrap();
        let output = command.arg(&copy).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}: {said}");
        Some(())
    };
    if make("systemd-sysusers", "rolecall.sysusers").is_none() {
        return programs::missing("systemd-sysusers");
    }
    let passwd = std::fs::read_to_string(tree.join("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("rolecall:")).expect("the user");
    assert!(user.ends_with(":/usr/sbin/nologin") || user.ends_with(":/bin/false"), "{user}");
    // Only root may give a directory away.
    if rustix::process::geteuid().is_root() {
        make("systemd-tmpfiles", "rolecall.tmpfiles").expect("it comes with systemd-sysusers");
        assert!(tree.join("var/lib/rolecall").is_dir());
    }
}

#[test]
fn every_override_of_lintian_says_why() {
    let overrides = root().join("packaging/debian/lintian-overrides");
    let text = std::fs::read_to_string(overrides).unwrap();
    let mut explained = false;
    for line in text.lines() {
        assert!(line.starts_with('#') || explained, "no comment stands above `{line}`");
        explained = line.starts_with('#');
    }
}
