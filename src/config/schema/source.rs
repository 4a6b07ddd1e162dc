//! `[defaults]` and `[source]`: where a node's role is learned.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use rustls::pki_types::ServerName;

use crate::config::conninfo::{self, ClientCertificate, Conninfo};
use crate::config::document::{Fault, Table};
use crate::config::schema::repmgr;
use crate::config::units::{
    address, boolean, credential, duration, path, patroni_url, role, string, word,
};
use crate::config::{
    Haproxy, Kind, PasswordFrom, Patroni, PatroniTls, Postgres, ServerPort, Source, Tcp,
};
use crate::look::role::Role;

/// Bounds of `interval`: below, looks cost the server more than they tell; above, nobody waits.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// Bounds of `timeout`: below, a loaded server never answers in time; above, a hung one is noticed
/// too late to matter, and a start would outlast the unit's `TimeoutStartSec`.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(20));

/// Bounds of `hold`: above, a verdict is memory and no fact.
pub const HOLD: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));

/// Where Patroni answers unless its configuration says otherwise.
const PATRONI_URL: &str = "http://127.0.0.1:8008";

/// Where systemd keeps the credentials of the packaged unit while it runs.
const CREDENTIALS: &str = "/run/credentials/rolecall.service";

const ADDRESS: &str = "HOST:PORT";
const SERVER_PORT: &str = "HOST:PORT or none";
const URL: &str = "http://HOST:PORT or https://HOST:PORT";
const PATH: &str = "a path that begins with `/`";
pub const CONNINFO: &str = "a libpq connection string";
const COMMAND: &str = "an array of the program's absolute path and its arguments";
const COMMAND_HINT: &str = r#"such as ["/usr/local/bin/myrole", "--quiet"]; no shell reads it"#;
const ROLE: &str =
    "one of primary, replica, sync_replica, quorum_replica, async_replica, standby_leader";

/// A kind of source by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Patroni,
    Repmgr,
    Postgres,
    Tcp,
    Command,
    Static,
}

const WORDS: [(&str, Word); 6] = [
    ("patroni", Word::Patroni),
    ("repmgr", Word::Repmgr),
    ("postgres", Word::Postgres),
    ("tcp", Word::Tcp),
    ("command", Word::Command),
    ("static", Word::Static),
];

/// Every key of a source beside those that all kinds have, and the kinds that have it.
const KEYS: [(&str, &[Word]); 23] = [
    ("url", &[Word::Patroni]),
    ("ca_file", &[Word::Patroni]),
    ("cert_file", &[Word::Patroni]),
    ("key_file", &[Word::Patroni]),
    ("server_name", &[Word::Patroni]),
    ("require_lock", &[Word::Patroni]),
    ("postgres_address", &[Word::Patroni]),
    ("conninfo", &[Word::Postgres, Word::Repmgr]),
    ("passfile", &[Word::Postgres, Word::Repmgr]),
    ("password_credential", &[Word::Postgres, Word::Repmgr]),
    ("node_id", &[Word::Repmgr]),
    ("node_name", &[Word::Repmgr]),
    ("two_node", &[Word::Repmgr]),
    ("failover_after", &[Word::Repmgr]),
    ("settle", &[Word::Repmgr]),
    ("trust_refused", &[Word::Repmgr]),
    ("addresses", &[Word::Repmgr]),
    ("release_key_file", &[Word::Repmgr]),
    ("release_port", &[Word::Repmgr]),
    ("address", &[Word::Tcp]),
    ("user", &[Word::Tcp]),
    ("command", &[Word::Command]),
    ("role", &[Word::Static]),
];

impl Word {
    fn as_str(self) -> &'static str {
        WORDS.iter().find(|(_, word)| *word == self).map_or("", |(word, _)| word)
    }

    /// How long a look may take. A repmgr node's answers live for as long as the next look may take,
    /// and the next primary has to wait until all of them are dead.
    fn timeout(self) -> Duration {
        match self {
            Self::Repmgr => Duration::from_millis(800),
            Self::Patroni | Self::Postgres | Self::Tcp | Self::Command | Self::Static => {
                Duration::from_millis(1500)
            }
        }
    }

    /// How long the last yes stands unless the operator says otherwise. Patroni's stands for as long as its
    /// lock is proven to be held; this is for where nothing is proven: with Patroni's own times nobody else
    /// is promoted for 10 s, of which a look and what HAProxy remembers take 4.5 s. repmgr's follows from
    /// its other keys.
    fn hold(self) -> Duration {
        match self {
            Self::Patroni => Duration::from_secs(5),
            Self::Repmgr => Duration::ZERO,
            Self::Postgres | Self::Tcp | Self::Command | Self::Static => Duration::from_secs(3),
        }
    }
}

