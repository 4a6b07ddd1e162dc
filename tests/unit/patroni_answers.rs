//! What Patroni's answers mean: every recorded one, and every form one could have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::patroni::Patroni;
use rolecall::look::patroni::Times;
use rolecall::look::role::Role;
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::look::tags::Tags;
use rolecall::source::patroni::{Asked, read_answer};
use rolecall::verdict::decide::{Verdict, decide};
use rolecall::verdict::policy::Lock;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Hysteresis, LagLimit, OnLag, Policy, Trust};
use rolecall::verdict::reason::Reason;
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;
use serde_json::Value;

/// Answers recorded from two-node clusters of Patroni 2.1.7 and 4.1.5 on PostgreSQL 15, and what
/// they mean: version, situation, node, endpoint; status (or `timeout`: an empty file); what that is
/// to a service for the primary; role, timeline, LSN in bytes; and what else is seen.
///
/// Without a lag limit rolecall asks `/primary` alone. The bodies of `/replica` are read for their form, so they are no
/// finding.
const RECORDED: &str = "
2.1.7  after-failover                 n1  primary  200      yes     primary       4   50638600    -
2.1.7  after-failover                 n1  replica  503      -       primary       4   50638712    -
2.1.7  dcs-lost-12s                   n0  primary  503      no      replica       6   50859104    -
2.1.7  dcs-lost-12s                   n0  replica  200      -       replica       6   50859216    -
2.1.7  dcs-lost-12s                   n1  primary  200      yes     primary       6   50859104    -
2.1.7  dcs-lost-12s                   n1  replica  503      -       primary       6   50859104    -
2.1.7  dcs-lost-38s                   n0  primary  503      no      replica       6   50865856    -
2.1.7  dcs-lost-38s                   n0  replica  200      -       replica       6   50865856    -
2.1.7  dcs-lost-38s                   n1  primary  503      no      replica       6   50865856    -
2.1.7  dcs-lost-38s                   n1  replica  200      -       replica       6   50865856    -
2.1.7  leader-patroni-sigstopped      n0  primary  timeout  silent  -             -   -           -
2.1.7  leader-patroni-sigstopped      n1  primary  200      yes     primary       6   50817488    -
2.1.7  paused-after-restart           n0  primary  503      no      replica       7   119871768   -
2.1.7  paused-after-restart           n0  replica  200      -       replica       7   119871880   -
2.1.7  paused-after-restart           n1  primary  200      yes     primary       7   119871880   -
2.1.7  paused-after-restart           n1  replica  503      -       primary       7   119871992   -
2.1.7  paused-dcs-lost                n0  primary  503      no      replica       7   119814664   -
2.1.7  paused-dcs-lost                n0  replica  200      -       replica       7   119814664   -
2.1.7  paused-dcs-lost                n1  primary  200      yes     primary       7   119814664   -
2.1.7  paused-dcs-lost                n1  replica  503      -       primary       7   119814664   -
2.1.7  paused-leader-patroni-stopped  n0  primary  503      no      replica       7   119856040   -
2.1.7  paused-leader-patroni-stopped  n0  replica  200      -       replica       7   119856040   -
2.1.7  paused-manual-promote          n0  primary  503      no      primary       8   119892544   -
2.1.7  paused-manual-promote          n0  replica  503      -       primary       8   119892544   -
2.1.7  paused-manual-promote          n1  primary  200      yes     primary       7   119889232   -
2.1.7  paused-manual-promote          n1  replica  503      -       primary       7   119889232   -
2.1.7  paused                         n0  primary  503      no      replica       7   119766488   -
2.1.7  paused                         n0  replica  200      -       replica       7   119766488   -
2.1.7  paused                         n1  primary  200      yes     primary       7   119766488   -
2.1.7  paused                         n1  replica  503      -       primary       7   119766488   -
2.1.7  replica-pg-crashed-1s          n0  primary  503      no      replica       -   -           unknown
2.1.7  replica-pg-crashed-1s          n0  replica  503      -       replica       -   -           unknown
2.1.7  replica-pg-stopped-paused      n0  primary  503      no      replica       -   -           stopped
2.1.7  replica-pg-stopped-paused      n0  replica  503      -       replica       -   -           stopped
2.1.7  replica-receiver-silent        n0  primary  503      no      replica       7   89964704    -
2.1.7  replica-receiver-silent        n0  replica  200      -       replica       7   89964704    -
2.1.7  replica-replay-paused-lag      n0  primary  503      no      replica       7   89964704    -
2.1.7  replica-replay-paused-lag      n0  replica  200      -       replica       7   89964704    -
2.1.7  replica-replay-paused-lag      n1  primary  200      yes     primary       7   89964704    -
2.1.7  replica-replay-paused-lag      n1  replica  503      -       primary       7   89964704    -
2.1.7  steady                         n0  primary  200      yes     primary       1   50331744    -
2.1.7  steady                         n0  replica  503      -       primary       1   50331744    -
2.1.7  steady                         n1  primary  503      no      replica       1   50331744    -
2.1.7  steady                         n1  replica  200      -       replica       1   50331744    -
2.1.7  sync                           n0  primary  503      no      replica       7   50968592    -
2.1.7  sync                           n0  replica  200      -       replica       7   50968592    -
2.1.7  sync                           n1  primary  200      yes     primary       7   50968592    -
2.1.7  sync                           n1  replica  503      -       primary       7   50968592    -
4.1.5  after-failover                 n1  primary  200      yes     primary       4   50801760    -
4.1.5  after-failover                 n1  replica  503      -       primary       4   50802096    -
4.1.5  dcs-lost-12s                   n0  primary  503      no      replica       6   51277080    streaming
4.1.5  dcs-lost-12s                   n0  replica  200      -       replica       6   51277080    streaming
4.1.5  dcs-lost-12s                   n1  primary  200      yes     primary       6   51277080    -
4.1.5  dcs-lost-12s                   n1  replica  503      -       primary       6   51277192    -
4.1.5  dcs-lost-38s                   n0  primary  503      no      replica       6   51288536    streaming
4.1.5  dcs-lost-38s                   n0  replica  200      -       replica       6   51288536    streaming
4.1.5  dcs-lost-38s                   n1  primary  503      no      replica       6   51288536    not_streaming
4.1.5  dcs-lost-38s                   n1  replica  200      -       replica       6   51288536    not_streaming
4.1.5  dcs-lost-failsafe-12s          n0  primary  503      no      replica       7   51356352    streaming
4.1.5  dcs-lost-failsafe-12s          n0  replica  200      -       replica       7   51356464    streaming
4.1.5  dcs-lost-failsafe-12s          n1  primary  200      yes     primary       7   51356352    -
4.1.5  dcs-lost-failsafe-12s          n1  replica  503      -       primary       7   51356464    -
4.1.5  dcs-lost-failsafe-38s          n0  primary  503      no      replica       7   51611504    streaming
4.1.5  dcs-lost-failsafe-38s          n0  replica  200      -       replica       7   51611728    streaming
4.1.5  dcs-lost-failsafe-38s          n1  primary  200      yes     primary       7   51611504    -
4.1.5  dcs-lost-failsafe-38s          n1  replica  503      -       primary       7   51611504    -
4.1.5  leader-patroni-sigstopped      n0  primary  timeout  silent  -             -   -           -
4.1.5  leader-patroni-sigstopped      n1  primary  200      yes     primary       6   51196032    -
4.1.5  leader-pg-crashed-2s           n1  primary  200      no      primary       -   -           unknown
4.1.5  leader-pg-crashed-2s           n1  replica  503      -       primary       -   -           unknown
4.1.5  leader-pg-hung-15s             n1  primary  timeout  silent  -             -   -           -
4.1.5  leader-pg-hung-15s             n1  replica  timeout  -       -             -   -           -
4.1.5  leader-pg-hung-45s             n0  primary  200      yes     primary       8   1023877288  -
4.1.5  leader-pg-hung-45s             n1  primary  timeout  silent  -             -   -           -
4.1.5  paused-after-restart           n0  primary  503      no      replica       7   51874104    streaming
4.1.5  paused-after-restart           n0  replica  200      -       replica       7   51874328    streaming
4.1.5  paused-after-restart           n1  primary  200      yes     primary       7   51874216    -
4.1.5  paused-after-restart           n1  replica  503      -       primary       7   51874552    -
4.1.5  paused-dcs-lost                n0  primary  503      no      replica       7   51767736    streaming
4.1.5  paused-dcs-lost                n0  replica  200      -       replica       7   51768072    streaming
4.1.5  paused-dcs-lost                n1  primary  200      yes     primary       7   51767736    -
4.1.5  paused-dcs-lost                n1  replica  503      -       primary       7   51767960    -
4.1.5  paused-leader-patroni-stopped  n0  primary  503      no      replica       7   51843488    streaming
4.1.5  paused-leader-patroni-stopped  n0  replica  200      -       replica       7   51843600    streaming
4.1.5  paused-manual-promote          n0  primary  503      no      primary       8   51915232    -
4.1.5  paused-manual-promote          n0  replica  503      -       primary       8   51915232    -
4.1.5  paused-manual-promote          n1  primary  200      yes     primary       7   51907632    -
4.1.5  paused-manual-promote          n1  replica  503      -       primary       7   51907856    -
4.1.5  paused                         n0  primary  503      no      replica       7   51683384    streaming
4.1.5  paused                         n0  replica  200      -       replica       7   51683384    streaming
4.1.5  paused                         n1  primary  200      yes     primary       7   51683384    -
4.1.5  paused                         n1  replica  503      -       primary       7   51683384    -
4.1.5  paused-two-primaries-dcs-lost  n0  primary  200      yes     primary       12  1124506536  -
4.1.5  paused-two-primaries-dcs-lost  n1  primary  200      yes     primary       11  1124500384  -
4.1.5  pending-restart                n0  primary  200      yes     primary       8   1023953496  -
4.1.5  pending-restart                n0  replica  503      -       primary       8   1023953496  -
4.1.5  pending-restart                n1  primary  503      no      replica       8   1023953496  streaming
4.1.5  pending-restart                n1  replica  200      -       replica       8   1023953496  streaming
4.1.5  quorum                         n0  primary  200      yes     primary       8   1023953944  -
4.1.5  quorum                         n0  replica  503      -       primary       8   1023953944  -
4.1.5  quorum                         n1  primary  503      no      quorum_replica 8  1023953944  streaming
4.1.5  quorum                         n1  replica  200      -       quorum_replica 8  1023953944  streaming
4.1.5  replica-pg-crashed-1s          n1  primary  503      no      replica       -   -           unknown
4.1.5  replica-pg-crashed-1s          n1  replica  503      -       replica       -   -           unknown
4.1.5  replica-pg-stopped-paused      n1  primary  503      no      replica       -   -           stopped
4.1.5  replica-pg-stopped-paused      n1  replica  503      -       replica       -   -           stopped
4.1.5  replica-receiver-silent        n1  primary  503      no      replica       8   1062913616  streaming
4.1.5  replica-receiver-silent        n1  replica  200      -       replica       8   1062913616  streaming
4.1.5  replica-replay-paused-lag      n0  primary  200      yes     primary       8   1062913616  -
4.1.5  replica-replay-paused-lag      n0  replica  503      -       primary       8   1062913616  -
4.1.5  replica-replay-paused-lag      n1  primary  503      no      replica       8   1062913616  streaming
4.1.5  replica-replay-paused-lag      n1  replica  200      -       replica       8   1062913616  streaming
4.1.5  steady                         n0  primary  200      yes     primary       1   50331744    -
4.1.5  steady                         n0  replica  503      -       primary       1   50331744    -
4.1.5  steady                         n1  primary  503      no      replica       1   50331744    streaming
4.1.5  steady                         n1  replica  200      -       replica       1   50331744    streaming
4.1.5  sync                           n0  primary  200      yes     primary       8   1023953944  -
4.1.5  sync                           n0  replica  503      -       primary       8   1023953944  -
4.1.5  sync                           n1  primary  503      no      sync_replica  8   1023953944  streaming
4.1.5  sync                           n1  replica  200      -       sync_replica  8   1023953944  streaming
4.1.5  tags-all                       n1  primary  503      no      replica       8   1023953496  streaming+noloadbalance
4.1.5  tags-all                       n1  replica  503      -       replica       8   1023953496  streaming+noloadbalance
";

