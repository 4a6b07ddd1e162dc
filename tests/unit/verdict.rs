//! The decision: its rules as a table, its promises as properties.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::{Expiry, Lack, Observation, Replay};
use rolecall::look::patroni::Patroni;
use rolecall::look::role::{ROLES, Role};
use rolecall::look::snapshot::{Snapshot, SourceFacts};
use rolecall::look::stamp::Stamp;
use rolecall::look::tags::Tags;
use rolecall::verdict::decide::{Verdict, decide};
use rolecall::verdict::lock::USUAL_TIMES;
use rolecall::verdict::policy::Lock;
use rolecall::verdict::policy::Pool;
use rolecall::verdict::policy::{Hysteresis, LagLimit, OnLag, Policy, Trust};
use rolecall::verdict::reason::Reason;
use rolecall::verdict::standing::Standing;
use rolecall::verdict::state::State;

fn at(ms: u64) -> Stamp {
    Stamp::new(Duration::from_millis(ms))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn fails(kind: ErrorKind) -> Result<Observation, SourceError> {
    Err(SourceError::new(kind, "in a test"))
}

/// For primaries: hold 3 s, interval + timeout 2 s.
fn primaries() -> Policy {
    Policy {
        roles: vec![Role::Primary],
        pool: Pool::default(),
        lag: None,
        settle: Duration::ZERO,
        trust: vec![Trust {
            hold: ms(3000),
            look: ms(2000),
            knows_lag: true,
            electorate: None,
            hold_by_repmgr: false,
            lock: None,
        }],
    }
}

fn replicas(max: u64, resume: u64, on_lag: OnLag) -> Policy {
    let bytes = Some(Hysteresis { max, resume });
    Policy {
        roles: vec![Role::Replica],
        lag: Some(LagLimit { bytes, time: None, on_lag }),
        ..primaries()
    }
}

fn seen(looks: &[(u64, Result<Observation, SourceError>)]) -> Vec<SourceFacts> {
    let mut snapshot = Snapshot::default();
    for (began, look) in looks {
        snapshot.record(at(*began), look.clone());
    }
    vec![SourceFacts::of(snapshot)]
}

fn said(now: u64, sources: &[SourceFacts], policy: &Policy) -> (State, &'static str) {
    let verdict = decide(at(now), sources, Standing::default(), policy);
    (verdict.state, verdict.reason.label())
}

#[expect(clippy::unnecessary_wraps, reason = "a look, beside those that fail")]
fn primary() -> Result<Observation, SourceError> {
    Ok(Observation::of(Role::Primary))
}

fn behind(bytes: Option<u64>) -> Observation {
    let replay =
        Replay { streaming: true, paused: false, lag_bytes: bytes, lag_time: Some(ms(40)) };
    Observation { replay: Some(replay), ..Observation::of(Role::Replica) }
}

#[test]
fn before_the_first_look_nothing_is_known() {
    assert_eq!(said(0, &seen(&[]), &primaries()), (State::Unknown, "no_look_yet"));
    assert_eq!(said(0, &[], &primaries()), (State::Unknown, "no_look_yet"));
    let nobody = Policy { trust: vec![], ..primaries() };
    assert_eq!(said(0, &seen(&[(0, primary())]), &nobody), (State::Unknown, "no_look_yet"));
}

#[test]
fn a_fresh_yes_is_ready_and_tells_until_when() {
    let verdict = decide(at(10), &seen(&[(5, primary())]), Standing::default(), &primaries());
    assert_eq!(verdict.state, State::Ready);
    assert_eq!(verdict.reason, Reason::Serves(Role::Primary));
    assert_eq!(verdict.until, Some(at(3005)));
    assert_eq!(verdict.seen, Some(at(5)));
}

#[test]
fn every_contrary_observation_is_a_no_at_once() {
    let contrary: [(Observation, &str); 6] = [
        (Observation::of(Role::Replica), "other_role"),
        (Observation { leader: Some(false), ..Observation::of(Role::Primary) }, "not_leader"),
        (
            Observation { not_running: Some("stopping".into()), ..Observation::of(Role::Primary) },
            "not_running",
        ),
        (Observation { read_only: true, ..Observation::of(Role::Primary) }, "read_only"),
        (Observation { role: None, ..Observation::of(Role::Primary) }, "no_role"),
        (Observation::of(Role::StandbyLeader), "other_role"),
    ];
    for (observation, label) in contrary {
        let sources = seen(&[(0, primary()), (1, Ok(observation))]);
        assert_eq!(said(1, &sources, &primaries()), (State::NotReady, label));
    }
    let down = seen(&[(0, primary()), (1, fails(ErrorKind::ServerDown))]);
    assert_eq!(said(1, &down, &primaries()), (State::NotReady, "server_down"));
}

#[test]
fn silence_after_a_no_never_brings_an_older_yes_back() {
    let down = [(0, primary()), (1, fails(ErrorKind::ServerDown)), (2, fails(ErrorKind::Timeout))];
    assert_eq!(said(3, &seen(&down), &primaries()), (State::Unknown, "timeout"));
    let demoted =
        [(0, primary()), (1, Ok(Observation::of(Role::Replica))), (2, fails(ErrorKind::Timeout))];
    assert_eq!(said(3, &seen(&demoted), &primaries()), (State::NotReady, "other_role"));
}

#[test]
fn every_silent_failure_is_held_for_hold_and_no_longer() {
    // A 503 without a body is evidence against a leader alone: tests/unit/patroni_answers.rs.
    let silent = |kind: &&ErrorKind| !kind.is_contrary() && **kind != ErrorKind::NoBody;
    for kind in ErrorKind::ALL.iter().filter(silent) {
        let sources = seen(&[(0, primary()), (500, fails(*kind))]);
        assert_eq!(said(3000, &sources, &primaries()), (State::Ready, "serves"));
        assert_eq!(said(3001, &sources, &primaries()), (State::Unknown, kind.label()));
    }
}

#[test]
fn with_hold_zero_the_first_failed_look_ends_it_and_a_slow_one_does_not() {
    let mut policy = primaries();
    policy.trust[0].hold = Duration::ZERO;
    let good = seen(&[(0, primary())]);
    assert_eq!(said(2000, &good, &policy), (State::Ready, "serves"));
    assert_eq!(said(2001, &good, &policy), (State::Unknown, "stale"));
    let failed = seen(&[(0, primary()), (0, fails(ErrorKind::Timeout))]);
    assert_eq!(said(0, &failed, &policy), (State::Unknown, "timeout"));
}

#[test]
fn a_poller_that_hangs_leaves_no_old_yes_behind() {
    let mut policy = primaries();
    policy.trust[0].hold = ms(500);
    let good = seen(&[(0, primary())]);
    assert_eq!(said(2000, &good, &policy), (State::Ready, "serves"));
    assert_eq!(said(2001, &good, &policy), (State::Unknown, "stale"));
}

#[test]
fn several_sources_any_no_is_no_else_any_silence_is_unknown() {
    let trust = primaries().trust.remove(0);
    let policy = Policy { trust: vec![trust.clone(), trust], ..primaries() };
    let two =
        |a: Result<_, _>, b: Result<_, _>| [seen(&[(0, a)]).remove(0), seen(&[(0, b)]).remove(0)];
    let no = || Ok(Observation::of(Role::Replica));
    let silent = || fails(ErrorKind::Timeout);
    assert_eq!(said(1, &two(primary(), primary()), &policy).0, State::Ready);
    assert_eq!(said(1, &two(primary(), no()), &policy).0, State::NotReady);
    assert_eq!(said(1, &two(silent(), no()), &policy).0, State::NotReady);
    assert_eq!(said(1, &two(primary(), silent()), &policy).0, State::Unknown);
    // A source whose facts are not there yet speaks for nobody.
    assert_eq!(said(1, &two(primary(), primary())[..1], &policy).0, State::Unknown);
}

#[test]
fn a_yes_settles_and_any_break_starts_it_again() {
    let policy = Policy { settle: ms(1000), ..primaries() };
    let yes = seen(&[(0, primary())]);
    let standing = Standing::default().fold(at(0), &[], &yes, &policy);
    let state = |now, sources: &[_], standing| {
        let verdict = decide(at(now), sources, standing, &policy);
        (verdict.state, verdict.reason.label())
    };
    assert_eq!(state(999, &yes, standing), (State::NotReady, "settling"));
    assert_eq!(state(1000, &yes, standing), (State::Ready, "serves"));

    let no = seen(&[(1100, Ok(Observation::of(Role::Replica)))]);
    let standing = standing.fold(at(1100), &yes, &no, &policy);
    let again = seen(&[(1200, primary())]);
    let standing = standing.fold(at(1200), &no, &again, &policy);
    assert_eq!(state(2199, &again, standing), (State::NotReady, "settling"));
    assert_eq!(state(2200, &again, standing), (State::Ready, "serves"));
}

#[test]
fn a_yes_that_lapsed_unseen_settles_again() {
    let policy = Policy { settle: ms(1000), ..primaries() };
    let yes = seen(&[(0, primary())]);
    let standing = Standing::default().fold(at(0), &[], &yes, &policy);
    // The host slept: the next look comes long after the facts expired.
    let later = seen(&[(60_000, primary())]);
    let standing = standing.fold(at(60_000), &yes, &later, &policy);
    assert_eq!(standing.confirmed_since, Some(at(60_000)));
}

#[test]
fn a_replica_leaves_at_the_limit_and_comes_back_at_the_lower_mark() {
    let policy = replicas(100, 75, OnLag::Maint);
    let mut standing = Standing::default();
    let mut before: Vec<SourceFacts> = vec![];
    let expected = [
        (100, State::Ready),
        (101, State::NotReady),
        (100, State::NotReady),
        (76, State::NotReady),
        (75, State::Ready),
        (99, State::Ready),
    ];
    for (look, (lag, state)) in (1..).zip(expected) {
        let after = seen(&[(look, Ok(behind(Some(lag))))]);
        standing = standing.fold(at(look), &before, &after, &policy);
        assert_eq!(decide(at(look), &after, standing, &policy).state, state, "lag {lag}");
        before = after;
    }
}

#[test]
fn a_replica_at_its_time_limit_does_not_flap() {
    let limit =
        LagLimit { bytes: None, time: Some(Hysteresis::time(ms(100))), on_lag: OnLag::Maint };
    let policy = Policy { lag: Some(limit), ..replicas(0, 0, OnLag::Maint) };
    let late = |time| {
        let seen = behind(None);
        Observation { replay: seen.replay.map(|r| Replay { lag_time: time, ..r }), ..seen }
    };
    let mut standing = Standing::default();
    let mut before: Vec<SourceFacts> = vec![];
    let expected = [
        (Some(100), State::Ready),
        (Some(101), State::NotReady),
        (Some(99), State::NotReady),
        (None, State::NotReady),
        (Some(76), State::NotReady),
        (Some(75), State::Ready),
        (Some(99), State::Ready),
    ];
    for (look, (time, state)) in (1..).zip(expected) {
        let after = seen(&[(look, Ok(late(time.map(ms))))]);
        standing = standing.fold(at(look), &before, &after, &policy);
        assert_eq!(decide(at(look), &after, standing, &policy).state, state, "{time:?} late");
        before = after;
    }
}

#[test]
fn a_replica_over_its_limit_is_drained_where_that_is_chosen() {
    let policy = replicas(100, 75, OnLag::Drain);
    assert_eq!(said(0, &seen(&[(0, Ok(behind(Some(101))))]), &policy), (State::Drain, "lag_bytes"));
    assert_eq!(said(0, &seen(&[(0, Ok(behind(None)))]), &policy), (State::Drain, "lag_unknown"));
    assert_eq!(said(0, &seen(&[(0, primary())]), &policy), (State::NotReady, "other_role"));
}

#[test]
fn a_source_that_cannot_know_the_lag_is_not_asked_for_it() {
    let knows = primaries().trust.remove(0);
    let trust = vec![Trust { knows_lag: false, ..knows.clone() }, knows];
    let policy = Policy { trust, ..replicas(100, 75, OnLag::Maint) };
    let unaware = seen(&[(0, Ok(Observation::of(Role::Replica)))]).remove(0);
    let two = |lag| [unaware.clone(), seen(&[(0, Ok(behind(lag)))]).remove(0)];
    assert_eq!(said(0, &two(Some(100)), &policy).0, State::Ready);
    assert_eq!(said(0, &two(Some(101)), &policy), (State::NotReady, "lag_bytes"));
    assert_eq!(said(0, &two(None), &policy), (State::NotReady, "lag_unknown"));
}

#[test]
fn a_time_limit_is_kept_too() {
    let lag = LagLimit { bytes: None, time: Some(Hysteresis::time(ms(39))), on_lag: OnLag::Maint };
    let policy = Policy { lag: Some(lag), ..replicas(0, 0, OnLag::Maint) };
    let sources = seen(&[(0, Ok(behind(None)))]);
    assert_eq!(said(0, &sources, &policy), (State::NotReady, "lag_time"));
}

/// The kind of F9: the reason says what the server lacks, and drains as every other lag does.
#[test]
fn a_lag_that_the_server_does_not_tell_is_said_in_its_words() {
    let part = Lack::Part("function pg_last_wal_replay_lsn() is not supported".into());
    for (lack, words, hint) in [
        (
            part,
            "the server does not tell its replication lag: function pg_last_wal_replay_lsn() is not supported",
            "remove `max_lag`",
        ),
        (
            Lack::Hidden,
            "rolecall's user may not see the replication lag",
            "GRANT pg_read_all_stats",
        ),
    ] {
        let bare = Observation { lack: Some(lack), ..Observation::of(Role::Replica) };
        let sources = seen(&[(0, Ok(bare.clone()))]);
        for (on_lag, state) in [(OnLag::Maint, State::NotReady), (OnLag::Drain, State::Drain)] {
            let policy = replicas(100, 75, on_lag);
            assert_eq!(said(0, &sources, &policy), (state, "lag_not_told"));
            let verdict = decide(at(0), &sources, Standing::default(), &policy);
            assert_eq!(verdict.reason.to_string(), words);
            assert!(verdict.reason.hint().is_some_and(|said| said.contains(hint)));
            // By a limit in time, too; without one the role alone is asked.
            let time = LagLimit { bytes: None, time: Some(Hysteresis::time(ms(39))), on_lag };
            assert_eq!(
                said(0, &sources, &Policy { lag: Some(time), ..policy.clone() }).1,
                "lag_not_told"
            );
            assert_eq!(said(0, &sources, &Policy { lag: None, ..policy }).0, State::Ready);
        }
    }
}

/// A pool by tag takes whom Patroni tells of with this tag, whatever another source beside it sees.
#[test]
fn the_tags_of_a_pool_hold_for_replicas_and_for_a_primary_that_it_takes() {
    let tags =
        |value: &str| [("nodetype".to_owned(), value.to_owned())].into_iter().collect::<Tags>();
    let pool = Pool { tags: tags("olap"), ..Pool::default() };
    let tagged =
        |role, value| Observation { tags: Some(Arc::new(tags(value))), ..Observation::of(role) };
    let by_postgres = Observation::of(Role::Replica);
    let trust = primaries().trust.remove(0);
    let policy = |roles: &[Role], sources| Policy {
        roles: roles.to_vec(),
        pool: pool.clone(),
        trust: vec![trust.clone(); sources],
        ..primaries()
    };
    let any = [Role::Primary, Role::Replica];
    for (role, value, state) in [
        (Role::Replica, "olap", State::Ready),
        (Role::SyncReplica, "olap", State::Ready),
        (Role::Replica, "oltp", State::NotReady),
        (Role::Primary, "olap", State::Ready),
        (Role::Primary, "oltp", State::NotReady),
    ] {
        let one = seen(&[(0, Ok(tagged(role, value)))]);
        assert_eq!(said(0, &one, &policy(&any, 1)).0, state, "{role} {value}");
    }
    let bare = Observation { tags: Some(Arc::default()), ..Observation::of(Role::Replica) };
    assert_eq!(said(0, &seen(&[(0, Ok(bare))]), &policy(&any, 1)).1, "other_tag");
    for (value, wanted) in [("olap", "serves"), ("oltp", "other_tag")] {
        let two = [(0, Ok(tagged(Role::Replica, value))), (0, Ok(by_postgres.clone()))];
        let two: Vec<_> = two.into_iter().flat_map(|look| seen(&[look])).collect();
        assert_eq!(said(0, &two, &policy(&[Role::Replica], 2)).1, wanted);
    }
}

/// A verdict that a lost stream will end says so, and is another one then.
#[test]
fn a_replica_that_has_lost_its_stream_stands_until_its_minute_is_over() {
    let lock = Lock { required: false, beside: ms(0), memory: ms(0), chosen: false };
    let trust = Trust { lock: Some(lock), hold: ms(90_000), ..primaries().trust.remove(0) };
    let policy = Policy { roles: vec![Role::Replica], trust: vec![trust], ..primaries() };
    let streams = |streaming| Observation {
        replay: Some(Replay { streaming, paused: false, lag_bytes: None, lag_time: None }),
        ..Observation::of(Role::Replica)
    };
    let mut facts = SourceFacts::default();
    facts.record_own(at(0), at(0), Ok(streams(true)));
    facts.record_own(at(500), at(500), Ok(streams(false)));
    let sources = [facts];
    let verdict = decide(at(600), &sources, Standing::default(), &policy);
    assert_eq!((verdict.state, verdict.until), (State::Ready, Some(at(60_000))));
    assert_eq!(said(60_000, &sources, &policy).0, State::Ready);
    assert_eq!(said(60_001, &sources, &policy), (State::NotReady, "not_streaming"));
}

/// A pool by kind does not lose who was synchronous when the store was last seen; who was never known is not in.
#[test]
fn a_kind_that_nobody_knows_now_is_what_it_was() {
    let lock = Lock { required: false, beside: ms(0), memory: ms(0), chosen: false };
    let trust = Trust { lock: Some(lock), knows_lag: false, ..primaries().trust.remove(0) };
    let policy = |role| Policy { roles: vec![role], trust: vec![trust.clone()], ..primaries() };
    let says = Patroni { version: Some((4, 1)), ..Patroni::default() };
    let lost = Patroni { unlocked: true, ..says };
    let replica = |role, patroni| Observation { patroni: Some(patroni), ..Observation::of(role) };
    let label = |looks: &[Observation], role| {
        let mut facts = SourceFacts::default();
        for (began, look) in (0..).zip(looks) {
            facts.record_own(at(began), at(began), Ok(look.clone()));
        }
        let (state, label) = said(10, &[facts], &policy(role));
        (state, label)
    };
    let (sync, plain) = (replica(Role::SyncReplica, says), replica(Role::Replica, says));
    let gone = replica(Role::Replica, lost);
    for (looks, role, wanted) in [
        (vec![sync.clone()], Role::SyncReplica, (State::Ready, "serves")),
        (vec![sync.clone()], Role::AsyncReplica, (State::NotReady, "other_role")),
        (vec![sync.clone(), gone.clone()], Role::SyncReplica, (State::Ready, "serves_unlocked")),
        (vec![sync, gone.clone()], Role::AsyncReplica, (State::NotReady, "other_role")),
        (vec![plain.clone(), gone.clone()], Role::AsyncReplica, (State::Ready, "serves_unlocked")),
        (vec![plain], Role::QuorumReplica, (State::NotReady, "other_role")),
        (vec![gone.clone()], Role::SyncReplica, (State::Unknown, "kind_unknown")),
        (vec![gone.clone()], Role::AsyncReplica, (State::Unknown, "kind_unknown")),
        (vec![gone], Role::Replica, (State::Ready, "serves_unlocked")),
    ] {
        assert_eq!(label(&looks, role), wanted, "{role} {looks:?}");
    }
}

#[test]
fn a_synchronous_replica_serves_replicas_and_noloadbalance_does_not() {
    let policy = Policy { lag: None, ..replicas(0, 0, OnLag::Maint) };
    let sync = seen(&[(0, Ok(Observation::of(Role::SyncReplica)))]);
    assert_eq!(said(0, &sync, &policy).0, State::Ready);
    let tagged = Observation { no_load_balance: true, ..Observation::of(Role::Replica) };
    assert_eq!(said(0, &seen(&[(0, Ok(tagged))]), &policy), (State::NotReady, "no_load_balance"));
}

// === properties ===

fn any_observation() -> impl Strategy<Value = Observation> {
    let role = prop::option::weighted(0.9, prop::sample::select(ROLES.to_vec()));
    let leader = prop::option::of(any::<bool>());
    let state = prop::option::weighted(0.1, Just("stopping".into()));
    let lag = prop::option::of((prop::option::of(0u64..200), prop::option::of(0u64..200)));
    (role, leader, state, prop::bool::weighted(0.1), prop::bool::weighted(0.1), lag).prop_map(
        |(role, leader, not_running, read_only, no_load_balance, lag)| Observation {
            role,
            leader,
            not_running,
            answers: false,
            read_only,
            no_load_balance,
            tags: None,
            lack: None,
            timeline: None,
            lsn: None,
            replay: lag.map(|(bytes, time)| Replay {
                streaming: true,
                paused: false,
                lag_bytes: bytes,
                lag_time: time.map(ms),
            }),
            expiry: Expiry::default(),
            patroni: None,
            upkeep: None,
            repmgr: None,
            monitored: None,
            release: None,
        },
    )
}

fn any_look() -> impl Strategy<Value = Result<Observation, SourceError>> {
    prop_oneof![
        3 => Just(primary()),
        3 => any_observation().prop_map(Ok),
        2 => prop::sample::select(ErrorKind::ALL.to_vec()).prop_map(fails),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let roles = prop::sample::subsequence(ROLES.to_vec(), 1..=ROLES.len());
    let lag = prop::option::of((
        prop::option::of((50u64..150).prop_map(|max| Hysteresis { max, resume: max * 3 / 4 })),
        prop::option::of((50u64..150).prop_map(ms)),
        prop::bool::ANY,
    ));
    let trust = prop::collection::vec((0u64..4000, 150u64..2500), 1..3);
    let settle = prop_oneof![Just(0u64), 0u64..3000];
    (roles, lag, settle, trust).prop_map(|(roles, lag, settle, trust)| Policy {
        roles,
        pool: Pool::default(),
        lag: lag.map(|(bytes, time, drain)| LagLimit {
            bytes,
            time: time.map(Hysteresis::time),
            on_lag: if drain { OnLag::Drain } else { OnLag::Maint },
        }),
        settle: ms(settle),
        trust: trust
            .iter()
            .map(|t| Trust {
                hold: ms(t.0),
                look: ms(t.1),
                knows_lag: true,
                electorate: None,
                hold_by_repmgr: false,
                lock: None,
            })
            .collect(),
    })
}

/// One step of a life: which source's look ended, how long after the step before, and how.
type Step = (usize, u64, Result<Observation, SourceError>);

fn any_life() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0usize..2, 1u64..2000, any_look()), 0..25)
}

