//! The members of a Patroni cluster, from `GET /cluster`.
//!
//! It reads the consensus store and hangs while that is lost, so it is asked once and never polled. A
//! member that is being created has no `host` yet; `port` is missing where `connect_address` has none.

use reqwest::Url;
use serde::Deserialize;

use crate::look::error::{ErrorKind, SourceError};
use crate::look::place::DEFAULT_PORT;
use crate::look::text;

/// One member, whatever its role and state are now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Patroni's `name`.
    pub name: String,
    /// Where PostgreSQL is reached (`postgresql.connect_address`); `None`: it has not said yet, or what is
    /// no host.
    pub host: Option<String>,
    /// Its port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Its REST API (`restapi.connect_address`).
    api_url: Option<String>,
}

fn default_port() -> u16 {
    DEFAULT_PORT
}

/// Bytes of a member's name.
pub(crate) const MOST_NAME: usize = 128;

/// Bytes of a member's host; DNS has 253.
pub(crate) const MOST_HOST: usize = 255;

/// The part that is read.
#[derive(Deserialize)]
struct Cluster {
    members: Vec<Member>,
}

/// Reads the body of `/cluster`. [`ErrorKind::Malformed`] where it is of another form.
pub fn read(body: &[u8]) -> Result<Vec<Member>, SourceError> {
    let cluster: Cluster = serde_json::from_slice(body).map_err(|error| {
        let what = format_args!("expected the members of Patroni's cluster as JSON: {error}");
        SourceError::new(ErrorKind::Malformed, what)
    })?;
    Ok(cluster.members.into_iter().map(Member::cleaned).collect())
}

impl Member {
    /// Without what is shown otherwise than it is.
    fn cleaned(self) -> Self {
        // Not cut: what is left of a host may be another one's.
        let fits = |host: &String| host.len() <= MOST_HOST && text::is_plain(host);
        let (name, host) = (text::plain(&self.name, MOST_NAME), self.host.filter(fits));
        Self { name, host, ..self }
    }

    /// Whether its REST API has the host and the port of this URL.
    pub fn is_at(&self, url: &str) -> bool {
        self.api().is_some_and(|own| Some(own) == end(url))
    }

    /// The host of its REST API, an address without brackets, and the port.
    pub fn api(&self) -> Option<(String, Option<u16>)> {
        self.api_url.as_deref().and_then(end)
    }
}

fn end(url: &str) -> Option<(String, Option<u16>)> {
    let url: Url = url.parse().ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    Some((host.to_owned(), url.port_or_known_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_read_whatever_it_does() {
        // As Patroni 4.1 and 2.1 print it, shortened, with one that is being created.
        let body = br#"{"members": [
            {"name": "n0", "role": "leader", "state": "running", "timeline": 1, "host": "10.0.0.1",
             "api_url": "http://10.0.0.1:8008/patroni", "port": 5433},
            {"name": "n1", "role": "replica", "state": "streaming", "host": "db1", "lag": 0,
             "api_url": "https://10.0.0.2/patroni"},
            {"name": "n2", "role": "replica", "state": "creating replica", "lag": "unknown"}],
            "scope": "demo"}"#;
        let members = read(body).unwrap();
        let shown: Vec<_> =
            members.iter().map(|m| (m.name.as_str(), m.host.as_deref(), m.port)).collect();
        let wanted =
            [("n0", Some("10.0.0.1"), 5433), ("n1", Some("db1"), 5432), ("n2", None, 5432)];
        assert_eq!(shown, wanted);
        let at = |url: &str| members.iter().position(|member| member.is_at(url));
        assert_eq!(at("http://10.0.0.1:8008"), Some(0));
        assert_eq!(at("https://10.0.0.2:443/"), Some(1));
        assert_eq!(at("http://10.0.0.2:8008"), None);
        assert_eq!(at("no url"), None);
        let long = "n".repeat(MOST_NAME + 1);
        let body = format!(r#"{{"members": [{{"name": "{long}", "role": "replica"}}]}}"#);
        assert!(read(body.as_bytes()).unwrap()[0].name.len() <= MOST_NAME + "…".len());
    }

    #[test]
    fn what_no_host_is_called_is_none() {
        let long = "a".repeat(MOST_HOST + 1);
        for (host, fits) in
            [("db1", true), ("a\u{1b}[2J", false), ("a\u{202e}", false), (long.as_str(), false)]
        {
            let body = serde_json::json!({ "members": [{ "name": "n0", "host": host }] });
            let members = read(body.to_string().as_bytes()).unwrap();
            assert_eq!(members[0].host.is_some(), fits, "{host:?}");
        }
    }

    #[test]
    fn another_form_is_an_error() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"members": {}}"#,
            r#"{"members": [{"host": "a"}]}"#,
            r#"{"members": [{"name": "a", "host": "b", "port": 65536}]}"#,
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err().kind, ErrorKind::Malformed, "{body}");
        }
    }
}