/// One line of the table.
struct Row<'a> {
    file: PathBuf,
    codes: PathBuf,
    node: &'a str,
    endpoint: &'a str,
    status: &'a str,
    /// Finding, role, timeline, LSN, what else is seen.
    expected: Vec<&'a str>,
}

fn rows() -> Vec<Row<'static>> {
    let row = |line: &'static str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [version, situation, node, endpoint, status, expected @ ..] = &words[..] else {
            panic!("{line:?} has too few words");
        };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/patroni").join(version);
        Row {
            file: dir.join(format!("{situation}-{node}-{endpoint}.json")),
            codes: dir.join(format!("{situation}-codes.tsv")),
            node,
            endpoint,
            status,
            expected: expected.to_vec(),
        }
    };
    RECORDED.trim().lines().map(row).collect()
}

/// What was seen, in the words of the table.
fn told(seen: Result<Observation, SourceError>) -> [String; 5] {
    let none = || "-".to_owned();
    let Ok(seen) = seen else { return ["silent".into(), none(), none(), none(), none()] };
    let yes =
        seen.role == Some(Role::Primary) && seen.leader == Some(true) && seen.not_running.is_none();
    let mut more: Vec<&str> = seen.not_running.as_deref().into_iter().collect();
    if let Some(replay) = seen.replay {
        more.push(if replay.streaming { "streaming" } else { "not_streaming" });
        more.extend(replay.paused.then_some("paused"));
    }
    more.extend(seen.no_load_balance.then_some("noloadbalance"));
    [
        if yes { "yes" } else { "no" }.into(),
        seen.role.map_or_else(none, |role| role.to_string()),
        seen.timeline.map_or_else(none, |timeline| timeline.to_string()),
        seen.lsn.map_or_else(none, |lsn| lsn.0.to_string()),
        if more.is_empty() { none() } else { more.join("+") },
    ]
}

