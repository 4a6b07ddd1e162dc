//! Orders: the real program's socket, file and commands. What they do to a verdict: `tests/unit/order_rule.rs`.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use crate::fixtures::{AGENT_PORT, Ground, Heard, Rolecall, ask, eventually, lacks, now};
use rolecall::look::stamp::Stamp;
use rolecall::verdict::order::{self, Order, Target};
use rolecall::verdict::state::Wish;
use serde_json::Value;

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

fn said(line: &str) -> Heard {
    Heard::Said(line.to_owned())
}

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

/// A daemon with a control socket, and the words that ask it.
struct Stage {
    ground: Ground,
    rolecall: Rolecall,
}

impl Stage {
    fn new(role: &str, control: &str) -> Self {
        let ground = Ground::new();
        let word = ground.write("role", role);
        let (primary, replica) = (ground.addr(1, AGENT_PORT), ground.addr(2, AGENT_PORT));
        let dir = ground.dir().display().to_string();
        let config = format!(
            "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n{control}\n\
             [source]\nkind = \"command\"\ncommand = [\"/bin/cat\", \"{}\"]\ninterval = \"100ms\"\n\
             hold = \"0s\"\n\
             [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{primary}\"\n\
             [[service]]\nname = \"replica\"\nroles = [\"replica\"]\nlisten = \"{replica}\"\n\
             reply = \"full\"\n",
            word.display()
        );
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
        rolecall.start();
        Self { ground, rolecall }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ground.dir().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(self.path("rolecall.toml")).args(arguments);
        command.output().unwrap()
    }

    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn becomes(&self, host: u8, line: &str) {
        eventually(PATIENCE, line, || {
            let heard = ask(self.ground.addr(host, AGENT_PORT), PATIENCE).heard;
            match &heard {
                Heard::Said(said) if said.starts_with(line) => Ok(()),
                _ => Err(heard),
            }
        });
    }

    fn status(&self) -> (i32, Value) {
        let output = self.command(&["status", "--json"]);
        let status = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), status)
    }
}

#[test]
fn an_order_stands_over_a_restart_shows_everywhere_and_ends() {
    let mut stage = Stage::new("primary", "");
    stage.becomes(1, "READY\n");
    stage.becomes(2, "maint up #is primary");
    assert_eq!(stage.status().0, 0, "all is well, and both were asked");
    let said = stage.says(&["maint", "all", "--reason", "disk swap"]);
    assert!(said.contains("maint all until it is removed with `rolecall auto all`"), "{said}");
    stage.becomes(1, "MAINT\n");
    stage.becomes(2, "maint up #ordered maint by ");
    let (code, status) = stage.status();
    let order = &status["nodes"][0]["services"][0]["order"];
    assert_eq!((code, &order["order"], &order["why"]), (1, &"maint".into(), &"disk swap".into()));
    let table = String::from_utf8(stage.command(&["status"]).stdout).unwrap();
    assert!(table.contains("order: maint all, given by ") && !table.contains('\u{1b}'), "{table}");
    stage.rolecall.wait_log(PATIENCE, &["order given by", "maint all"]);
    stage.rolecall.wait_log(PATIENCE, &["verdict changed", "ordered maint", "disk swap"]);

    stage.rolecall.restart();
    stage.becomes(1, "MAINT\n");
    stage.rolecall.kill9();
    stage.rolecall.start();
    stage.becomes(1, "MAINT\n");
    // A narrower order counts more; taken back, the wider one is there again.
    stage.says(&["drain", "primary/local"]);
    stage.becomes(1, "DRAIN\n");
    stage.says(&["auto", "primary/local"]);
    stage.becomes(1, "MAINT\n");
    assert!(stage.refuses(&["auto", "primary"]).contains("there are orders for all"));
    stage.says(&["auto", "all"]);
    stage.becomes(1, "READY\n");
    // By itself, though nobody asks.
    stage.says(&["maint", "primary", "--for", "1s"]);
    stage.rolecall.wait_log(PATIENCE, &["order expired", "maint primary"]);
    stage.becomes(1, "READY\n");
    assert!(!stage.rolecall.log().contains("panicked"));
}

