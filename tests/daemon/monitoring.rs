//! What monitoring systems are given: the line of `rolecall status --plugin` as a real Icinga 2 reads it, the local check for
//! Checkmk, the template for Zabbix, and the line for cron.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::fixtures::process::{Proc, command as command_of, run};
use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, FRONT_PORT, Ground, HTTP_PORT, Rolecall, ask, eventually, lacks,
};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One node, which is the primary.
fn config(ground: &Ground) -> String {
    let dir = ground.dir().display();
    format!(
        "[control]\nsocket = \"{dir}/control.sock\"\nstate = \"{dir}/orders.json\"\n\
         [http]\nlisten = \"{}\"\n[source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\n",
        ground.addr(1, HTTP_PORT),
        ground.addr(1, AGENT_PORT)
    )
}

struct Stage {
    rolecall: Rolecall,
    config: PathBuf,
    ground: Ground,
}

impl Stage {
    fn start() -> Self {
        let ground = Ground::new();
        let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config(&ground));
        rolecall.start();
        ask(ground.addr(1, AGENT_PORT), PATIENCE);
        Self { rolecall, config: ground.dir().join("rolecall.toml"), ground }
    }

    /// The program, with this configuration.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    /// A shell that finds the program and this configuration.
    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        let folder = Path::new(ROLECALL).parent().expect("its folder").display();
        shell.env("PATH", format!("{folder}:/usr/bin:/bin")).env("ROLECALL_CONFIG", &self.config);
        shell
    }
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn the_line_has_the_state_of_the_daemon_and_each_target_is_one() {
    let mut stage = Stage::start();
    let (code, line) = said(&mut stage.command(&["status", "--plugin"]));
    assert_eq!(code, Some(0), "{line}");
    assert!(line.starts_with("ROLECALL OK - primary/local ready | 'local/static age'="), "{line}");
    assert!(
        line.ends_with("'primary/local ready'=1;;;0;1\n") && line.lines().count() == 1,
        "{line}"
    );
    for (arguments, code, begins) in [
        (&["--plugin", "primary"][..], 0, "ROLECALL OK - primary/local ready | "),
        (
            &["--plugin", "primary/local", "-w", "@0:60"],
            1,
            "ROLECALL WARNING - the last successful poll of local/static began ",
        ),
        (
            &["--plugin", "-w", "60", "-c", "60:"],
            2,
            "ROLECALL CRITICAL - the last successful poll of local/static began ",
        ),
        (
            &["--plugin", "replica"],
            3,
            "ROLECALL UNKNOWN - the daemon has no service and no node \"replica\"",
        ),
        (&["--plugin", "-w", "5:1"], 64, ""),
        (&["-w", "5"], 64, ""),
        (&["--plugin", "--json"], 64, ""),
    ] {
        let (ends, line) = said(&mut stage.command(&[&["status"], arguments].concat()));
        // What clap refuses is refused as every wrong command line.
        let usage = code == 64 && ends.is_some_and(|ends| ends == 64 || ends == 2);
        assert!(
            (ends == Some(code) || usage) && line.starts_with(begins),
            "{arguments:?}: {ends:?} {line}"
        );
    }
    run(stage.command(&["maint", "all", "--reason", "disk | swap"]));
    let (code, line) = said(&mut stage.command(&["status", "--plugin"]));
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.starts_with("ROLECALL WARNING - order: maint all, given by ")
            && line.contains(": disk / swap | "),
        "{line}"
    );
    stage.rolecall.stop();
    let (code, line) = said(&mut stage.command(&["status", "--plugin"]));
    assert!(
        code == Some(3) && line.starts_with("ROLECALL UNKNOWN - ") && line.lines().count() == 1,
        "{line}"
    );
}

/// What Icinga sends to a Graphite, which is this: each metric's newest value.
fn graphite(addr: SocketAddr) -> Arc<Mutex<BTreeMap<String, String>>> {
    let listener = TcpListener::bind(addr).expect("a free port");
    let heard = Arc::new(Mutex::new(BTreeMap::new()));
    let keeps = Arc::clone(&heard);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            for line in BufReader::new(client).lines().map_while(Result::ok) {
                let mut words = line.split(' ').map(str::to_owned);
                if let (Some(name), Some(value)) = (words.next(), words.next()) {
                    keeps.lock().expect("nobody panics").insert(name, value);
                }
            }
        }
    });
    heard
}

