//! The command source with real programs: its contract, and what is left of them afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::role::Role;
use rolecall::source::RoleSource;
use rolecall::source::command::Command;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// No test waits longer for what must happen.
const SOON: Duration = Duration::from_secs(10);

fn command(argv: &[&str]) -> Command {
    Command::new(argv.iter().map(ToString::to_string).collect())
}

/// A source that runs a shell, told so by the operator, with `$1` as the path of a file.
fn shell(script: &str, file: &Path) -> Command {
    command(&["/bin/sh", "-c", script, "sh", file.to_str().unwrap()])
}

async fn look(argv: &[&str]) -> Result<Observation, SourceError> {
    timeout(SOON, command(argv).observe()).await.expect("the look ends by itself")
}

async fn run(script: &str) -> Result<Observation, SourceError> {
    look(&["/bin/sh", "-c", script]).await
}

fn file() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("said");
    (dir, file)
}

/// The process numbers in a file, once their line is whole.
async fn pids(file: &Path) -> Vec<i32> {
    let written = async {
        loop {
            let said = fs::read_to_string(file).unwrap_or_default();
            if said.ends_with('\n') {
                return said.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, written).await.expect("the program starts")
}

/// Waits until a process runs no more; whoever inherited it may not have reaped it yet.
async fn dead(pid: i32) {
    let ended = async {
        while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && !stat.contains(") Z ")
        {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, ended).await.unwrap_or_else(|_| panic!("process {pid} lives on"));
}

/// Waits until nothing is left of a child of this process, not even a zombie.
async fn reaped(pid: i32) {
    let gone = async {
        while Path::new(&format!("/proc/{pid}")).exists() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, gone).await.unwrap_or_else(|_| panic!("process {pid} is a zombie"));
}

#[tokio::test]
async fn a_word_and_exit_code_0_are_the_role() {
    for (said, role) in [
        ("primary", Role::Primary),
        ("master\n", Role::Primary),
        ("replica\r\n", Role::Replica),
        ("standby", Role::Replica),
        (" \n\tsync_replica \n\n", Role::SyncReplica),
        ("standby_leader\n", Role::StandbyLeader),
    ] {
        assert_eq!(look(&["/usr/bin/printf", said]).await, Ok(Observation::of(role)), "{said:?}");
    }
    assert_eq!(look(&["printf", "none\n"]).await, Ok(Observation::no_role()), "found in PATH");
}

#[tokio::test]
async fn everything_else_shows_nothing_and_says_what_was_expected() {
    for (script, detail) in [
        ("echo primary; exit 1", "expected exit code 0, got exit status: 1"),
        ("echo none; exit 2", "expected exit code 0, got exit status: 2"),
        ("echo primary; kill -9 $$", "expected exit code 0, got signal: 9"),
        ("true", "expected a role or `none`, but the command printed nothing"),
        ("echo; echo", "printed nothing"),
        (
            "echo primary replica",
            "expected one of the words primary, replica, sync_replica, quorum_replica, async_replica, standby_leader or none, but the command printed: primary replica",
        ),
        ("echo primary; echo primary", "printed: primary"),
        ("echo Primary", "printed: Primary"),
        ("printf 'prim\\377ary'", "printed: prim\u{fffd}ary"),
        ("printf '\\033[1mprimary'", "printed: [1mprimary"),
        (
            "head -c 4097 /dev/zero; sleep 1000",
            "expected one word, but the command printed more than 4096 bytes",
        ),
        ("yes primary", "expected one word, but the command printed more than 4096 bytes"),
        ("echo >&2; echo ' no\taccess ' >&2; echo x >&2; exit 3", "its error output: no access"),
    ] {
        let error = run(script).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Command, "{script}");
        assert!(error.detail.starts_with("/bin/sh: "), "{script}: {error}");
        assert!(error.detail.contains(detail), "{script}: {error}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    for program in ["/nowhere/role", "/etc/passwd", "/etc"] {
        let error = look(&[program]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Command);
        assert!(
            error.detail.starts_with(&format!("{program}: the command cannot be started: ")),
            "{error}"
        );
    }
    assert_eq!(look(&[]).await.unwrap_err().kind, ErrorKind::Command);
}

#[tokio::test]
async fn no_shell_reads_the_arguments() {
    let error = look(&["/bin/echo", "$(echo primary)"]).await.unwrap_err();
    assert!(error.detail.ends_with("printed: $(echo primary)"), "{error}");
}

#[tokio::test]
async fn a_long_complaint_neither_blocks_nor_fills_the_message() {
    let seen = run("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo primary").await;
    assert_eq!(seen, Ok(Observation::of(Role::Primary)));
    let error = run("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 4").await.unwrap_err();
    assert!(error.detail.len() < 300, "{error}");
}

#[tokio::test]
async fn it_has_no_input_and_a_group_of_its_own() {
    let script = r#"
        read -r _ _ _ _ group _ < /proc/$$/stat
        [ "$group" = $$ ] && [ "$(readlink /proc/$$/fd/0)" = /dev/null ] && echo primary"#;
    assert_eq!(run(script).await, Ok(Observation::of(Role::Primary)));
}

#[tokio::test]
async fn at_the_deadline_it_is_killed_with_its_children_and_reaped() {
    for script in [
        "sleep 1000 & echo $$ $! > $1; wait",
        "trap '' TERM HUP INT; sleep 1000 & echo $$ $! > $1; wait",
        // Output that ended before its program does not end the look.
        "sleep 1000 & echo primary; exec 3> $1 >&- 2>&-; echo $$ $! >&3; wait",
    ] {
        let (_dir, file) = file();
        let mut source = shell(script, &file);
        let started = tokio::select! {
            early = source.observe() => panic!("{script}: {early:?}"),
            started = pids(&file) => started,
        };
        let [program, child] = started[..] else { panic!("{started:?}") };
        dead(child).await;
        reaped(program).await;
    }
}

#[tokio::test]
async fn what_it_leaves_running_ends_with_it() {
    let (_dir, file) = file();
    let mut source = shell("sleep 1000 & echo $$ $! > $1; echo primary", &file);
    for _ in 0..3 {
        let seen = timeout(SOON, source.observe()).await.expect("the look ends with its program");
        assert_eq!(seen, Ok(Observation::of(Role::Primary)));
        let [program, child] = pids(&file).await[..] else { panic!("two numbers") };
        assert!(!Path::new(&format!("/proc/{program}")).exists(), "it is reaped within the look");
        dead(child).await;
    }
}

#[tokio::test]
async fn a_look_does_not_wait_for_what_left_the_group() {
    let (_dir, file) = file();
    let script = r#"
        setsid sh -c 'echo $$ > $1; exec sleep 1000' sh "$1" &
        until [ -s "$1" ]; do sleep 0.01; done
        echo primary"#;
    let seen = timeout(SOON, shell(script, &file).observe()).await;
    let left = pids(&file).await[0];
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    assert_eq!(seen.expect("the look ends"), Ok(Observation::of(Role::Primary)));
    dead(left).await;
}

const OURS: [&str; 7] = [
    "CREDENTIALS_DIRECTORY",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

#[tokio::test]
async fn it_has_the_environment_without_what_is_systemds() {
    let ours = OURS.join("\\|");
    let script =
        format!("env | grep '^\\({ours}\\)=' >&2 && exit 3; echo ${{ROLECALL_SAID:-primary}}");
    let role = std::env::var("ROLECALL_SAID").unwrap_or("primary".into()).parse().unwrap();
    assert_eq!(run(&script).await, Ok(Observation::of(role)));
}

/// Runs the test above again, in the environment of a service.
#[test]
fn it_has_the_environment_of_a_service_without_what_is_systemds() {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "source_command::it_has_the_environment_without_what_is_systemds"]);
    again.envs(OURS.map(|name| (name, "1"))).env("ROLECALL_SAID", "replica");
    let done = again.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}
