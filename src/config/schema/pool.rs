//! What a `[[service]]` wants of its replicas: `roles` that tell them apart, `tags`, `replication_state`.

use toml::de::DeValue;

use crate::config::Kind;
use crate::config::document::{Fault, Table, wrong_type};
use crate::config::kind::settings::{Lag, Sees};
use crate::config::units::word;
use crate::look::role::Role;
use crate::look::tags::Tags;
use crate::verdict::policy::{Pool, ReplicationState};

const TAG: &str = "a text, a whole number, true or false";
const TAG_HINT: &str =
    r#"use the tags of the member's patroni.yml, for example { nodetype = "olap" }"#;

/// The keys of a pool; each is one that every node's sources can answer for.
pub fn pool(table: &Table<'_>, roles: &[Role], kinds: &[Vec<Kind>]) -> Pool {
    let states = [("streaming", ReplicationState::Streaming), ("any", ReplicationState::Any)];
    let replication_state = table.take("replication_state", word(&states));
    let tags = tags(table);
    let only_primaries = !roles.is_empty() && roles.iter().all(|role| *role == Role::Primary);
    let seen = |can: fn(Sees) -> bool| {
        let can = |kind: &Kind| can(kind.settings().profile().sees);
        kinds.iter().all(|kinds| kinds.is_empty() || kinds.iter().any(can))
    };
    for (key, seen, blind, expected, primary) in [
        (
            "tags",
            seen(|sees| sees.tags),
            "no source here knows tags: only Patroni has them",
            "a source of kind patroni for every node",
            "with a tag no node would take writes once a member without it becomes the leader",
        ),
        (
            "replication_state",
            seen(|sees| sees.lag != Lag::Unseen),
            "no source here can see whether a replica streams",
            "a source of kind patroni, postgres or repmgr for every node",
            "a primary streams from no other server",
        ),
    ] {
        if !table.has(key) {
            continue;
        }
        if only_primaries {
            let hint = "move it to a service for replicas";
            table.report(key, Fault::new(primary, "roles that include a kind of replica", hint));
        } else if !seen {
            let hint = "remove it, or list the nodes that only this service may use";
            table.report(key, Fault::new(blind, expected, hint));
        }
    }
    Pool { tags, replication_state: replication_state.unwrap_or_default() }
}

fn tags(table: &Table<'_>) -> Tags {
    let written = table.table("tags");
    if table.has_table("tags") && written.take_each(tag).is_empty() {
        table.report("tags", Fault::new("is empty", "at least one tag", "remove the key"));
    }
    let one =
        |(name, spot, values): (String, crate::config::document::Spot<'_>, Vec<(_, String)>)| {
            let mut values = values.into_iter().map(|(_, value)| value);
            let value = values.next();
            if value.is_none() || values.next().is_some() {
                let what = "has several values, or none";
                spot.report(Fault::new(what, TAG, "create one service for each pool"));
            }
            Some((name, value?))
        };
    written.take_each(tag).into_iter().filter_map(one).collect()
}

/// The value of a tag, as the text that Patroni compares.
fn tag(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        // As Patroni has it, however it is written here: 5 for +5.
        DeValue::Integer(number) if number.radix() == 10 => match number.as_str().parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => return Err(wrong_type(value, TAG, TAG_HINT)),
        },
        _ => return Err(wrong_type(value, TAG, TAG_HINT)),
    };
    if text.is_empty() {
        let hint = "Patroni's REST API does not accept such a value either";
        return Err(Fault::new("is empty", "the value that the tag must have", hint));
    }
    Ok(text)
}