/// An Icinga; it ends its workers itself, so it is asked to end before it is killed.
struct Icinga(Proc);

impl Drop for Icinga {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        for _ in 0..1000 {
            if self.0.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Icinga reads states and values by its own parser, with the command of packaging/icinga.
#[test]
fn icinga_reads_states_values_and_thresholds() {
    if lacks(&["icinga2"]) {
        return;
    }
    let mut stage = Stage::start();
    let (ground, dir) = (&stage.ground, stage.ground.dir().join("icinga"));
    for folder in ["data", "log", "cache", "spool", "run"] {
        std::fs::create_dir_all(dir.join(folder)).expect("a folder");
    }
    let quoted = |word: &str| format!("\"{word}\"");
    let command = [ROLECALL, "--config", &stage.config.display().to_string(), "status", "--plugin"];
    let shipped = text("packaging/icinga/rolecall.conf");
    let (head, rest) = shipped.split_once("const RolecallCommand = ").expect("its command");
    let (theirs, rest) = rest.split_once('\n').expect("more");
    assert!(theirs.contains("\"/usr/bin/rolecall\", \"status\", \"--plugin\" ]"), "{theirs}");
    let ours = command.map(quoted).join(", ");
    let rest = rest
        .replace("check_interval = 30s", "check_interval = 1s")
        .replace("retry_interval = 10s", "retry_interval = 1s");
    assert!(rest.contains("check_interval = 1s") && rest.contains("retry_interval = 1s"));
    let at = ground.addr(2, FRONT_PORT);
    let config = format!(
        "const NodeName = \"monitor\"\ninclude <itl>\nobject IcingaApplication \"app\" {{ }}\n\
         object CheckerComponent \"checker\" {{ }}\n\
         object GraphiteWriter \"graphite\" {{ host = \"{}\"\n port = {}\n enable_send_thresholds = true\n \
         enable_send_metadata = true }}\n\
         object Host \"db1\" {{ check_command = \"dummy\"\n vars.rolecall = true }}\n\
         {head}const RolecallCommand = [ {ours} ]\n{rest}",
        at.ip(),
        at.port()
    );
    let told = graphite(at);
    let file = ground.write("icinga.conf", &config);
    let id = |what: &str| {
        let mut id = Command::new("id");
        id.arg(what);
        run(id).trim().to_owned()
    };
    let mut icinga = command_of(Path::new("icinga2"), None);
    icinga.args(["daemon", "-c"]).arg(file);
    for (key, value) in [
        ("RunAsUser", id("-un")),
        ("RunAsGroup", id("-gn")),
        ("DataDir", dir.join("data").display().to_string()),
        ("LogDir", dir.join("log").display().to_string()),
        ("CacheDir", dir.join("cache").display().to_string()),
        ("SpoolDir", dir.join("spool").display().to_string()),
        ("InitRunDir", dir.join("run").display().to_string()),
        ("PidPath", dir.join("run/icinga2.pid").display().to_string()),
    ] {
        icinga.arg(format!("-DConfiguration.{key}={value}"));
    }
    let log = dir.join("icinga.log");
    let _icinga = Icinga(Proc::start("icinga2", icinga, &log));
    let of = |name: &str| {
        let name = format!("icinga2.db1.services.rolecall.rolecall.{name}");
        told.lock().expect("nobody panics").get(&name).cloned()
    };
    let is = |what: &str, name: &str, wanted: RangeInclusive<f64>| {
        eventually(PATIENCE, what, || match of(name).and_then(|value| value.parse().ok()) {
            Some(value) if wanted.contains(&value) => Ok(()),
            other => Err((other, std::fs::read_to_string(&log).unwrap_or_default())),
        });
    };
    // Asked again and again, as by a HAProxy: a port that nobody asks is a warning of its own.
    let agent = ground.addr(1, AGENT_PORT);
    ask(agent, PATIENCE);
    is("all is well", "metadata.state", 0.0..=0.0);
    is("the age is a value", "perfdata.local_static_age.value", 0.0..=30.0);
    is("with its warning", "perfdata.local_static_age.warn", 3.0..=3.0);
    is("and what is critical", "perfdata.local_static_age.crit", 10.0..=10.0);
    is("READY is one", "perfdata.primary_local_ready.value", 1.0..=1.0);
    is("of at most one", "perfdata.primary_local_ready.max", 1.0..=1.0);
    run(stage.command(&["maint", "all"]));
    is("an order is a warning", "metadata.state", 1.0..=1.0);
    is("nobody is READY", "perfdata.primary_local_ready.value", 0.0..=0.0);
    stage.rolecall.stop();
    is("nobody can be asked", "metadata.state", 3.0..=3.0);
}

/// `CODE "NAME" METRICS TEXT`, as Checkmk reads it.
#[test]
fn the_local_check_for_checkmk_says_the_same() {
    let mut stage = Stage::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/checkmk/rolecall");
    let check = |stage: &Stage, arguments: &[&str]| {
        let (code, line) = said(stage.shell().arg(&script).args(arguments));
        assert!(code == Some(0) && line.lines().count() == 1, "{line}");
        let (head, rest) = line.trim_end().split_once(" \"rolecall\" ").expect("its name");
        let (metrics, text) = rest.split_once(' ').expect("a text");
        (head.to_owned(), metrics.to_owned(), text.to_owned())
    };
    let (code, metrics, text) = check(&stage, &["-w", "60", "-c", "120"]);
    assert_eq!((&*code, &*text), ("0", "ROLECALL OK - primary/local ready"));
    let named = |metric: &str| {
        let (name, values) = metric.split_once('=').expect("a value");
        let plain = values.split(';').all(|value| value.is_empty() || value.parse::<f64>().is_ok());
        assert!(plain, "{metric}");
        (name.to_owned(), values.split_once(';').map(|(_, rest)| rest.to_owned()).expect("more"))
    };
    let metrics: BTreeMap<_, _> = metrics.split('|').map(named).collect();
    assert_eq!(metrics["local_static_age"], "60;120;0");
    assert_eq!(metrics["primary_local_ready"], ";;0;1");
    run(stage.command(&["maint", "all"]));
    let (code, _, text) = check(&stage, &[]);
    assert!(code == "1" && text.starts_with("ROLECALL WARNING - order: maint"), "{text}");
    stage.rolecall.stop();
    let (code, metrics, text) = check(&stage, &[]);
    assert!(code == "3" && metrics == "-" && text.starts_with("ROLECALL UNKNOWN - "), "{text}");
    // Without the program there is no state of another check.
    let (_, line) = said(Command::new("sh").env("PATH", "/nowhere:/usr/bin:/bin").arg(&script));
    if !Path::new("/usr/bin/rolecall").exists() {
        assert_eq!(line, "3 \"rolecall\" - rolecall does not run here\n");
    }
}

/// The line for cron: nothing while all is well, else what status shows.
#[test]
fn cron_mails_while_something_is_wrong() {
    let stage = Stage::start();
    let page = text("docs/monitoring.md");
    let line = page.lines().find(|line| line.starts_with("*/5 ")).expect("a line for cron");
    let command = line.split_whitespace().skip(6).collect::<Vec<_>>().join(" ");
    assert_eq!(said(stage.shell().args(["-c", &command])), (Some(0), String::new()));
    run(stage.command(&["maint", "all"]));
    let (_, mail) = said(stage.shell().args(["-c", &command]));
    assert!(mail.starts_with("WARNING") && mail.contains("order: maint all"), "{mail}");
}

/// The values of a path of the kind that the template has, as Zabbix finds them: names, `[*]`, one comparison with a text, and
/// a function at the end.
fn found(json: &Value, path: &str) -> Vec<Value> {
    let mut values = vec![json.clone()];
    let mut rest = path.strip_prefix('$').expect("a path");
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[*]") {
            values = values
                .into_iter()
                .flat_map(|of| of.as_array().cloned().unwrap_or_default())
                .collect();
            rest = after;
        } else if let Some(after) = rest.strip_prefix("[?(@.") {
            let (test, after) = after.split_once(")]").expect("the end of a filter");
            let (key, wanted) = test.split_once("=='").expect("a comparison");
            let wanted = wanted.strip_suffix('\'').expect("a text");
            let all = values.into_iter().flat_map(|of| of.as_array().cloned().unwrap_or_default());
            values = all.filter(|of| of[key] == wanted).collect();
            rest = after;
        } else {
            let after = rest.strip_prefix('.').expect("a name");
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let numbers = || values.iter().filter_map(Value::as_f64);
            values = match name {
                "first()" => values.first().cloned().into_iter().collect(),
                "length()" => vec![values.len().into()],
                "max()" => numbers().reduce(f64::max).map(Value::from).into_iter().collect(),
                name => values.iter().filter_map(|of| of.get(name).cloned()).collect(),
            };
            rest = after;
        }
    }
    values
}

