//! Both sides as a table for a terminal, and every finding with its remedy.

use std::fmt::Write as _;

use crate::cli::haproxy::sides::Sides;
use crate::cli::words::ago;
use crate::verdict::reason::Alarm;

/// The table and the findings.
pub fn text(sides: &Sides) -> String {
    let head = ["POOL", "SERVER", "HAPROXY", "FOR", "AGENT", "PORT", "SERVICE", "ROLECALL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let or_none = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), String::clone);
    for row in &sides.servers {
        let agent = Some(&row.agent_status).filter(|status| !status.is_empty());
        rows.push(vec![
            row.pool.clone(),
            row.server.clone(),
            row.status.clone(),
            row.since_s.map_or_else(|| "-".to_owned(), |s| ago(&s.saturating_mul(1000).into())),
            or_none(agent),
            row.agent_port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
            or_none(row.service.as_ref()),
            or_none(row.state.as_ref()),
        ]);
    }
    let mut out = String::new();
    let version = sides.version.as_deref().unwrap_or("of an unknown version");
    // Writing to a string cannot fail.
    _ = writeln!(out, "\nHAProxy {version}");
    out.push_str(&aligned(&rows));
    for finding in &sides.findings {
        let how = finding.alarm.map_or("note", Alarm::as_str);
        _ = writeln!(out, "{how}: {}: {}\n  hint: {}", finding.about, finding.detail, finding.hint);
    }
    if sides.findings.iter().all(|finding| finding.alarm.is_none()) {
        out.push_str("HAProxy shows what rolecall says.\n");
    }
    out
}

/// Rows of cells in columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|at| wide(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