/// The facts and the memory after each step, at the step's moment.
fn live(policy: &Policy, life: &[Step]) -> Vec<(Stamp, Vec<SourceFacts>, Standing)> {
    let mut sources = vec![SourceFacts::default(); policy.trust.len()];
    let mut standing = Standing::default();
    let mut now = at(0);
    let mut moments = vec![(now, sources.clone(), standing)];
    for (source, pause, look) in life {
        now = now.plus(ms(*pause));
        let before = sources.clone();
        let index = source % sources.len();
        sources[index].own.record(now, look.clone());
        standing = standing.fold(now, &before, &sources, policy);
        moments.push((now, sources.clone(), standing));
    }
    moments
}

/// What READY promises, said again without the code under test: each source's newest evidence is
/// a look that succeeded, shows a role that is asked for with nothing against it, and is young.
fn vouched_for(now: Stamp, sources: &[SourceFacts], policy: &Policy) -> bool {
    policy.trust.iter().zip(sources).all(|(trust, source)| {
        let Some((began, seen)) = source.own.good() else { return false };
        let failing = source.own.failing().is_some();
        let limit = match failing {
            true => trust.hold,
            false if trust.hold > trust.look => trust.hold,
            false => trust.look,
        };
        // These sources are PostgreSQL itself: a replica may be of any kind.
        let asked = |role: Role| match role {
            Role::Primary | Role::StandbyLeader => policy.roles.contains(&role),
            Role::Replica => policy.roles.iter().any(|asked| *asked != Role::Primary),
            Role::QuorumReplica => [Role::Replica, Role::SyncReplica, role]
                .iter()
                .any(|asked| policy.roles.contains(asked)),
            Role::SyncReplica | Role::AsyncReplica => {
                [Role::Replica, role].iter().any(|asked| policy.roles.contains(asked))
            }
        };
        seen.role.is_some_and(asked)
            && seen.not_running.is_none()
            && (seen.role != Some(Role::Primary) || (seen.leader != Some(false) && !seen.read_only))
            && (seen.role == Some(Role::Primary) || !seen.no_load_balance)
            && now.since(began) <= limit
            && !(failing && trust.hold.is_zero())
    })
}