#[test]
fn every_recorded_answer_means_what_the_table_says() {
    for row in rows() {
        let file = row.file.display();
        let body = fs::read(&row.file).unwrap_or_else(|error| panic!("{file}: {error}"));
        // Silence has no status; not even the best one makes a yes of it.
        let timeout = row.status == "timeout";
        assert_eq!(timeout, body.is_empty(), "{file}");
        let status = if timeout { 200 } else { row.status.parse().expect("a status") };
        let mut seen = told(read_answer(Asked::Primary, status, &body));
        if row.endpoint != "primary" {
            seen[0] = "-".into();
        }
        assert_eq!(seen.to_vec(), row.expected, "{file}");
    }
}

#[test]
fn the_table_has_the_recorded_statuses() {
    for row in rows() {
        let codes = fs::read_to_string(&row.codes).expect("the status codes");
        let mut lines = codes.lines().map(|line| line.split('\t'));
        let asked = format!("{}:GET", row.node);
        let column = lines.next().and_then(|mut head| head.position(|name| name == asked));
        let column = column.expect("a column for the node");
        let endpoint = format!("/{}", row.endpoint);
        let line = lines.find_map(|mut line| (line.next() == Some(&endpoint)).then_some(line));
        let code = line.and_then(|mut line| line.nth(column - 1)).expect("a line");
        assert_eq!(code.split(' ').next(), Some(row.status), "{}", row.file.display());
    }
}

