//! The file of the packages, and what is built in.

use rolecall::config::schema::Loaded;
use rolecall::config::{Control, Whose};
use rolecall::look::role::Role;
use rolecall::verdict::policy::ReplicationState;
use rolecall::verdict::policy::{Hysteresis, LagLimit, OnLag};

use super::{PACKAGED, accepted, built_in, ms};

#[test]
fn nothing_written_is_what_is_built_in() {
    assert_eq!(accepted(""), Loaded { config: built_in(), warnings: vec![] });
}

#[test]
fn the_packaged_file_is_what_is_built_in() {
    assert_eq!(accepted(PACKAGED), Loaded { config: built_in(), warnings: vec![] });
}

/// What stands behind `#` in the packaged file under this kind of source, as a `[[source]]`.
fn commented_source(kind: &str) -> String {
    let (_, after) = PACKAGED.split_once(&format!("# kind = \"{kind}\"")).expect(kind);
    let (block, _) = after.split_once("\n\n").expect("an empty line");
    let keys = block.lines().filter_map(|line| line.strip_prefix("# "));
    let keys = keys.filter(|line| line.contains(" = ")).collect::<Vec<_>>().join("\n");
    assert!(!keys.is_empty(), "{kind}");
    format!("[[source]]\nkind = \"{kind}\"\n{keys}\n")
}

/// What is written behind comment signs from this head to the next empty line.
fn commented(head: &str) -> String {
    let (_, block) = PACKAGED.split_once(&format!("# {head}")).expect(head);
    let block = block.split("\n\n").next().unwrap_or_default();
    format!("{head}{}\n", block.replace("\n# ", "\n"))
}

#[test]
fn the_commented_node_of_the_packaged_file_is_right() {
    let services = "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\n\
                    [[service]]\nname = \"replica\"\nroles = [\"replica\"]\n";
    let config = accepted(&format!("{services}{}", commented("[[node]]"))).config;
    assert_eq!(config.nodes[0].cluster.as_deref(), Some("orders"));
    assert_eq!(config.listens().count(), 2);
}

#[test]
fn the_commented_fence_of_the_packaged_file_is_right() {
    let config = accepted(&commented("[fence]")).config;
    let fence = config.fence.expect("a fence");
    assert!(matches!(fence.whose, Whose::Clients(nets) if nets.len() == 2));
    assert_eq!(fence.heard, config.haproxy.agent_inter);
}

#[test]
fn the_comments_of_the_packaged_file_are_right() {
    let (replica, http) = (commented("[[service]]"), commented("[http]") + &commented("[control]"));
    let (before_http, _) = PACKAGED.split_once("# [http]").expect("[http]");
    let first = before_http
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| !line.contains("20s"))
        .filter(|line| ["allow", "hold", "reply = {"].iter().any(|key| line.starts_with(key)));
    let first: Vec<&str> = first.filter(|line| !line.contains("10s")).collect();
    assert_eq!(first.len(), 3, "{first:?}");
    // Of the two places of a password one can be used at a time.
    let postgres: String = commented_source("postgres")
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("password_credential"))
        .collect();
    let text = [
        commented_source("command").as_str(),
        commented_source("static").as_str(),
        postgres.as_str(),
        commented_source("repmgr").as_str(),
        "[[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"5555\"\n",
        first.join("\n").as_str(),
        "\n",
        replica.as_str(),
        http.as_str(),
    ]
    .concat();
    let config = accepted(&text).config;
    assert!(config.http.is_some_and(|http| http.allow.len() == 1));
    let control = Control { group: Some("dba".to_owned()), ..Control::default() };
    assert_eq!(
        config.control,
        Some(control),
        "what is commented is the default, but for the group"
    );
    assert_eq!(config.nodes[0].sources.len(), 4);
    assert_eq!(config.nodes[0].sources[3].hold, ms(15_000));
    assert_eq!(config.services[0].hold, Some(ms(5000)));
    let bytes = Hysteresis { max: 16 << 20, resume: 12 << 20 };
    let lag = LagLimit {
        bytes: Some(bytes),
        time: Some(Hysteresis::time(ms(5000))),
        on_lag: OnLag::Maint,
    };
    assert_eq!(config.services[1].lag, Some(lag));
    assert_eq!(config.services[1].pool.replication_state, ReplicationState::Streaming);
}

#[test]
fn the_commented_pool_of_the_packaged_file_is_right() {
    let (_, block) = PACKAGED.split_once("# With Patroni, a pool").expect("a pool");
    let (_, block) = block.split_once("# [[service]]").expect("a service");
    let keys = block.split("\n\n").next().unwrap_or_default().replace("\n# ", "\n");
    let config = accepted(&format!("[[service]]{keys}\n")).config;
    assert!(!config.services[0].pool.tags.is_empty());
    assert_eq!(config.services[0].roles, [Role::AsyncReplica]);
}