fn verdict_at(
    now: Stamp,
    moment: &(Stamp, Vec<SourceFacts>, Standing),
    policy: &Policy,
) -> Verdict {
    decide(now, &moment.1, moment.2, policy)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ready_rests_on_fresh_successful_matching_looks(
        policy in any_policy(), life in any_life(), later in 0u64..6000,
    ) {
        for moment in live(&policy, &life) {
            for now in [moment.0, moment.0.plus(ms(later))] {
                if verdict_at(now, &moment, &policy).state == State::Ready {
                    prop_assert!(vouched_for(now, &moment.1, &policy));
                }
            }
        }
    }

    #[test]
    fn ready_has_been_a_yes_for_as_long_as_it_must_settle(policy in any_policy(), life in any_life()) {
        let moments = live(&policy, &life);
        for (index, moment) in moments.iter().enumerate() {
            // Only being the primary has to settle: a replica serves at once.
            let is_primary = |of: &SourceFacts| of.own.good().is_some_and(|(_, s)| s.role == Some(Role::Primary));
            let primary = moment.1.iter().any(is_primary);
            if !primary || verdict_at(moment.0, moment, &policy).state != State::Ready {
                continue;
            }
            let since = moment.0.since(at(0)).saturating_sub(policy.settle);
            // Every earlier moment within the settling time was a yes, up to the next one.
            for pair in moments[..=index].windows(2) {
                if pair[1].0.since(at(0)) > since {
                    prop_assert!(vouched_for(pair[1].0, &pair[1].1, &policy));
                }
                if pair[0].0.since(at(0)) >= since {
                    prop_assert!(vouched_for(pair[1].0, &pair[0].1, &policy));
                }
            }
        }
    }

    #[test]
    fn a_verdict_stands_until_it_says(policy in any_policy(), life in any_life(), part in 0u64..=100) {
        for moment in live(&policy, &life) {
            let now = verdict_at(moment.0, &moment, &policy);
            let Some(until) = now.until else {
                let late = verdict_at(moment.0.plus(ms(1 << 40)), &moment, &policy);
                prop_assert_eq!(late.state, now.state);
                continue;
            };
            let between = moment.0.plus(until.since(moment.0) * u32::try_from(part).unwrap_or(0) / 101);
            prop_assert_eq!(verdict_at(between, &moment, &policy).state, now.state);
        }
    }

    #[test]
    fn a_contrary_look_is_never_ready(policy in any_policy(), life in any_life(), source in 0usize..2) {
        for (now, mut sources, standing) in live(&policy, &life) {
            let before = sources.clone();
            let index = source % sources.len();
            sources[index].own.record(now, fails(ErrorKind::ServerDown));
            let standing = standing.fold(now, &before, &sources, &policy);
            prop_assert_eq!(decide(now, &sources, standing, &policy).state, State::NotReady);
        }
    }

    #[test]
    fn any_moments_and_spans_are_decided(policy in any_policy(), began in any::<u64>(), now in any::<u64>()) {
        let policy = Policy { trust: vec![Trust { hold: Duration::MAX, look: Duration::MAX, knows_lag: true, electorate: None, hold_by_repmgr: false, lock: None }], ..policy };
        let sources = seen(&[(began, primary())]);
        let standing = Standing::default().fold(at(now), &[], &sources, &policy);
        decide(at(now), &sources, standing, &policy);
    }
}