/// `[defaults]`, from which every source starts; what is wrong in it is reported, also where no
/// source takes it.
pub fn defaults<'d>(root: &Table<'d>, credentials: Option<&Path>) -> Table<'d> {
    let defaults = root.table("defaults");
    read_defaults(&defaults, credentials);
    defaults
}

/// The source of the command line, which names one. `None` only where a problem was reported.
pub fn flagged(
    flags: Table<'_>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    flags.spare("listen");
    if flags.take("kind", kind_word) == Some(Word::Tcp) {
        flags.report("kind", no_role());
        return None;
    }
    let source = source(&flags.starting_from(defaults), credentials, haproxy);
    source.map(|source| vec![source])
}

/// The sources of `[source]`, else Patroni on this host. `None` only where a problem was reported.
pub fn of_file(
    root: &Table<'_>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    let written = root.tables("source");
    if written.is_empty() {
        let empty = root.table("source").starting_from(defaults);
        return source(&empty, credentials, haproxy).map(|source| vec![source]);
    }
    sources(written, defaults, credentials, haproxy)
}

/// Several sources; `None` only where a problem was reported.
pub fn sources(
    written: Vec<Table<'_>>,
    defaults: &Table<'_>,
    credentials: Option<&Path>,
    haproxy: &Haproxy,
) -> Option<Vec<Source>> {
    let read = |table: Table<'_>| source(&table.starting_from(defaults), credentials, haproxy);
    // Every source is read before one that is wrong spoils the whole.
    let first = written.first().cloned();
    let sources: Vec<Option<Source>> = written.into_iter().map(read).collect();
    check_role(&sources, first.as_ref());
    sources.into_iter().collect()
}

fn read_defaults(defaults: &Table<'_>, credentials: Option<&Path>) {
    defaults.take("kind", kind_word);
    rhythm(defaults, Word::Patroni);
    patroni(defaults, true);
    postgres(defaults, credentials);
    tcp(defaults);
    command(defaults);
    fixed(defaults);
    repmgr::keys(defaults);
    defaults.finish();
}

/// One source, Patroni where it does not say its kind; `None` only where a problem was reported.
fn source(table: &Table<'_>, credentials: Option<&Path>, haproxy: &Haproxy) -> Option<Source> {
    let word = if table.has("kind") { table.take("kind", kind_word) } else { Some(Word::Patroni) };
    let (interval, timeout, hold) = rhythm(table, word.unwrap_or(Word::Patroni));
    let kind = word.and_then(|word| kind(table, word, credentials));
    for (key, kinds) in KEYS {
        table.spare(key);
        let Some(word) = word.filter(|word| !kinds.contains(word) && table.has_own(key)) else {
            continue;
        };
        let owners: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let what = format!("a source of kind `{}` has no such key", word.as_str());
        let hint = format!("it is a key of kind {}", owners.join(" and "));
        table.report(key, Fault::new(what, format!("no `{key}`"), hint));
    }
    table.finish();
    let memory = haproxy.memory();
    let beside = interval + timeout + memory;
    let hold_chosen = table.has("hold");
    let mut source = Source { kind: kind?, interval, timeout, hold, hold_chosen, beside, memory };
    repmgr::fit(table, &mut source, haproxy);
    Some(source)
}

fn kind_word(value: &DeValue<'_>) -> Result<Word, Fault> {
    word(&WORDS)(value)
}