#[test]
fn ready_is_bounded_dropped_at_a_no_and_never_for_a_primary_without_force() {
    let stage = Stage::new("nonsense", "");
    stage.becomes(1, "MAINT\n");
    assert!(stage.refuses(&["ready", "replica"]).contains("--for 10m"));
    assert!(stage.refuses(&["ready", "replica", "--for", "25h"]).contains("24 hours"));
    assert!(stage.refuses(&["ready", "primary", "--for", "1m"]).contains("--force"));
    assert!(stage.refuses(&["ready", "all", "--for", "1m"]).contains("--force"));
    assert!(stage.refuses(&["ready", "local", "--for", "1m"]).contains("--force"));
    assert!(stage.refuses(&["maint", "loca"]).contains("a node (local)"));
    std::fs::write(stage.path("role"), "primary").unwrap();
    stage.becomes(1, "READY\n");
    let at_once = stage.refuses(&["ready", "replica", "--for", "1m"]);
    assert!(
        at_once.contains("service replica of node local is not ready: is primary"),
        "{at_once}"
    );
    std::fs::write(stage.path("role"), "nonsense").unwrap();
    stage.becomes(1, "MAINT\n");
    assert_eq!(stage.status().0, 2, "nothing is known");
    stage.says(&["ready", "replica", "--for", "10m", "--reason", "monitoring is down"]);
    stage.becomes(2, "up ready\n");
    stage.becomes(1, "MAINT\n");
    // It is a primary now: a definite no for the replicas' service ends the order for good.
    std::fs::write(stage.path("role"), "primary").unwrap();
    stage.becomes(1, "READY\n");
    stage.becomes(2, "maint up #is primary");
    stage.rolecall.wait_log(PATIENCE, &["WARN", "the order `ready` for replica is removed"]);
    std::fs::write(stage.path("role"), "nonsense").unwrap();
    stage.becomes(1, "MAINT\n");
    stage.becomes(2, "maint up #");
    // Force speaks against everything, and who did it is warned of.
    std::fs::write(stage.path("role"), "replica").unwrap();
    stage.becomes(2, "up ready\n");
    stage.becomes(1, "MAINT\n");
    stage.says(&["ready", "primary", "--for", "10m", "--force"]);
    stage.becomes(1, "READY\n");
    stage.rolecall.wait_log(PATIENCE, &["WARN", "order given by", "by force"]);
}

/// The no must act before any disk does, so a kill can come between it and the file.
#[test]
fn a_ready_that_a_no_ended_does_not_come_back_by_a_kill() {
    let mut stage = Stage::new("nonsense", "");
    let role = |stage: &Stage, word: &str| std::fs::write(stage.path("role"), word).unwrap();
    let order = ["ready", "replica", "--for", "10m"];
    stage.becomes(2, "maint up #");
    stage.says(&order);
    stage.becomes(2, "up ready\n");
    // The daemon ended by itself: no no can have come, and it speaks from the first answer on.
    stage.rolecall.restart();
    assert_eq!(ask(stage.ground.addr(2, AGENT_PORT), PATIENCE).heard, said("up ready\n"));

    role(&stage, "primary");
    stage.becomes(2, "maint up #is primary");
    stage.rolecall.kill9();
    role(&stage, "nonsense");
    stage.rolecall.start();
    let heard = ask(stage.ground.addr(2, AGENT_PORT), PATIENCE).heard;
    assert!(matches!(&heard, Heard::Said(line) if line.starts_with("maint up #")), "{heard:?}");

    // Killed without a no before: nobody knows that, so it waits, and says so, until a look shows the
    // node fit.
    _ = stage.command(&["auto", "replica"]);
    stage.says(&order);
    stage.becomes(2, "up ready\n");
    stage.rolecall.kill9();
    stage.rolecall.start();
    let heard = ask(stage.ground.addr(2, AGENT_PORT), PATIENCE).heard;
    assert!(matches!(&heard, Heard::Said(line) if line.starts_with("maint up #")), "{heard:?}");
    assert_eq!(stage.status().1["nodes"][0]["services"][1]["order"]["waits"], true);
    let table = String::from_utf8(stage.command(&["status"]).stdout).unwrap();
    assert!(table.contains("suspended until a poll shows that the node is fit"), "{table}");
    role(&stage, "replica");
    stage.becomes(2, "up ready\n");
    stage.rolecall.wait_log(PATIENCE, &["the order `ready` for replica is in effect again"]);
    role(&stage, "nonsense");
    stage.becomes(1, "MAINT\n");
    eventually(PATIENCE, "READY by the order", || match stage.status().1 {
        status if status["nodes"][0]["services"][1]["reason"] == "ordered_ready" => Ok(()),
        status => Err(status),
    });
    assert_eq!(ask(stage.ground.addr(2, AGENT_PORT), PATIENCE).heard, said("up ready\n"));
}

