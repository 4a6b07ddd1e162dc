//! What Patroni's answers mean: every recorded one, and every form one could have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rolecall::observation::{ErrorKind, Observation, SourceError};
use rolecall::role::Role;
use rolecall::source::patroni::read_answer;
use serde_json::Value;

/// Answers recorded from two-node clusters of Patroni 2.1.7 and 4.1.5 on PostgreSQL 15, and what
/// they mean: version, situation, node, endpoint; status (or `timeout`: an empty file); what that is
/// to a service for the primary; role, timeline, LSN in bytes; and what else is seen.
///
/// rolecall asks `/primary` alone. The bodies of `/replica` are read for their form, so they are no
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
4.1.5  dcs-lost-38s                   n1  primary  503      no      replica       6   51288536    -
4.1.5  dcs-lost-38s                   n1  replica  200      -       replica       6   51288536    -
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
4.1.5  quorum                         n1  primary  503      no      replica       8   1023953944  streaming
4.1.5  quorum                         n1  replica  200      -       replica       8   1023953944  streaming
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
        more.push(if replay.streaming { "streaming" } else { "not streaming" });
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
        let mut seen = told(read_answer(status, &body));
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
    read_answer(status, body.as_bytes()).err().map(|error| error.kind)
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
        assert_eq!(read_answer(503, body.as_bytes()), Ok(Observation::no_role()), "{body}");
    }
    let seen = read_answer(503, br#"{"state":"running","role":"primary"}"#);
    let stale = Observation { leader: Some(false), ..Observation::of(Role::Primary) };
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
    let leader = Observation { leader: Some(true), ..Observation::of(Role::Primary) };
    assert_eq!(read_answer(200, body), Ok(leader), "null is absent");
}

#[test]
fn a_role_nobody_may_use_is_a_no_without_a_role() {
    for role in ["demoted", "uninitialized", "promoted", "", "Primary", "leader"] {
        let body = format!(r#"{{"state":"running","role":"{role}"}}"#);
        assert_eq!(read_answer(200, body.as_bytes()), Ok(Observation::no_role()), "{role}");
    }
}

#[test]
fn a_state_other_than_running_is_told_with_or_without_a_role() {
    let seen = read_answer(200, br#"{"state":"crashed","role":"master"}"#).unwrap();
    assert_eq!((seen.role, seen.leader), (Some(Role::Primary), Some(true)));
    assert_eq!(seen.not_running.as_deref(), Some("crashed"));
    for role in ["", r#","role":"uninitialized""#, r#","role":7"#] {
        let body = format!(r#"{{"state":"start\u001b failed"{role}}}"#);
        let seen = read_answer(200, body.as_bytes()).unwrap();
        let expected = Some("start failed".into());
        assert_eq!(seen, Observation { not_running: expected, ..Observation::no_role() });
    }
    let long = format!(r#"{{"state":"{}"}}"#, "é".repeat(1000));
    let seen = read_answer(200, long.as_bytes()).unwrap().not_running.unwrap();
    assert_eq!(seen.chars().count(), 64);
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
            let seen = read_answer(503, body.as_bytes()).unwrap();
            assert_eq!((seen.role, seen.no_load_balance), (Some(Role::Replica), expected));
        }
    }
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
               |replication_state|noloadbalance";
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
        let seen = read_answer(status, &body);
        match status {
            503 => prop_assert_eq!(seen.unwrap().leader, Some(false)),
            200 => if let Ok(seen) = seen {
                prop_assert_eq!(seen.leader, Some(seen.role.is_some()));
            },
            _ => prop_assert!(seen.is_err()),
        }
    }
}
