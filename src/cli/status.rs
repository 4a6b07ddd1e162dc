//! `rolecall status`: a table, JSON, or the line of a monitoring plug-in; with HAProxy's side beside it where that is
//! wanted. Whatever keeps the daemon or HAProxy from being asked is [`Health::Unreachable`].

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::cli::haproxy::finding::Finding;
use crate::cli::haproxy::sides::{Sides, compare};
use crate::cli::haproxy::{shown, stats};
use crate::cli::overview::{self, Health, Look};
use crate::cli::plugin::{self, Range, Thresholds};
use crate::cli::words::{colour, width};
use crate::control::protocol::{self, Question};
use crate::host::failure::{Exit, Failure};
use crate::host::{own_address, own_name};
use crate::verdict::reason::Alarm;

/// What is to be shown, and how.
#[derive(Args)]
pub(super) struct Showing {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Redraw every second, q ends it; in a pipe print changes.
    #[arg(long, conflicts_with_all = ["json", "haproxy", "plugin"])]
    pub(super) watch: bool,
    /// Compare with what an HAProxy shows, and name what does not match. It is asked at this stats socket, by default
    /// at `socket` of [haproxy]; with `-` the output of "show info;show stat;show servers state" is read from standard
    /// input.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, default_missing_value = "")]
    haproxy: Option<String>,
    /// Print one line with performance data for Nagios, Icinga and others. With TARGET (SERVICE, NODE or SERVICE/NODE)
    /// only about that part.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "",
          conflicts_with = "json")]
    plugin: Option<String>,
    /// With --plugin: warn if the age of the last successful poll, in seconds, is outside this range.
    #[arg(short, long, value_name = "RANGE", requires = "plugin", allow_hyphen_values = true)]
    warning: Option<Range>,
    /// The same for critical.
    #[arg(short, long, value_name = "RANGE", requires = "plugin", allow_hyphen_values = true)]
    critical: Option<Range>,
}

/// What is to be printed, and how well it is. `usual` is the stats socket of the configuration.
pub(super) fn said(
    showing: &Showing,
    socket: Result<PathBuf, Failure>,
    usual: impl FnOnce() -> PathBuf,
) -> (String, Health) {
    let asked = socket.and_then(|socket| protocol::ask(&socket, &Question::Status));
    // Without a value a flag means everything, or the usual place.
    let named = |flag: &Option<String>| flag.clone().filter(|value| !value.is_empty());
    let status = asked.and_then(|status| match named(&showing.plugin) {
        Some(target) => plugin::only(&status, &target).ok_or_else(|| nothing(&target)),
        None => Ok(status),
    });
    let mut status = match status {
        Ok(status) => status,
        Err(failure) => return (unreachable(showing, &failure), Health::Unreachable),
    };
    let health = overview::health(&status);
    let sides = showing
        .haproxy
        .as_ref()
        .map(|_| beside(named(&showing.haproxy).as_deref(), usual, &status));
    let (graver, failed) = match &sides {
        Some(Ok(sides)) => (gravest(&sides.findings), None),
        Some(Err(failure)) => (Health::Unreachable, Some(failure)),
        None => (Health::Well, None),
    };
    if showing.plugin.is_some() {
        if let Some(failure) = failed {
            return (plugin::unreachable(&failure.to_string()), Health::Unreachable);
        }
        let thresholds = Thresholds { warning: showing.warning, critical: showing.critical };
        let findings = sides.and_then(Result::ok).map(|sides| sides.findings).unwrap_or_default();
        let alarms = findings.iter().filter(|finding| finding.alarm.is_some());
        let words =
            alarms.map(|finding| format!("{}: {}", finding.about, finding.detail)).collect();
        return plugin::line(&status, &thresholds, (graver, words));
    }
    if showing.json {
        match sides {
            Some(Ok(sides)) => status["haproxy"] = serde_json::to_value(sides).unwrap_or_default(),
            Some(Err(failure)) => {
                status["haproxy"] =
                    serde_json::json!({ "error": failure.what, "hint": failure.hint });
            }
            None => {}
        }
        return (format!("{status:#}\n"), health.max(graver));
    }
    let host = own_name::host_name();
    let look = Look { colour: colour(), width: width(), host: host.as_deref() };
    let mut text = overview::text(&status, &look);
    if let Some(Ok(sides)) = &sides
        && graver > health
    {
        // Whoever reads one line only must not read OK.
        text.insert_str(0, &worst_of(sides));
    }
    match sides {
        Some(Ok(sides)) => text.push_str(&shown::text(&sides)),
        Some(Err(failure)) => text.push_str(&format_failure(&failure)),
        None => {}
    }
    (text, health.max(graver))
}

/// HAProxy's side, beside rolecall's.
fn beside(
    named: Option<&str>,
    usual: impl FnOnce() -> PathBuf,
    status: &Value,
) -> Result<Sides, Failure> {
    let told = match named {
        Some("-") => stats::piped(io::stdin().lock())?,
        Some(socket) => stats::at(Path::new(socket))?,
        None => stats::at(&usual())?,
    };
    Ok(compare(&told, status, own_address::is_here))
}

/// The gravest of the findings, as the first line. They are in this order.
fn worst_of(sides: &Sides) -> String {
    let called = match gravest(&sides.findings) {
        Health::Critical => "CRITICAL",
        _ => "WARNING",
    };
    let first = sides.findings.first();
    first.map_or_else(String::new, |finding| {
        format!("{called}: HAProxy's side: {}: {}\n", finding.about, finding.detail)
    })
}

fn gravest(findings: &[Finding]) -> Health {
    match findings.iter().filter_map(|finding| finding.alarm).max() {
        Some(Alarm::Critical) => Health::Critical,
        Some(Alarm::Warning) => Health::Warning,
        None => Health::Well,
    }
}

fn nothing(target: &str) -> Failure {
    Failure::new(Exit::Usage, format_args!("the daemon has no service and no node {target:?}"))
        .hint("expected is SERVICE, NODE or SERVICE/NODE; rolecall status lists them")
}

fn unreachable(showing: &Showing, failure: &Failure) -> String {
    if showing.plugin.is_some() {
        return plugin::unreachable(&failure.to_string());
    }
    format_failure(failure)
}

fn format_failure(failure: &Failure) -> String {
    format!("rolecall: {failure}\n")
}