#[test]
fn every_order_that_stands_shows_and_can_be_taken_back() {
    let stage = Stage::new("primary", "");
    stage.becomes(1, "READY\n");
    let note = stage.says(&["drain", "all"]);
    assert!(note.contains("note: this drains a primary (local), so every new"), "{note}");
    // Of two that are about everything there is only the narrower counts.
    assert_eq!(
        stage.says(&["maint", "local"]),
        "maint local until it is removed with `rolecall auto local`\n"
    );
    let table = String::from_utf8(stage.command(&["status"]).stdout).unwrap();
    let lines = |word: &str| table.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("order: maint local"), 1, "{table}");
    assert_eq!(lines("order: drain all"), 1, "{table}");
    assert_eq!(lines("not in effect"), 1, "{table}");
    stage.says(&["auto", "local"]);
    stage.becomes(1, "DRAIN\n");
    stage.says(&["auto", "all"]);

    // One whose service has gone from the configuration.
    stage.says(&["maint", "replica"]);
    let config = std::fs::read_to_string(stage.path("rolecall.toml")).unwrap();
    stage.rolecall.write_config(&config.replace("name = \"replica\"", "name = \"reads\""));
    stage.rolecall.reload();
    let (code, status) = stage.status();
    assert_eq!(status["nodes"][0]["services"][1]["service"], "reads");
    assert_eq!(status["orders"][0]["target"], "replica", "{status}");
    assert_eq!(code, 1);
    assert!(stage.refuses(&["drain", "replica"]).contains("is not a known target"));
    stage.says(&["auto", "replica"]);
    assert_eq!(stage.status().1["orders"], serde_json::json!([]));
}

#[test]
fn an_order_that_cannot_be_written_down_is_refused() {
    let stage = Stage::new("primary", "");
    stage.becomes(1, "READY\n");
    let in_the_way = stage.path("orders.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let output = stage.command(&["maint", "all"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{err}");
    assert!(err.contains("nothing was changed") && err.contains("hint:"), "{err}");
    assert_eq!(ask(stage.ground.addr(1, AGENT_PORT), PATIENCE).heard, said("READY\n"));
    std::fs::remove_dir(&in_the_way).unwrap();
    stage.says(&["maint", "all", "--for", "1s"]);
    stage.becomes(1, "MAINT\n");
    // It ends in time all the same, which is said once, and is out of the file once that can be written.
    std::fs::create_dir(&in_the_way).unwrap();
    stage.becomes(1, "READY\n");
    stage.rolecall.wait_log(PATIENCE, &["ERROR", "cannot be removed from the order file"]);
    std::fs::remove_dir(in_the_way).unwrap();
    stage.rolecall.wait_log(PATIENCE, &["order expired: maint all"]);
    assert_eq!(stage.rolecall.log().matches("cannot be removed").count(), 1);
}

