//! The keys of kind `patroni`: Patroni's REST API.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::config::address::Address;
use crate::config::conninfo::ClientCertificate;
use crate::config::document::{Fault, Table};
use crate::config::exposure::{self, Exposure, OpenFile, Risk};
use crate::config::kind::settings::{
    At, Lag, Profile, Replicas, Sees, Settings, Surroundings, TIMEOUT,
};
use crate::config::rhythm::Timing;
use crate::config::units::{PATH, address, boolean, path, patroni_url, string};
use crate::config::warning::Warning;
use crate::look::kind::Shows;
use crate::verdict::lock::USUAL_TIMES;
use crate::verdict::policy::{Hysteresis, Lock};

/// Where Patroni answers unless its configuration says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8008";

/// For where nothing is proven of its lock, for which a yes stands else: with Patroni's own times nobody else is
/// promoted for 10 s, of which a look and what HAProxy remembers take 4.5 s.
const HOLD: Duration = Duration::from_secs(5);

const SERVER_PORT: &str = "HOST:PORT or none";
const URL: &str = "http://HOST:PORT or https://HOST:PORT";
const TRUST: &str = "give Patroni's REST API a certificate (restapi.certfile), and set url = \
                     \"https://...\" and ca_file = \"FILE\"";

pub(crate) const PROFILE: Profile = Profile {
    word: "patroni",
    keys: &[
        "url",
        "ca_file",
        "cert_file",
        "key_file",
        "server_name",
        "require_lock",
        "postgres_address",
    ],
    flag: Some("url"),
    timeout: TIMEOUT,
    hold: HOLD,
    sees: Sees {
        role: true,
        replicas: Replicas::Apart,
        lag: Lag::OverLimit,
        tags: true,
        server: Shows::ManagedServer,
    },
    check_defaults: |table, _| {
        keys(table, true);
    },
};

/// How Patroni's REST API is asked and trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patroni {
    /// Base URL, such as `http://127.0.0.1:8008`.
    pub url: String,
    /// With `https`: whom to trust, and what to show.
    pub tls: PatroniTls,
    /// Whether a leader that no lock stands behind is refused.
    pub require_lock: bool,
    /// The byte limit of the node's replica services, which Patroni is asked with; a replica over it is asked with
    /// the lower mark.
    pub lag: Option<Hysteresis<u64>>,
    /// PostgreSQL's own port, which is asked beside it.
    pub server_port: ServerPort,
}

/// PostgreSQL's own port, which is asked beside its Patroni.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPort {
    /// As Patroni says, where both are on this host; else none.
    Learned,
    /// This one.
    At(Address),
    /// None.
    NotAsked,
}

/// TLS to Patroni.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatroniTls {
    /// Who may have signed its certificate; `None`: the operating system's authorities.
    pub ca_file: Option<PathBuf>,
    /// What is shown where it asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// The name its certificate has, where that is not the host of the URL.
    pub server_name: Option<String>,
}

impl Patroni {
    /// Asked at this URL, with everything else as nobody chose.
    pub fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            tls: PatroniTls::default(),
            require_lock: false,
            lag: None,
            server_port: ServerPort::Learned,
        }
    }
}

impl Settings for Patroni {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn at(&self) -> At<'_> {
        let url = reqwest::Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
        At::Host(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    fn take_limit(&mut self, limit: Option<Hysteresis<u64>>) {
        self.lag = limit;
    }

    fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.tls.client.as_ref()
    }

    fn exposure(&self) -> Option<Exposure> {
        let exposed = Exposure { kind: PROFILE.word, risk: Risk::Role, hint: TRUST };
        (!verifies(&self.url)).then_some(exposed)
    }

    fn open_files(&self) -> Vec<OpenFile> {
        let key = self.tls.client.as_ref().map(|client| &client.key);
        key.and_then(|key| exposure::open("key_file", key)).into_iter().collect()
    }

    fn warnings(&self, around: &Surroundings) -> Vec<Warning> {
        let times = &around.times;
        let (hold, most) = (times.hold, USUAL_TIMES.longest(times.memory));
        let long = times.hold_chosen && hold > most;
        long.then_some(Warning::LongHold { hold, most }).into_iter().collect()
    }

    fn lock(&self, times: &Timing, chosen: bool) -> Option<Lock> {
        let (required, beside, memory) = (self.require_lock, times.beside, times.memory);
        Some(Lock { required, beside, memory, chosen })
    }

    fn lock_url(&self) -> Option<&str> {
        Some(&self.url)
    }
}

/// Whether whoever answers at this URL has to prove himself, or is on this host.
fn verifies(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return true };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let here = address.map_or(host == "localhost", |address| address.is_loopback());
    here || url.scheme() == "https"
}

/// Reads one; `None` only where a problem was reported.
pub(crate) fn read(table: &Table<'_>) -> Option<Patroni> {
    keys(table, false)
}

fn keys(table: &Table<'_>, defaults: bool) -> Option<Patroni> {
    let file = |key| table.take(key, string(PATH, path));
    let (ca_file, cert, key) = (file("ca_file"), file("cert_file"), file("key_file"));
    let name = |text: &str| {
        let name = ServerName::try_from(text.to_owned()).is_ok() && is_domain(text);
        name.then(|| text.to_owned()).ok_or_else(|| {
            let hint = "use a name from the certificate's subject alternative names; if it has \
                        only an address, use that address in `url`";
            Fault::new("is not a host name", "a host's name", hint)
        })
    };
    let name = string("a host's name", name);
    let server_name = table.take("server_name", name);
    let require_lock = table.take("require_lock", boolean).unwrap_or(false);
    let read = string(SERVER_PORT, server_port);
    let server_port = table.take("postgres_address", read).unwrap_or(ServerPort::Learned);
    let url = table.take("url", string(URL, patroni_url));
    for (has, lacks) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(has) && !table.has(lacks) {
            let hint = "set both or neither: Patroni needs the certificate and its key";
            table.report(lacks, Fault::new(format!("is missing, but `{has}` is set"), PATH, hint));
        }
    }
    let default = || (!table.has("url")).then(|| DEFAULT_URL.to_owned());
    let url = url.or_else(default)?;
    // In [defaults] the URL may be left to each source.
    let plain = url.starts_with("http:") && (table.has("url") || !defaults);
    for key in ["ca_file", "cert_file", "server_name"] {
        if plain && table.has_own(key) {
            let fault = Fault::new(
                "has no effect with http",
                "https in `url`",
                "use https in `url`, or remove this key",
            );
            table.report(key, fault);
        }
    }
    let client = cert.zip(key).map(|(cert, key)| ClientCertificate { cert, key });
    let tls = PatroniTls { ca_file, client, server_name };
    Some(Patroni { tls, require_lock, server_port, ..Patroni::at(&url) })
}

/// Whether a URL takes this for the name of a host. What it takes for an address would be asked itself,
/// instead of the host in `url`: another node could answer for this one.
fn is_domain(name: &str) -> bool {
    reqwest::Url::parse(&format!("https://{name}")).is_ok_and(|url| url.domain().is_some())
}

/// Where PostgreSQL itself is, or that it is not asked.
fn server_port(text: &str) -> Result<ServerPort, Fault> {
    if text == "none" {
        return Ok(ServerPort::NotAsked);
    }
    address(text).map(ServerPort::At)
}
