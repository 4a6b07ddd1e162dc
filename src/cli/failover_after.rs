//! Whether `failover_after` promises more patience than repmgr has, where this host's repmgr.conf says so.
//!
//! repmgrd sleeps between its attempts only, so that attempts x interval is one interval too long. The
//! shorter of the two bounds `hold` in any case; this is for telling an operator.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;

use crate::config::{Config, Source as Configured};
use crate::look::measure;
use crate::look::observation::Observation;
use crate::source::Source;
use crate::source::resolve::Resolver;
use crate::source::role_source::look;
use crate::verdict::policy::most_hold;

/// Longest wait for one server: who checks a file waits for it.
const WITHIN: Duration = Duration::from_secs(1);

/// What an operator can do about it.
pub(crate) const HINT: &str = "repmgrd sleeps only between its attempts, so set `failover_after` \
                               to (reconnect_attempts - 1) x reconnect_interval, using the lowest \
                               values of all nodes";

/// A `failover_after` that is longer than the own node's repmgr.conf allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrated {
    chosen: Duration,
    waits: Duration,
}

impl Overrated {
    /// What is wrong with the `failover_after` of a source, by what a look at its server showed.
    pub fn of(source: &Configured, seen: &Observation) -> Option<Self> {
        let chosen = source.kind.settings().failover_after()?;
        let waits = seen.repmgr.as_ref()?.failover_after?;
        (chosen > waits).then_some(Self { chosen, waits })
    }
}

impl fmt::Display for Overrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`failover_after` is {}, but repmgr waits only {} according to this node's \
             repmgr.conf, and the shorter time applies: READY is kept for at most {} when polls \
             fail",
            measure::time(self.chosen),
            measure::time(self.waits),
            measure::time(most_hold(self.waits))
        )
    }
}

/// The same of every source of a configuration whose server answers now, each with its node.
pub(crate) async fn overrated(config: &Config) -> Vec<(String, Overrated)> {
    let sources =
        config.nodes.iter().flat_map(|node| node.sources.iter().map(move |of| (node, of)));
    let asked = sources.map(async |(node, source)| {
        let settings = source.kind.settings();
        settings.failover_after()?;
        if !settings.server()?.conninfo.place.is_here() {
            return None;
        }
        let soon = Configured { timeout: WITHIN, ..source.clone() };
        let mut own = Source::new(&soon, &Resolver::system()).ok()?;
        let seen = look(&mut own, WITHIN).await.ok()?;
        Some((node.name.clone(), Overrated::of(source, &seen)?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::config::schema::{Flags, read};
    use crate::look::repmgr::{Answer, Attached};
    use crate::look::role::Role;

    fn config(conninfo: &str, failover_after: Option<&str>) -> Config {
        let key = failover_after.map(|time| format!("failover_after = \"{time}\"\n"));
        let text = format!(
            "[source]\nkind = \"repmgr\"\nnode_id = 1\nconninfo = \"{conninfo} dbname=r user=r\"\n{}",
            key.unwrap_or_default()
        );
        read("test.toml", &text, &Flags::default(), None)
            .unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
            .config
    }

    /// A look at a server whose repmgr.conf says this.
    fn seen(waits: Option<u64>) -> Observation {
        let answer = Answer {
            me: None,
            system: "7".into(),
            table: [].into(),
            local_id: None,
            upstream: None,
            upstream_seen: None,
            told: None,
            attached: Attached::Nobody,
            repmgrd_running: true,
            repmgrd_paused: false,
            failover_after: waits.map(Duration::from_secs),
        };
        Observation { repmgr: Some(Arc::new(answer)), ..Observation::of(Role::Primary) }
    }

    #[test]
    fn only_more_than_repmgr_waits_is_too_much() {
        let said = |chosen, waits| {
            let source = config("host=n1", chosen).nodes.remove(0).sources.remove(0);
            Overrated::of(&source, &seen(waits)).map(|it| it.to_string())
        };
        assert_eq!(said(Some("20s"), Some(20)), None);
        assert_eq!(said(Some("19s"), Some(20)), None);
        assert_eq!(said(None, Some(20)), None, "nobody chose it");
        assert_eq!(said(Some("30s"), None), None, "the file says nothing");
        let over = said(Some("30s"), Some(20)).expect("30 s are more than 20 s");
        assert_eq!(
            over,
            "`failover_after` is 30 s, but repmgr waits only 20 s according to this node's repmgr.conf, and the shorter \
             time applies: READY is kept for at most 15 s when polls fail"
        );
    }

    /// `check` costs nobody a connection for nothing: only a server whose repmgr.conf is on this host
    /// can say something, and only where `failover_after` was chosen.
    #[tokio::test]
    async fn only_a_server_of_this_host_is_asked_and_only_about_what_was_chosen() {
        // Nobody answers there; who asks waits in its backlog.
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        server.set_nonblocking(true).expect("a socket");
        let port = server.local_addr().expect("bound").port();
        let here = format!("host=127.0.0.1 port={port}");
        for (failover_after, asked) in [(None, false), (Some("20s"), true)] {
            assert_eq!(overrated(&config(&here, failover_after)).await, []);
            assert_eq!(server.accept().is_ok(), asked, "{failover_after:?}");
        }
    }
}