#[test]
fn strangers_are_refused_and_nobody_holds_the_socket() {
    let stage = Stage::new("primary", "mode = \"0666\"");
    let socket = stage.path("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    // One who says nothing, one who speaks something else: neither is told READY, and others go on.
    let silent = UnixStream::connect(&socket).unwrap();
    let mut garbage = UnixStream::connect(&socket).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut said = String::new();
    garbage.read_to_string(&mut said).unwrap();
    assert!(said.contains("error") && !said.contains("READY"), "{said}");
    // One who never ends his line, and one whose time is up.
    let mut long = UnixStream::connect(&socket).unwrap();
    long.write_all(&[b'x'; 4097]).unwrap();
    for mut stream in [long, silent] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.contains("rolecall cannot read the question"), "{said}");
    }
    stage
        .rolecall
        .wait_log(PATIENCE, &["sent something to the control socket that is not a question"]);
    // What was meant until a moment that is over is not done.
    let mut late = UnixStream::connect(&socket).unwrap();
    let order = "{\"command\":\"order\",\"order\":\"maint\",\"target\":\"all\",\"for_ms\":null,\
                 \"reason\":\"\",\"force\":false,\"until_boot_ms\":1}\n";
    late.write_all(order.as_bytes()).unwrap();
    let mut said = String::new();
    late.read_to_string(&mut said).unwrap();
    assert!(said.contains("rolecall was busy for too long"), "{said}");
    stage.becomes(1, "READY\n");
    // A reason is as long as it may be, and no longer.
    let reason = "r".repeat(200);
    stage.says(&["maint", "replica", "--reason", &reason]);
    let refused = stage.refuses(&["maint", "replica", "--reason", &format!("{reason}r")]);
    assert!(refused.contains("200"), "{refused}");
    stage.says(&["maint", "all"]);
    // Another user, whom the mode lets in.
    if rustix::process::geteuid().is_root() && !lacks(&["python3"]) {
        // The credentials are those at connect. The directory lets nobody else in: go there first.
        let script = "import os,socket,sys\nos.chdir(os.path.dirname(sys.argv[1]))\n\
                      os.setgid(65534);os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\n\
                      s.connect('control.sock')\nprint(s.makefile().read())\n";
        let output =
            Command::new("python3").args(["-c", script]).arg(&socket).output().expect("python3");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("may not use the control socket"), "{said}{err}");
        assert!(said.contains("\"exit\":77"), "{said}");
        stage.rolecall.wait_log(PATIENCE, &["WARN", "refused at the control socket", "65534"]);
    }
}

/// What is left of the order that counts for the first service, and how old it is, both in milliseconds.
fn ends(stage: &Stage) -> (u64, u64) {
    let (_, status) = stage.status();
    let order = &status["nodes"][0]["services"][0]["order"];
    assert_eq!(order["by"].as_str().map(|by| by.contains("uid")), Some(true), "{status}");
    (order["ends_ms"].as_u64().unwrap(), order["since_ms"].as_u64().unwrap())
}

#[test]
fn an_order_ends_when_it_was_to_end_over_kills_and_restarts() {
    let mut stage = Stage::new("primary", "");
    stage.says(&["maint", "all", "--for", "10m", "--reason", "disk swap"]);
    let began = now();
    let (left, _) = ends(&stage);
    assert!((590_000..=600_000).contains(&left), "{left}");
    for kill in [true, false, true] {
        if kill {
            stage.rolecall.kill9();
            stage.rolecall.start();
        } else {
            stage.rolecall.restart();
        }
        // From the first answer on.
        assert_eq!(ask(stage.ground.addr(1, AGENT_PORT), PATIENCE).heard, said("MAINT\n"));
        let (later, age) = ends(&stage);
        let ran = u64::try_from(now().since(began).as_millis()).unwrap();
        // It neither began anew nor lost time beyond a unit of the wall clock, in which a sandbox has it.
        assert!(later <= left && later + ran + 2000 >= left, "{left} left, {later} after {ran}");
        assert!(age <= ran + 2000, "{age} after {ran}");
    }

    // One whose end comes while nobody runs has no say any more.
    stage.says(&["maint", "all", "--for", "1s"]);
    let over = now().plus(Duration::from_secs(1));
    stage.rolecall.kill9();
    eventually(PATIENCE, "its end", || if now() > over { Ok(()) } else { Err(now()) });
    stage.rolecall.start();
    assert_eq!(ask(stage.ground.addr(1, AGENT_PORT), PATIENCE).heard, said("READY\n"));
    assert!(!stage.rolecall.log().contains("panicked"));
}