/// No Zabbix reads it here: what it says of `/status` must be so, and its parts must fit together.
#[test]
fn the_template_for_zabbix_asks_for_what_status_says() {
    let stage = Stage::start();
    let template: Value =
        serde_json::from_str(&text("packaging/zabbix/rolecall.json")).expect("JSON");
    let template = &template["zabbix_export"]["templates"][0];
    let status = eventually(PATIENCE, "the page", || {
        request(stage.ground.addr(1, HTTP_PORT), "GET /status", "", Some(PATIENCE))
    });
    let status: Value = serde_json::from_str(&status.body).expect("JSON");
    let items = template["items"].as_array().expect("items");
    let rule = &template["discovery_rules"][0];
    let prototypes = rule["item_prototypes"].as_array().expect("prototypes");
    let nodes = found(&status, rule["preprocessing"][0]["parameters"][0].as_str().expect("a path"));
    let node = found(&nodes[0][0], rule["lld_macro_paths"][0]["path"].as_str().expect("a path"));
    assert_eq!(node, ["local"]);
    let (mut keys, mut uuids, mut values) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for item in items.iter().chain(prototypes) {
        let key = item["key"].as_str().expect("a key");
        assert!(keys.insert(key.to_owned()), "{key} twice");
        assert!(uuids.insert(item["uuid"].to_string()), "{key}: its uuid twice");
        if item["type"] == "HTTP_AGENT" {
            assert!(item["url"].as_str().expect("a URL").ends_with("}/status"), "{item}");
            continue;
        }
        assert_eq!(item["master_item"]["key"], "rolecall.status");
        let step = &item["preprocessing"][0];
        let path = step["parameters"][0].as_str().expect("a path").replace("{#NODE}", "local");
        let value = found(&status, &path).into_iter().next().filter(|value| !value.is_null());
        let excused =
            ["CUSTOM_VALUE", "DISCARD_VALUE"].map(Value::from).contains(&step["error_handler"]);
        assert!(value.is_some() || excused, "{key}: {path} finds nothing");
        values.insert(key.replace("[{#NODE}]", ""), value);
    }
    let number = |key: &str| values[key].as_ref().and_then(Value::as_f64);
    assert_eq!(values["rolecall.node.role"], Some("primary".into()));
    assert_eq!(number("rolecall.node.ready"), Some(1.0));
    assert_eq!(number("rolecall.node.unknown"), Some(0.0));
    assert_eq!(number("rolecall.node.critical"), Some(0.0));
    assert!(
        number("rolecall.node.age").is_some() && number("rolecall.node.asked").is_some(),
        "{values:?}"
    );
    // A static source knows no lag, and no configuration was refused.
    assert!(number("rolecall.node.lag").is_none() && number("rolecall.refused_config").is_none());
    let triggers = items.iter().flat_map(|item| item["triggers"].as_array().into_iter().flatten());
    let more = prototypes
        .iter()
        .flat_map(|item| item["trigger_prototypes"].as_array().into_iter().flatten());
    let triggers: Vec<&str> =
        triggers.chain(more).map(|of| of["expression"].as_str().expect("text")).collect();
    assert_eq!(triggers.len(), 6, "as docs/monitoring.md counts them");
    for trigger in triggers {
        let (_, rest) =
            trigger.split_once("(/rolecall by HTTP/").unwrap_or_else(|| panic!("{trigger}"));
        let key = rest.split([',', ')']).next().expect("a key");
        assert!(keys.contains(key), "{trigger} is about no item");
    }
}
