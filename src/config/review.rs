//! Looks over a whole configuration for what may surprise somebody. What only one kind of source has is asked of that
//! kind.

use crate::config::kind::settings::Surroundings;
use crate::config::warning::{RESTART, Warning};
use crate::config::{Config, Control, Node, Source};
use crate::look::role::Role;
use crate::reply::routes::Listen;
use crate::verdict::last_word::{LAST_ASKS, MAX_LASTS};

/// Everything to be said of a configuration, each once, whichever node it is about.
pub(crate) fn warnings(config: &Config) -> Vec<Warning> {
    let primaries = config.services.iter().any(|service| service.roles.contains(&Role::Primary));
    let sources = || config.nodes.iter().flat_map(|node| &node.sources);
    let mut warnings = Vec::new();
    if primaries {
        warnings.extend(config.nodes.iter().filter_map(alone));
    }
    let span = config.haproxy.agent_inter.saturating_mul(config.haproxy.check_fall);
    if span < RESTART {
        warnings.push(Warning::ShortFall { span });
    }
    of_services(config, &mut warnings);
    let reached = reached(config);
    for source in sources() {
        of_source(source, primaries, reached, &mut warnings);
    }
    let exposed = sources().filter_map(|source| source.kind.settings().exposure());
    warnings.extend(exposed.map(Warning::Network));
    let fence = config.fence.iter().flat_map(|fence| fence.server.login_files());
    let files = sources().flat_map(|source| source.kind.settings().open_files()).chain(fence);
    warnings.extend(files.map(Warning::OpenFile));
    // The unit makes the usual one.
    let usual = Control::default();
    let dir = config.control.as_ref().and_then(|control| control.state.parent());
    let dir = dir.filter(|dir| usual.state.parent() != Some(*dir));
    warnings.extend(dir.and_then(|dir| Warning::of_missing("directory of `state`", dir)));
    let logs_in = |source: &Source| source.kind.settings().server().is_some();
    let unread = unread(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if sources().any(logs_in) && !unread.is_empty() {
        warnings.push(Warning::Environment(unread));
    }
    let mut each = Vec::new();
    for warning in warnings {
        if !each.contains(&warning) {
            each.push(warning);
        }
    }
    each
}

/// What is to be said where no other kind of source looks at the node.
fn alone(node: &Node) -> Option<Warning> {
    let each = node.sources.iter().map(|source| source.kind.settings().warning_alone());
    each.collect::<Option<Vec<_>>>()?.pop()
}

fn of_services(config: &Config, warnings: &mut Vec<Warning>) {
    if config.services.iter().any(|service| service.agent_send) {
        warnings.push(Warning::AgentSend);
    }
    for service in &config.services {
        if service.agent_send && service.answering.allow.is_empty() {
            warnings.push(Warning::OpenQuestions { service: service.name.clone() });
        }
        if let Some(last) = service.answering.last_word {
            let (service, word, inter) =
                (service.name.clone(), last.word, config.haproxy.agent_inter);
            // A shorter one was chosen by somebody; this is all that can be had.
            if last.lasts == MAX_LASTS && last.lasts < inter * LAST_ASKS {
                let (service, lasts) = (service.clone(), last.lasts);
                warnings.push(Warning::ShortLastWord { service, lasts, inter });
            }
            warnings.push(Warning::LastWord { service, word });
        }
    }
}

/// Whether rolecalls of other hosts can ask this one over HTTP; `None`: it watches several nodes, and is none's own.
fn reached(config: &Config) -> Option<bool> {
    let mut listens = config.http.iter().flat_map(|http| &http.listen);
    let reached = listens.any(|listen| match listen {
        Listen::At(addr) => !addr.ip().is_loopback(),
        Listen::Everywhere(_) => true,
    });
    (config.nodes.len() == 1).then_some(reached)
}

fn of_source(source: &Source, primaries: bool, reached: Option<bool>, warnings: &mut Vec<Warning>) {
    let (settings, times) = (source.kind.settings(), source.times());
    let memory = settings.remembers(&times);
    if memory < source.timeout * 2 {
        let kind = source.kind.as_str();
        warnings.push(Warning::ShortMemory { kind, memory, timeout: source.timeout });
    }
    warnings.extend(settings.warnings(&Surroundings { times, primaries, reached }));
}

/// The variables of libpq (PostgreSQL manual, "Environment Variables") that are set and change a connection.
/// `PGSERVICEFILE` and `PGSYSCONFDIR` are read.
fn unread(is_set: impl Fn(&str) -> bool) -> Vec<&'static str> {
    const OF_LIBPQ: [&str; 24] = [
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGDATABASE",
        "PGUSER",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGREQUIREAUTH",
        "PGCHANNELBINDING",
        "PGSERVICE",
        "PGOPTIONS",
        "PGSSLMODE",
        "PGSSLNEGOTIATION",
        "PGSSLCERT",
        "PGSSLKEY",
        "PGSSLCERTMODE",
        "PGSSLROOTCERT",
        "PGSSLCRL",
        "PGSSLCRLDIR",
        "PGSSLSNI",
        "PGREQUIREPEER",
        "PGSSLMINPROTOCOLVERSION",
        "PGSSLMAXPROTOCOLVERSION",
        "PGTARGETSESSIONATTRS",
    ];
    OF_LIBPQ.into_iter().filter(|name| is_set(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_psql_would_take_from_the_environment_is_named() {
        assert_eq!(unread(|_| false), Vec::<&str>::new());
        let set = unread(|name| ["PGSSLMODE", "PGHOST", "PGSERVICEFILE"].contains(&name));
        assert_eq!(set, ["PGHOST", "PGSSLMODE"]);
        let said = Warning::Environment(set).to_string();
        assert!(said.starts_with("PGHOST, PGSSLMODE in the environment"), "{said}");
    }
}
