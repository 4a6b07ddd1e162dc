//! A real Prometheus with a folder of its own, which ends with the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{PATIENCE, SCRAPE};
use crate::fixtures::process::Proc;
use crate::fixtures::web::request;
use crate::fixtures::{Ground, command, eventually};
use crate::prometheus::{RULES, text};

/// Below the kernel's ephemeral range, as every port of the tests.
const PORT: u16 = 25090;
/// Its place in the block of addresses.
const HOST: u8 = 13;

/// A job: its name, what it scrapes, and the label `cluster` that its targets are given.
pub struct Job {
    pub name: &'static str,
    pub targets: Vec<SocketAddr>,
    pub cluster: Option<&'static str>,
}

pub type Labels = BTreeMap<String, String>;
/// What a query found.
pub type Series = BTreeMap<Labels, f64>;

pub struct Prometheus {
    addr: SocketAddr,
    _proc: Proc,
}

impl Prometheus {
    /// Scrapes every [`SCRAPE`], and has the packaged rules, which wait for a second only.
    pub fn start(ground: &Ground, program: &Path, jobs: &[Job]) -> Self {
        let shortened = |line: &str| match line.trim_start().strip_prefix("for: ") {
            Some(wait) => line.replace(wait, "1s"),
            None => line.to_owned(),
        };
        let rules: Vec<_> = text(RULES).lines().map(shortened).collect();
        let rules = rules.join("\n");
        let rules = ground.write("rules.yml", &rules);
        let mut config = format!(
            "global: {{ scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every} }}\n\
             rule_files: [{:?}]\nscrape_configs:\n",
            rules.display().to_string(),
            every = format_args!("{}ms", SCRAPE.as_millis()),
        );
        for job in jobs {
            let targets: Vec<_> = job.targets.iter().map(ToString::to_string).collect();
            let labels = job.cluster.map_or_else(String::new, |c| format!("cluster: {c}"));
            let (name, targets) = (job.name, targets.join("\", \""));
            writeln!(
                config,
                "- job_name: {name}\n  static_configs: [{{ targets: [\"{targets}\"], labels: {{ {labels} }} }}]"
            )
            .expect("a string");
        }
        let config = ground.write("prometheus.yml", &config);
        let addr = ground.addr(HOST, PORT);
        let mut run = command(program, None);
        run.arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", ground.dir().join("tsdb").display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--log.level=warn")
            .current_dir(ground.dir());
        let mut proc = Proc::start("prometheus", run, &ground.dir().join("prometheus.log"));
        eventually(PATIENCE, "Prometheus is ready", || {
            assert!(proc.ended().is_none(), "it ended at start");
            match request(addr, "GET /-/ready", "", Some(PATIENCE)) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(other),
            }
        });
        Self { addr, _proc: proc }
    }

    /// A page of its API.
    pub fn get(&self, path: &str) -> Value {
        let answer = request(self.addr, &format!("GET {path}"), "", Some(PATIENCE));
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
    }

    /// What a query finds now, as a panel that shows the newest value does.
    pub fn query(&self, query: &str) -> Series {
        let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["data"]["resultType"], "vector", "{query}");
        let found = answer["data"]["result"].as_array().expect("a result");
        let one = |series: &Value| {
            let labels = serde_json::from_value(series["metric"].clone()).expect("labels");
            let value = series["value"][1].as_str().and_then(|value| value.parse().ok());
            (labels, value.expect("a number"))
        };
        let series: Series = found.iter().map(one).collect();
        assert_eq!(series.len(), found.len(), "two of the same labels: {query}");
        series
    }

    /// What Grafana's `label_values` asks.
    pub fn label_values(&self, selector: &str, label: &str) -> Vec<String> {
        let encoded = utf8_percent_encode(selector, NON_ALPHANUMERIC);
        let answer = self.get(&format!("/api/v1/label/{label}/values?match[]={encoded}"));
        serde_json::from_value(answer["data"].clone()).expect("values")
    }

    /// Its clock, in seconds since 1970.
    pub fn time(&self) -> f64 {
        let answer = self.get("/api/v1/query?query=time()");
        let time = answer["data"]["result"][1].as_str().and_then(|time| time.parse().ok());
        time.expect("a time")
    }
}