/// Another boot has another name, and its clock begins anew: the end is what wall time says.
#[test]
fn an_order_survives_a_boot_and_ends_by_wall_time_after_it() {
    let mut stage = Stage::new("primary", "");
    stage.says(&["maint", "primary", "--for", "10m"]);
    stage.says(&["drain", "replica"]);
    assert!(stage.rolecall.stop().success());
    let file = stage.path("orders.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_ne!(kept["boot"], "", "this test runs outside of a sandbox");
    kept["boot"] = "8d1c2a0e-another-boot".into();
    // By the clock of that boot it would end in a year.
    kept["orders"][0]["ends"]["boot_ms"] = Value::from(86_400_000_u64 * 365);
    std::fs::write(&file, kept.to_string()).unwrap();
    stage.rolecall.start();
    assert_eq!(ask(stage.ground.addr(1, AGENT_PORT), PATIENCE).heard, said("MAINT\n"));
    let (left, _) = ends(&stage);
    assert!((500_000..=600_000).contains(&left), "{left}");
    let (_, status) = stage.status();
    assert_eq!(status["nodes"][0]["services"][1]["order"]["order"], "drain", "{status}");
}

/// What is said of one that two orders are about, written out.
#[test]
fn of_contradicting_orders_the_narrower_counts_in_whatever_order_they_came() {
    let target = |service: Option<&str>, node: Option<&str>| Target {
        service: service.map(str::to_owned),
        node: node.map(str::to_owned),
    };
    let (both, node) = (target(Some("primary"), Some("n1")), target(None, Some("n1")));
    let (service, all) = (target(Some("primary"), None), Target::default());
    for (narrow, wide) in [
        (&both, &node),
        (&both, &service),
        (&both, &all),
        (&node, &service),
        (&node, &all),
        (&service, &all),
    ] {
        for (inner, outer) in [(Wish::Maint, Wish::Drain), (Wish::Drain, Wish::Maint)] {
            let order = |target: &Target, wish, since| {
                Arc::new(Order::new(target.clone(), wish, ("ann", ""), at(since)))
            };
            for (first, last) in [(1, 2), (2, 1)] {
                let given = [order(narrow, inner, first), order(wide, outer, last)];
                let about = order::about(&given, "primary", "n1");
                let counts = order::counts(&about, at(3)).map(|order| order.wish);
                assert_eq!(counts, Some(inner), "{inner:?} {narrow} against {outer:?} {wide}");
            }
        }
    }
}

#[test]
fn a_damaged_state_file_is_set_aside_and_said() {
    let mut stage = Stage::new("primary", "");
    stage.says(&["maint", "all"]);
    assert!(stage.rolecall.stop().success());
    std::fs::write(stage.path("orders.json"), "{\"version\": 1, \"orders\": [").unwrap();
    stage.rolecall.start();
    stage.becomes(1, "READY\n");
    let (code, status) = stage.status();
    assert_eq!(code, 1);
    assert!(status["orders_damaged"].as_str().unwrap().contains("orders.damaged"), "{status}");
    stage.rolecall.wait_log(PATIENCE, &["ERROR", "cannot be read, so no order is in effect"]);
}

/// A package restarts only into what `check` accepts, so it must not accept what cannot start.
#[test]
fn check_says_what_would_keep_orders_away() {
    let stage = Stage::new("primary", "");
    let config = std::fs::read_to_string(stage.path("rolecall.toml")).unwrap();
    let nobodys = config.replace("[source]", "group = \"no-such-group\"\n[source]");
    stage.rolecall.write_config(&nobodys);
    let output = stage.command(&["check"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{err}");
    assert!(err.contains("no group \"no-such-group\"") && err.contains("hint:"), "{err}");
    stage.rolecall.write_config(&config.replace("orders.json", "gone/orders.json"));
    let said = stage.says(&["check"]);
    assert!(said.contains("directory of `state`: ") && said.contains("does not exist"), "{said}");
}

#[test]
fn without_a_daemon_status_says_unreachable() {
    let mut stage = Stage::new("primary", "");
    stage.rolecall.stop();
    assert_eq!(stage.command(&["status"]).status.code(), Some(3));
    assert_eq!(stage.command(&["maint", "all"]).status.code(), Some(69));
}
