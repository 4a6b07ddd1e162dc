//! packaging/prometheus: the alert rules by promtool's own tests, and against pages that are really printed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rolecall::reply::asks::REGULAR;

use crate::fixtures::process::run;
use crate::fixtures::web::request;
use crate::fixtures::{
    AGENT_PORT, Ground, HTTP_PORT, Haproxy, PG_PORT, Rolecall, ask, eventually, haproxies, missing,
    say,
};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");
pub const RULES: &str = "packaging/prometheus/rolecall.rules.yml";
const TESTS: &str = "tests/data/rolecall.test.yml";

/// More than anything here takes; reached only where it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the rules use of HAProxy's exporter: names, and the states of `haproxy_server_agent_status`.
/// Seen on 3.2.26 and 3.4.7, where the test below finds them again.
const HAPROXYS: [&str; 2] = ["haproxy_server_agent_status", "haproxy_server_status"];
const DEAD: [&str; 5] = ["L4TOUT", "L4CON", "L7TOUT", "L7RSP", "SOCKERR"];

pub fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `prometheus` or `promtool`: from the PATH, or where `tests/tools/install.sh` puts them.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/prometheus");
    let folders = path.split(':').chain([own]);
    folders.map(|folder| Path::new(folder).join(name)).find(|program| program.is_file())
}

/// The words of the rules that begin so: names of metrics.
fn names(beginning: &str) -> BTreeSet<String> {
    let rules = text(RULES);
    let code = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let code = code.collect::<Vec<_>>().join("\n");
    let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(beginning)).map(str::to_owned).collect()
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_where_it_must_and_nowhere_else() {
    let Some(promtool) = tool("promtool") else { return missing("promtool") };
    for arguments in [["check", "rules", RULES], ["test", "rules", TESTS]] {
        let mut command = Command::new(&promtool);
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        run(command);
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests = text(TESTS);
    let rules = text(RULES);
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<&str> = alerts.collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        let fires = format!("        alertname: {alert}\n        exp_alerts:\n");
        let silent = format!("alertname: {alert} }}");
        assert!(tests.contains(&fires) && tests.contains(&silent), "{alert}");
    }
}

fn page(addr: SocketAddr) -> String {
    eventually(PATIENCE, "the page of metrics", || {
        request(addr, "GET /metrics", "", Some(PATIENCE))
    })
    .body
}

/// The metrics of a page.
fn printed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

#[test]
fn every_metric_of_the_rules_is_one_that_rolecall_prints() {
    let ground = Ground::new();
    let (agent, http) = (ground.addr(1, AGENT_PORT), ground.addr(1, HTTP_PORT));
    let control = ground.dir().join("control.sock");
    let config = format!(
        "[source]\nkind = \"static\"\nrole = \"primary\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{agent}\"\n\
         [http]\nlisten = \"{http}\"\n\
         [control]\nsocket = \"{}\"\npoke = \"{}\"\nstate = \"{}\"\n",
        control.display(),
        ground.dir().join("poke.sock").display(),
        ground.dir().join("orders.json").display(),
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    // So often that it is one who asks regularly.
    for _ in 0..REGULAR {
        ask(agent, PATIENCE);
    }
    let mut order = Command::new(ROLECALL);
    order.arg("--config").arg(ground.write("ordering.toml", &config)).args(["maint", "all"]);
    run(order);
    let page = eventually(PATIENCE, "the order is counted", || {
        let page = page(http);
        if page.contains("\nrolecall_order_age_seconds{") { Ok(page) } else { Err(page) }
    });

    // What others than Prometheus read; it is silent where nothing is to be said of it.
    let Some(promtool) = tool("promtool") else { return missing("promtool") };
    let page_file = ground.write("page.txt", &page);
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(std::fs::File::open(page_file).unwrap());
    let said = check.output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}\n{page}");

    let used = names("rolecall_");
    assert!(used.len() >= 7, "{used:?}");
    let unknown: Vec<_> = used.difference(&printed(&page)).cloned().collect();
    assert!(unknown.is_empty(), "not printed: {unknown:?}");
    // The labels that the rules choose by or speak of.
    for line in [
        "rolecall_verdict{node=\"local\",cluster=\"\",service=\"primary\",state=\"ready\"} ",
        "rolecall_looks_total{node=\"local\",source=\"static\",result=\"good\"} ",
        "rolecall_last_check_age_seconds{node=\"local\",service=\"primary\"} ",
        "rolecall_asker_last_check_age_seconds{node=\"local\",service=\"primary\",asker=\"127.",
        "rolecall_order_age_seconds{node=\"local\",service=\"primary\",order=\"maint\"} ",
        "rolecall_config_last_reload_successful 1",
    ] {
        assert!(page.contains(&format!("\n{line}")), "{line} in\n{page}");
    }
}

#[test]
fn what_the_rules_use_of_haproxy_is_known() {
    assert_eq!(names("haproxy_"), HAPROXYS.map(str::to_owned).into());
    assert!(text(RULES).contains(&format!("state=~\"{}\"", DEAD.join("|"))));
}

#[test]
fn a_haproxy_with_a_dead_agent_says_so_in_these_words() {
    // 3.1 and earlier do not tell of agents.
    let tells = |version: &str| {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next(), parts.next()) >= (Some(3), Some(2))
    };
    let found: Vec<_> = haproxies().into_iter().filter(|(version, _)| tells(version)).collect();
    if found.is_empty() {
        if std::env::var_os("ROLECALL_ALL").is_some_and(|all| all == "1") {
            missing("haproxy 3.2 or later");
        }
        say("HAProxy's own metrics: seen again by make test-all, with HAProxy 3.2 and later");
    }
    for (version, program) in found {
        let ground = Ground::new();
        let http = ground.addr(3, HTTP_PORT);
        let cfg = ground.write(
            "metrics.cfg",
            &format!(
                "global\n  stats socket \"${{ROLECALL_STATS_SOCKET}}\" level admin\n\
                 defaults\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n\
                 frontend metrics\n  mode http\n  bind {http}\n\
                 \x20 http-request use-service prometheus-exporter if {{ path /metrics }}\n\
                 backend rw\n  mode tcp\n\
                 \x20 default-server disabled agent-check agent-port {AGENT_PORT} agent-inter 200ms\n\
                 \x20 server pg1 {}\n",
                ground.addr(1, PG_PORT)
            ),
        );
        let haproxy = Haproxy::start(&ground, &program, &cfg, &[]);
        haproxy.wait("rw/pg1", PATIENCE, "hears nobody", |s| s.agent_status == "L4CON");
        let page = page(http);
        let has = |line: &str| page.lines().any(|has| has == line);
        let of = "proxy=\"rw\",server=\"pg1\"";
        assert!(
            has(&format!("haproxy_server_status{{{of},state=\"MAINT\"}} 1")),
            "{version}: {page}"
        );
        for state in DEAD {
            let dead = u8::from(state == "L4CON");
            let line = format!("haproxy_server_agent_status{{{of},state=\"{state}\"}} {dead}");
            assert!(has(&line), "{version}: {line} in\n{page}");
        }
    }
}