#[test]
fn no_recording_is_left_out() {
    let listed: BTreeSet<_> = rows().into_iter().map(|row| row.file).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/patroni");
    let files = |dir: &Path| fs::read_dir(dir).expect("a folder").map(|e| e.expect("it").path());
    let found = files(&root).flat_map(|version| files(&version).collect::<Vec<_>>());
    let found = found.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    assert_eq!(listed, found);
}

fn kind(status: u16, body: &str) -> Option<ErrorKind> {
    read_answer(Asked::Primary, status, body.as_bytes()).err().map(|error| error.kind)
}

#[test]
fn a_503_is_a_no_whatever_its_body() {
    for body in [
        "",
        "<html>",
        "[]",
        r#"{"role":"primary"}"#,
        r#"{"state":"running"}"#,
        r#"{"state":"running","role":"replica","timeline":"1"}"#,
        r#"{"state":"running","role":"replica","tags":1}"#,
    ] {
        assert_eq!(kind(503, body), Some(ErrorKind::NoBody), "{body}");
    }
    let seen = read_answer(Asked::Primary, 503, br#"{"state":"running","role":"primary"}"#);
    let patroni = Some(Patroni::default());
    let tags = Some(Arc::default());
    let stale =
        Observation { leader: Some(false), patroni, tags, ..Observation::of(Role::Primary) };
    assert_eq!(seen, Ok(stale), "a stale old primary");
}

#[test]
fn a_200_needs_a_readable_body() {
    for body in [
        "",
        r#"{"state": "running", "role": "prim"#,
        "[]",
        "null",
        "{}",
        r#"{"role":"primary"}"#,
        r#"{"state":"running"}"#,
        r#"{"state":null,"role":"primary"}"#,
        r#"{"state":1,"role":"primary"}"#,
        r#"{"state":"running","role":["primary"]}"#,
    ] {
        assert_eq!(kind(200, body), Some(ErrorKind::Malformed), "{body}");
    }
}

#[test]
fn a_key_of_another_type_is_never_a_default() {
    for key in [
        r#""timeline":"1""#,
        r#""timeline":0"#,
        r#""timeline":4294967296"#,
        r#""sync_standby":1"#,
        r#""tags":[]"#,
        r#""xlog":7"#,
        r#""xlog":{"location":-1}"#,
        r#""xlog":{"paused":"no"}"#,
        r#""replication_state":true"#,
    ] {
        let body = format!(r#"{{"state":"running","role":"primary",{key}}}"#);
        assert_eq!(kind(200, &body), Some(ErrorKind::Malformed), "{key}");
        let body = format!(r#"{{"state":"stopping","role":"primary",{key}}}"#);
        assert_eq!(kind(200, &body), None, "no key counts where it is not running: {key}");
    }
    let body = br#"{"state":"running","role":"primary","timeline":null,"xlog":null}"#;
    let patroni = Some(Patroni::default());
    let tags = Some(Arc::default());
    let leader =
        Observation { leader: Some(true), patroni, tags, ..Observation::of(Role::Primary) };
    assert_eq!(read_answer(Asked::Primary, 200, body), Ok(leader), "null is absent");
}

#[test]
fn a_role_nobody_may_use_is_a_no_without_a_role() {
    for role in ["demoted", "uninitialized", "promoted", "", "Primary", "leader"] {
        let body = format!(r#"{{"state":"running","role":"{role}"}}"#);
        let patroni = Some(Patroni::default());
        let tags = Some(Arc::default());
        let nobody = Observation { patroni, tags, ..Observation::no_role() };
        assert_eq!(read_answer(Asked::Primary, 200, body.as_bytes()), Ok(nobody), "{role}");
    }
}

#[test]
fn a_state_other_than_running_is_told_with_or_without_a_role() {
    let seen = read_answer(Asked::Primary, 200, br#"{"state":"crashed","role":"master"}"#).unwrap();
    assert_eq!((seen.role, seen.leader), (Some(Role::Primary), Some(true)));
    assert_eq!(seen.not_running.as_deref(), Some("crashed"));
    for role in ["", r#","role":"uninitialized""#, r#","role":7"#] {
        let body = format!(r#"{{"state":"start\u001b failed"{role}}}"#);
        let seen = read_answer(Asked::Primary, 200, body.as_bytes()).unwrap();
        let expected = Some("start failed".into());
        assert_eq!(seen, Observation { not_running: expected, ..Observation::no_role() });
    }
    let long = format!(r#"{{"state":"{}"}}"#, "é".repeat(1000));
    let seen = read_answer(Asked::Primary, 200, long.as_bytes()).unwrap().not_running.unwrap();
    assert_eq!(seen.len(), 64 + '…'.len_utf8());
}

/// Patroni says `starting` until its loop comes round again; that PostgreSQL answered its query, and so that
/// it takes writes, shows where it writes. Never without the lock, never in recovery, in no other state.
#[test]
fn a_leader_that_is_starting_counts_once_it_takes_writes() {
    let body = |state: &str, role: &str, more: &str| {
        format!(r#"{{"state":"{state}","role":"{role}","server_version":150018{more}}}"#)
    };
    let writes = r#","timeline":3,"xlog":{"location":50331744}"#;
    let replays = r#","xlog":{"received_location":5,"replayed_location":5,"paused":false}"#;
    for asked in [Asked::Primary, Asked::ReadOnly] {
        let ready = |status, text: &str| {
            let seen = read_answer(asked, status, text.as_bytes()).expect("an answer");
            decided(&seen, &[Role::Primary], false).state == State::Ready
        };
        for role in ["primary", "master"] {
            for state in ["starting", "restarting", "running"] {
                assert!(ready(200, &body(state, role, writes)), "{state} {role}");
                assert!(!ready(503, &body(state, role, writes)), "without the lock: {state}");
            }
            for state in ["starting", "restarting"] {
                for more in ["", replays, r#","xlog":null"#, r#","xlog":{"location":null}"#] {
                    assert!(!ready(200, &body(state, role, more)), "{state} {more}");
                }
            }
            for state in ["stopping", "stopped", "crashed", "unknown", "start failed"] {
                assert!(!ready(200, &body(state, role, writes)), "{state}");
            }
        }
        assert!(!ready(200, &body("starting", "replica", writes)), "{asked:?}");
        assert!(!ready(200, &body("starting", "standby_leader", replays)), "{asked:?}");
    }
}

#[test]
fn another_status_is_silent_and_its_body_is_not_looked_at() {
    for status in [100, 204, 301, 404, 500, 502] {
        let body = r#"{"state":"running","role":"primary"}"#;
        assert_eq!(kind(status, body), Some(ErrorKind::Status), "{status}");
    }
}

#[test]
fn a_tag_is_true_where_patroni_takes_it_for_true() {
    let off = ["null", "false", "0", "0.0", r#""""#, "[]", "{}"];
    let on = ["true", "1", r#""false""#, "[0]", r#"{"a":0}"#];
    for (values, expected) in [(&off[..], false), (&on[..], true)] {
        for value in values {
            let tags = format!(r#"{{"nosync":true,"noloadbalance":{value}}}"#);
            let body = format!(r#"{{"state":"running","role":"replica","tags":{tags}}}"#);
            let seen = read_answer(Asked::Primary, 503, body.as_bytes()).unwrap();
            assert_eq!((seen.role, seen.no_load_balance), (Some(Role::Replica), expected));
        }
    }
}

/// What a body says of a running replica, as far as a pool rests on it.
fn replica(more: &str) -> Observation {
    let body = format!(r#"{{"state":"running","role":"replica"{more}}}"#);
    read_answer(Asked::Primary, 503, body.as_bytes()).unwrap()
}

#[test]
fn the_kinds_of_replicas_are_those_that_patroni_flags() {
    for (flags, role) in [
        ("", Role::Replica),
        (r#","sync_standby":false,"quorum_standby":null"#, Role::Replica),
        (r#","sync_standby":true"#, Role::SyncReplica),
        (r#","quorum_standby":true"#, Role::QuorumReplica),
        (r#","sync_standby":true,"quorum_standby":true"#, Role::SyncReplica),
    ] {
        assert_eq!(replica(flags).role, Some(role), "{flags}");
    }
    let leader = br#"{"state":"running","role":"primary","sync_standby":true}"#;
    let leader = read_answer(Asked::Primary, 200, leader).unwrap();
    assert_eq!(leader.role, Some(Role::Primary));
}

#[test]
fn a_running_member_has_its_tags_as_text() {
    let pool: Tags = [("nodetype", "olap"), ("shard", "5"), ("warm", "true")]
        .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let tags = |more: &str| replica(more).tags.expect("a running member");
    let fits = tags(r#","tags":{"warm":true,"nodetype":"olap","shard":5,"nosync":true}"#);
    assert_eq!(pool.unmet_by(&fits), None);
    assert!(tags("").is_empty() && tags(r#","tags":null"#).is_empty());
    let stopped = read_answer(Asked::Primary, 503, br#"{"state":"stopped","role":"replica"}"#);
    assert_eq!(stopped.unwrap().tags, None);
}

/// A replica without an archive that streams from nobody: versions that know `replication_state` leave it out.
#[test]
fn a_replica_that_streams_from_nobody_is_seen_where_the_version_would_say_that_it_does() {
    let body = |version: &str, more: &str| {
        replica(&format!(r#","patroni":{{"version":"{version}"}},"xlog":{{"paused":false}}{more}"#))
    };
    let streams = |seen: &Observation| seen.replay.map(|replay| replay.streaming);
    for (version, left_out) in [
        ("2.1.7", None),
        ("3.0.3", None),
        ("3.0.4", Some(false)),
        ("3.1.0", Some(false)),
        ("4.1.5", Some(false)),
        ("5", Some(false)),
        ("", None),
        ("devel", None),
    ] {
        assert_eq!(streams(&body(version, "")), left_out, "{version}");
        for (state, is) in [("streaming", true), ("in archive recovery", false)] {
            let said = body(version, &format!(r#","replication_state":"{state}""#));
            assert_eq!(streams(&said), Some(is), "{version}");
        }
    }
    let leader = br#"{"state":"running","role":"primary","xlog":{"location":1,"paused":false},"patroni":{"version":"4.1.5"}}"#;
    assert_eq!(read_answer(Asked::Primary, 200, leader).unwrap().replay, None);
}

/// Anything JSON can say under the keys that are read.
fn answers() -> impl Strategy<Value = String> {
    let word = prop_oneof!["running|primary|master|replica|streaming|demoted", ".{0,80}"]
        .prop_map(Value::from);
    let leaf = prop_oneof![
        word,
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let key = "state|role|xlog|timeline|tags|location|replayed_location|paused|sync_standby\
               |replication_state|noloadbalance|pause|cluster_unlocked|failsafe_mode_is_active|pending_restart";
    let value = leaf.prop_recursive(3, 40, 10, move |inner| {
        prop::collection::hash_map(key, inner, 0..10)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    });
    value.prop_map(|value| value.to_string())
}

proptest! {
    #[test]
    fn no_answer_panics_and_no_503_is_anything_but_a_no(
        status in prop_oneof![Just(200), Just(503), any::<u16>()],
        body in prop_oneof![answers().prop_map(String::into_bytes), any::<Vec<u8>>()],
    ) {
        let _ = read_answer(Asked::ReadOnly, status, &body);
        let seen = read_answer(Asked::Primary, status, &body);
        match status {
            503 => match seen {
                Ok(seen) => prop_assert_eq!(seen.leader, Some(false)),
                Err(error) => prop_assert_eq!(error.kind, ErrorKind::NoBody),
            },
            200 => if let Ok(seen) = seen {
                prop_assert_eq!(seen.leader, Some(seen.role.is_some()));
            },
            _ => prop_assert!(seen.is_err()),
        }
    }
}

/// What is unusual about a leader that is READY, by the situation it was recorded in.
const UNUSUAL: [(&str, &str); 12] = [
    ("steady", "serves"),
    ("sync", "serves"),
    ("quorum", "serves"),
    ("after-failover", "serves"),
    ("dcs-lost-12s", "serves"),
    ("dcs-lost-failsafe-12s", "serves"),
    ("dcs-lost-failsafe-38s", "serves_in_failsafe"),
    ("paused", "serves_paused"),
    ("paused-after-restart", "serves_paused"),
    ("paused-manual-promote", "serves_paused"),
    ("paused-two-primaries-dcs-lost", "serves_lockless"),
    ("pending-restart", "serves_pending_restart"),
];

fn decided(seen: &Observation, roles: &[Role], required: bool) -> Verdict {
    let mut snapshot = Snapshot::default();
    snapshot.record(Stamp::new(Duration::ZERO), Ok(seen.clone()));
    decided_by(&SourceFacts::of(snapshot), roles, required, Duration::ZERO)
}

fn decided_by(facts: &SourceFacts, roles: &[Role], required: bool, now: Duration) -> Verdict {
    let trust = Trust {
        hold: Duration::from_secs(6),
        hold_by_repmgr: false,
        look: Duration::from_secs(2),
        knows_lag: false,
        lock: Some(Lock {
            required,
            beside: Duration::from_secs(3),
            memory: Duration::from_secs(2),
            chosen: false,
        }),
        electorate: None,
    };
    let lag = LagLimit {
        bytes: Some(Hysteresis { max: 10, resume: 5 }),
        time: None,
        on_lag: OnLag::Maint,
    };
    let settle = Duration::ZERO;
    let policy = Policy {
        roles: roles.to_vec(),
        pool: Pool::default(),
        lag: Some(lag),
        settle,
        trust: vec![trust],
    };
    decide(Stamp::new(now), std::slice::from_ref(facts), Standing::default(), &policy)
}

#[test]
fn every_ready_leader_says_what_is_unusual_and_a_lock_can_be_required() {
    let mut situations = BTreeSet::new();
    for row in rows().into_iter().filter(|row| row.expected[0] == "yes") {
        let body = fs::read(&row.file).unwrap();
        let seen = read_answer(Asked::Primary, 200, &body).unwrap();
        let situation = row.codes.file_name().unwrap().to_str().unwrap();
        let situation = situation.strip_suffix("-codes.tsv").unwrap();
        let label = decided(&seen, &[Role::Primary], false).reason.label();
        let known = UNUSUAL.iter().find(|(name, _)| *name == situation);
        if let Some((_, wanted)) = known {
            assert_eq!(label, *wanted, "{situation}");
            situations.insert(situation.to_owned());
        }
        let required = decided(&seen, &[Role::Primary], true);
        let lockless = label == "serves_lockless";
        assert_eq!(required.state == State::Ready, !lockless, "{situation}: {:?}", required.reason);
        assert!(!lockless || required.reason == Reason::NoLock);
        // Paused and without the store a single leader says the very same as two do.
        assert_eq!(
            lockless,
            situation.contains("paused") && situation.contains("dcs-lost"),
            "{situation}"
        );
    }
    assert_eq!(situations.len(), UNUSUAL.len());
}

#[test]
fn a_leader_is_held_no_longer_than_its_lock() {
    let body = br#"{"state":"running","role":"primary"}"#;
    let leader = |change: &dyn Fn(&mut Patroni)| {
        let mut seen = read_answer(Asked::Primary, 200, body).unwrap();
        change(seen.patroni.as_mut().unwrap());
        let mut snapshot = Snapshot::default();
        snapshot.record(Stamp::new(Duration::ZERO), Ok(seen));
        let slow = SourceError::new(ErrorKind::Timeout, "slow");
        snapshot.record(Stamp::new(Duration::from_millis(500)), Err(slow));
        SourceFacts::of(snapshot)
    };
    let stands = |facts: &SourceFacts, ms| {
        let now = Duration::from_millis(ms);
        decided_by(facts, &[Role::Primary], false, now).state == State::Ready
    };
    let of = |ttl, loop_wait, retry_timeout| {
        let seconds = Duration::from_secs;
        let (ttl, loop_wait) = (seconds(ttl), seconds(loop_wait));
        Some(Times { ttl, loop_wait, retry_timeout: seconds(retry_timeout) })
    };
    let long = leader(&|says| says.times = of(80, 10, 10));
    assert!(stands(&long, 6000) && !stands(&long, 6001), "hold");
    // A bound that is not known is none of infinity: as with the shortest lock that Patroni allows.
    let unknown = leader(&|_| {});
    assert!(!stands(&unknown, 501), "nobody knows for how long");
    // ttl 20, loop_wait 10, retry_timeout 3: hold + timeout + interval + agent_inter must be under 7 s.
    let short = leader(&|says| says.times = of(20, 10, 3));
    assert!(stands(&short, 3999) && !stands(&short, 4000), "the largest that fits");
    let none = leader(&|says| says.times = of(20, 10, 10));
    assert!(!stands(&none, 501));
    let failsafe = leader(&|says| says.failsafe = true);
    let lockless = leader(&|says| (says.paused, says.unlocked) = (true, true));
    assert!(!stands(&failsafe, 501) && !stands(&lockless, 501), "not held at all");
}

/// `GET /read-only?lag=N`, by its status and body.
#[test]
fn a_replica_is_judged_by_the_lag_that_was_asked_for_and_a_leader_by_its_lock() {
    let read = |status, body: &str| read_answer(Asked::ReadOnly, status, body.as_bytes()).unwrap();
    let replica = r#"{"state":"running","role":"replica"}"#;
    let unwanted = r#"{"state":"running","role":"replica","tags":{"noloadbalance":true}}"#;
    let leader = r#"{"state":"running","role":"master"}"#;
    let starting = r#"{"state":"starting","role":"replica"}"#;
    let reads: &[Role] = &[Role::Replica];
    let writes: &[Role] = &[Role::Primary];
    for (status, body, roles, state, reason) in [
        (200, replica, reads, State::Ready, "serves"),
        (503, replica, reads, State::NotReady, "lag_limit"),
        (503, unwanted, reads, State::NotReady, "no_load_balance"),
        (503, starting, reads, State::NotReady, "not_running"),
        (200, leader, reads, State::NotReady, "other_role"),
        (200, leader, writes, State::Ready, "serves"),
        (503, leader, writes, State::NotReady, "not_leader"),
        (200, replica, writes, State::NotReady, "other_role"),
        (503, replica, writes, State::NotReady, "other_role"),
    ] {
        let verdict = decided(&read(status, body), roles, false);
        assert_eq!((verdict.state, verdict.reason.label()), (state, reason), "{status} {body}");
    }
    // A service without a byte limit does not care.
    let seen = read(503, replica);
    assert_eq!(seen.patroni.unwrap().over_lag, Some(true));
    assert_eq!(
        read_answer(Asked::Primary, 503, replica.as_bytes()).unwrap().patroni.unwrap().over_lag,
        None
    );
}

/// A 503 that says nothing more: no leader for certain, and a replica is what it was for a while.
#[test]
fn a_503_without_a_body_ends_writes_at_once_and_reads_by_hold() {
    let facts = |role: Role, leader| {
        let mut snapshot = Snapshot::default();
        let seen = Observation { leader, ..Observation::of(role) };
        snapshot.record(Stamp::new(Duration::ZERO), Ok(seen));
        let nothing = SourceError::new(ErrorKind::NoBody, "nothing");
        snapshot.record(Stamp::new(Duration::from_millis(500)), Err(nothing));
        snapshot
    };
    let at = |ms| Duration::from_millis(ms);
    let leader = facts(Role::Primary, Some(true));
    let said = decided_by(&SourceFacts::of(leader.clone()), &[Role::Primary], false, at(501));
    assert_eq!((said.state, said.reason.label()), (State::NotReady, "no_body"));
    let mut later = leader;
    let slow = SourceError::new(ErrorKind::Timeout, "slow");
    later.record(Stamp::new(at(1000)), Err(slow));
    let said = decided_by(&SourceFacts::of(later), &[Role::Primary], false, at(1001));
    assert_eq!(said.state, State::NotReady, "an older yes does not come back: {:?}", said.reason);
    let replica = SourceFacts::of(facts(Role::Replica, None));
    assert_eq!(decided_by(&replica, &[Role::Replica], false, at(6000)).state, State::Ready);
    assert_eq!(decided_by(&replica, &[Role::Replica], false, at(6001)).state, State::Unknown);
    let nothing = SourceFacts::of({
        let mut snapshot = Snapshot::default();
        snapshot.record(Stamp::new(at(0)), Err(SourceError::new(ErrorKind::NoBody, "nothing")));
        snapshot
    });
    assert_eq!(decided_by(&nothing, &[Role::Primary], false, at(1)).state, State::NotReady);
    assert_eq!(decided_by(&nothing, &[Role::Replica], false, at(1)).state, State::Unknown);
}