/// A kind of source with its own keys; `None` only where a problem was reported.
fn kind(table: &Table<'_>, word: Word, credentials: Option<&Path>) -> Option<Kind> {
    match word {
        Word::Patroni => patroni(table, false).map(Kind::Patroni),
        Word::Postgres => server(table, credentials).map(Kind::Postgres),
        Word::Repmgr => {
            let server = server(table, credentials);
            let keys = repmgr::keys(table);
            server.zip(keys).map(|(server, keys)| Kind::Repmgr(keys.with(server)))
        }
        Word::Tcp => {
            let hint = r#"such as "127.0.0.1:6432": where HAProxy's `server` line leads"#;
            or_missing(table, "address", tcp(table), ADDRESS, hint).map(Kind::Tcp)
        }
        Word::Command => {
            let command = command(table);
            or_missing(table, "command", command, COMMAND, COMMAND_HINT).map(Kind::Command)
        }
        Word::Static => {
            let role = fixed(table);
            or_missing(table, "role", role, ROLE, "say what the node is").map(Kind::Static)
        }
    }
}

/// How PostgreSQL is reached; `None` only where a problem was reported.
fn server(table: &Table<'_>, credentials: Option<&Path>) -> Option<Postgres> {
    let (conninfo, password) = postgres(table, credentials);
    let hint = r#"such as "host=/run/postgresql user=rolecall dbname=postgres""#;
    let conninfo = or_missing(table, "conninfo", conninfo, CONNINFO, hint);
    conninfo.zip(password).map(|(conninfo, password)| Postgres { conninfo, password })
}

/// Reports a key that is not there.
fn or_missing<T>(
    table: &Table<'_>,
    key: &str,
    value: Option<T>,
    expected: &str,
    hint: &str,
) -> Option<T> {
    if value.is_none() && !table.has(key) {
        table.report(key, Fault::new("missing", expected, hint));
    }
    value
}

/// `interval`, `timeout` and `hold`.
fn rhythm(table: &Table<'_>, kind: Word) -> (Duration, Duration, Duration) {
    let take = |key, bounds: (Duration, Duration)| table.take(key, duration(bounds.0..=bounds.1));
    (
        take("interval", INTERVAL).unwrap_or(Duration::from_millis(500)),
        take("timeout", TIMEOUT).unwrap_or(kind.timeout()),
        take("hold", HOLD).unwrap_or(kind.hold()),
    )
}