/// Where no lock stands behind a leader, nothing of it is held: two could say they lead.
#[test]
fn a_leader_of_patronis_is_held_no_longer_than_its_lock() {
    let mut policy = primaries();
    let beside = ms(3000);
    policy.trust[0].lock = Some(Lock { required: false, beside, memory: ms(2000), chosen: false });
    policy.trust[0].hold = ms(30_000);
    let held = |patroni: Patroni| {
        let look = Observation { patroni: Some(patroni), ..Observation::of(Role::Primary) };
        rolecall::verdict::trust::hold(&seen(&[(0, Ok(look))])[0], &policy.trust[0])
    };
    let times = Some(USUAL_TIMES);
    let usual = Patroni { times, ..Patroni::default() };
    assert_eq!(held(usual), ms(6999));
    assert_eq!(held(Patroni { failsafe: true, ..usual }), ms(0), "the store is lost");
    assert_eq!(held(Patroni { paused: true, unlocked: true, ..usual }), ms(0), "nobody has a lock");
    assert_eq!(held(Patroni { paused: true, ..usual }), ms(6999), "paused, with its lock");
    assert_eq!(held(Patroni { times: None, ..usual }), ms(0), "the shortest span is 3 s");
}

/// `require_lock` is about who says that it leads, not about a replica in the same plight.
#[test]
fn a_leader_without_a_lock_is_out_where_the_lock_is_required() {
    let lockless = Patroni { paused: true, unlocked: true, ..Patroni::default() };
    let judged = |role, leader, required| {
        let mut policy = Policy { roles: vec![role], ..primaries() };
        policy.trust[0].lock =
            Some(Lock { required, beside: ms(3000), memory: ms(2000), chosen: false });
        let look = Observation { patroni: Some(lockless), leader, ..Observation::of(role) };
        said(1, &seen(&[(0, Ok(look))]), &policy)
    };
    assert_eq!(judged(Role::Primary, Some(true), true), (State::NotReady, "no_lock"));
    assert_eq!(judged(Role::Primary, Some(true), false).0, State::Ready);
    assert_eq!(judged(Role::Replica, Some(false), true).0, State::Ready);
    assert_eq!(judged(Role::Replica, None, true).0, State::Ready);
}

/// Patroni counts the bytes behind by the limit that it is asked with.
#[test]
fn a_replica_that_patroni_calls_late_is_out_where_bytes_are_limited() {
    let judged = |over_lag, policy: &Policy| {
        let patroni = Some(Patroni { over_lag, ..Patroni::default() });
        let look = Observation { patroni, ..behind(Some(0)) };
        said(1, &seen(&[(0, Ok(look))]), policy).0
    };
    let limited = replicas(100, 50, OnLag::Maint);
    assert_eq!(judged(Some(true), &limited), State::NotReady);
    assert_eq!(judged(Some(false), &limited), State::Ready);
    assert_eq!(judged(None, &limited), State::Ready);
    let unlimited = Policy { lag: None, ..replicas(100, 50, OnLag::Maint) };
    assert_eq!(judged(Some(true), &unlimited), State::Ready);
}