/// The keys of kind `patroni`.
fn patroni(table: &Table<'_>, defaults: bool) -> Option<Patroni> {
    let file = |key| table.take(key, string(PATH, "write it in double quotes", path));
    let (ca_file, cert, key) = (file("ca_file"), file("cert_file"), file("key_file"));
    let name = |text: &str| {
        let name = ServerName::try_from(text.to_owned()).is_ok() && is_domain(text);
        name.then(|| text.to_owned()).ok_or_else(|| {
            let hint = "as in the certificate's subject alternative names; where it has an address \
                        alone, ask at that one in `url`";
            Fault::new("is no host's name", "a host's name", hint)
        })
    };
    let name = string("a host's name", "write it in double quotes", name);
    let server_name = table.take("server_name", name);
    let require_lock = table.take("require_lock", boolean).unwrap_or(false);
    let read = string(SERVER_PORT, "write it in double quotes", server_port);
    let server_port = table.take("postgres_address", read).unwrap_or(ServerPort::Learned);
    let url = table.take("url", string(URL, "write it in double quotes", patroni_url));
    for (has, lacks) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if table.has(has) && !table.has(lacks) {
            let hint = "Patroni is shown both, or neither";
            table.report(lacks, Fault::new(format!("missing beside `{has}`"), PATH, hint));
        }
    }
    let default = || (!table.has("url")).then(|| PATRONI_URL.to_owned());
    let url = url.or_else(default)?;
    // In [defaults] the URL may be left to each source.
    let plain = url.starts_with("http:") && (table.has("url") || !defaults);
    for key in ["ca_file", "cert_file", "server_name"] {
        if plain && table.has_own(key) {
            let fault = Fault::new(
                "is of no use with http",
                "https in `url`",
                "say https, or leave it out",
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

/// The keys of kind `postgres`; no password's place only where a problem was reported.
pub fn postgres(
    table: &Table<'_>,
    credentials: Option<&Path>,
) -> (Option<Conninfo>, Option<PasswordFrom>) {
    let conninfo = table.take(
        "conninfo",
        string(CONNINFO, "write it in double quotes", |text| {
            conninfo::own(text)
                .map_err(|error| Fault::new(error.problem.as_str(), CONNINFO, error.hint.as_str()))
        }),
    );
    let passfile = table.take("passfile", string(PATH, "write it in double quotes", path));
    let credential = table.take("password_credential", |value| from_credential(value, credentials));
    let (file, secret) = (table.has("passfile"), table.has("password_credential"));
    // It would be used, or not, without anybody being told which.
    let within = conninfo.as_ref().and_then(|conninfo| {
        let within =
            [("password", conninfo.password.is_some()), ("passfile", conninfo.passfile.is_some())];
        within.into_iter().find_map(|(key, given)| given.then_some(key))
    });
    for (key, given) in [("passfile", file), ("password_credential", secret)] {
        if let Some(within) = within.filter(|_| given) {
            let what = format!("stands beside `{within}` in `conninfo`");
            let hint =
                "leave one of the two out; a file keeps the password out of the configuration";
            table.report(key, Fault::new(what, "one place for the password", hint));
        }
    }
    let password = match (file, secret) {
        (true, true) => {
            let what = "stands beside `passfile`";
            let hint = "leave one of the two out";
            let fault = Fault::new(what, "`passfile` or `password_credential`", hint);
            table.report("password_credential", fault);
            None
        }
        (true, false) => passfile.map(PasswordFrom::Passfile),
        (false, true) => credential.map(PasswordFrom::File),
        (false, false) => Some(PasswordFrom::Nowhere),
    };
    (conninfo, password)
}

/// The file of a systemd credential. A person who runs `check` or `ask` by hand has no
/// `$CREDENTIALS_DIRECTORY`; then it is the one of the running unit.
fn from_credential(value: &DeValue<'_>, directory: Option<&Path>) -> Result<PathBuf, Fault> {
    let expected = "the name of a credential";
    let name = string(expected, "write it in double quotes", credential)(value)?;
    Ok(directory.unwrap_or(Path::new(CREDENTIALS)).join(name))
}

/// The keys of kind `tcp`; `None` where there is no address.
fn tcp(table: &Table<'_>) -> Option<Tcp> {
    let read = string(ADDRESS, "write it in double quotes", address);
    let user = table.take("user", string("a name", "write it in double quotes", argument));
    Some(Tcp { address: table.take("address", read)?, user })
}

/// Where PostgreSQL itself is, or that it is not asked.
fn server_port(text: &str) -> Result<ServerPort, Fault> {
    if text == "none" {
        return Ok(ServerPort::NotAsked);
    }
    address(text).map(ServerPort::At)
}

/// Reports sources of one node that know no role all together.
fn check_role(sources: &[Option<Source>], first: Option<&Table<'_>>) {
    let knows = |source: &Option<Source>| source.as_ref().is_none_or(|of| of.kind.knows_role());
    if let Some(first) = first.filter(|_| !sources.iter().any(knows)) {
        first.report("kind", no_role());
    }
}

/// Nobody would ever be ready.
fn no_role() -> Fault {
    let what = "knows no role: it says whether somebody answers, not whether that is the primary";
    let hint = "add a [[source]] of kind patroni, repmgr or postgres; all of them must agree";
    Fault::new(what, "another source beside it", hint)
}

/// The keys of kind `command`.
fn command(table: &Table<'_>) -> Option<Vec<String>> {
    if table.has("command") && !table.has_array("command") {
        table.report("command", Fault::new("not an array", COMMAND, COMMAND_HINT));
        return None;
    }
    let hint = "write each argument in double quotes";
    let words = table.take_all("command", string("a string", hint, argument))?;
    let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    if words.first().is_some_and(|program| program.starts_with('/')) {
        return Some(words);
    }
    let what = if words.is_empty() { "empty" } else { "not an absolute path at its beginning" };
    table.report("command", Fault::new(what, COMMAND, COMMAND_HINT));
    None
}

fn argument(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("holds a NUL", "text without NUL", "no program can be given one"));
    }
    Ok(text.to_owned())
}

/// The keys of kind `static`.
fn fixed(table: &Table<'_>) -> Option<Role> {
    table.take("role", string(ROLE, "write it in double quotes", role))
}
