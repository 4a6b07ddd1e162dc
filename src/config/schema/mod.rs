//! The configuration file and the flags that replace parts of it, read into a [`Config`] or into
//! every problem they have.
//!
//! One file for each of the large tables (`node`, `source` with `[defaults]`, `service`, `fence`), one for a part of
//! one (`pool`); the small tables are read here. The keys of a kind of source stand in [`crate::config::kind`].

mod fence;
mod node;
mod pool;
mod service;
mod source;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::conninfo::Conninfo;
use crate::config::document::{Document, Fault, Problem, Table};
use crate::config::exposure;
use crate::config::haproxy::USUAL_SOCKET;
use crate::config::kind::KINDS;
use crate::config::review::warnings;
use crate::config::schema::fence::fence;
use crate::config::schema::node::{check_clash, nodes};
use crate::config::schema::service::{addresses, allow, services, values};
use crate::config::secret::Secret;
use crate::config::units::{duration, integer, path, string, version, word};
use crate::config::warning::Warning;
use crate::config::{
    Config, Control, HTTP_PORT, Haproxy, Http, Log, LogFormat, LogTo, OLDEST, PAGES, POKE_SOCKET,
    Postgres, Service,
};
use crate::host::unix_socket;
use crate::reply::routes::Listen;

/// Read where no other file is named, if it is there.
pub const DEFAULT_PATH: &str = "/etc/rolecall/rolecall.toml";

/// Longest file, in bytes: a hundred times a long configuration, and read in a moment.
pub const MAX_FILE: u64 = 256 * 1024;

/// Bounds of `agent_inter` and `check_timeout`: HAProxy's own least, and what no operator waits for.
const AGENT_INTER: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));

/// What a server is asked every, unless the operator says otherwise; the files in haproxy/ say it too.
const USUAL_INTER: Duration = Duration::from_millis(500);

/// Least `check_timeout` that is taken for granted: what a busy host needs. An agent-send in the same
/// HAProxy costs the checks without one 200 ms.
const LEAST_CHECK: Duration = Duration::from_millis(400);

/// Most failed checks before HAProxy takes a server down.
const MAX_FALL: u32 = 1000;

/// What the command line says instead of the file. Text as it was given, checked like the file's.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--source`: the kind of the one source; with it or any of the next three the file's sources
    /// are replaced. Where it is not given the other flag says the kind.
    pub source: Option<String>,
    /// `--url`: where Patroni's REST API is asked.
    pub url: Option<String>,
    /// `--conninfo`: how PostgreSQL is reached; may hold a password.
    pub conninfo: Option<Secret>,
    /// `--role`: the role of `static`.
    pub role: Option<String>,
    /// `--listen`: replaces the `listen` of the first service.
    pub listen: Option<String>,
}

impl Flags {
    /// The flags as a table of a source's keys, and `listen`.
    fn table(&self) -> DeTable<'_> {
        let keys = [
            ("url", self.url.as_deref()),
            ("conninfo", self.conninfo.as_ref().map(Secret::expose)),
            ("role", self.role.as_deref()),
        ];
        let given = |flag| keys.iter().any(|(key, value)| flag == Some(*key) && value.is_some());
        let mut implied = KINDS.iter().map(|kind| kind.profile).filter(|it| given(it.flag));
        let kind = self.source.as_deref().or_else(|| implied.next().map(|profile| profile.word));
        let rest = [("kind", kind), ("listen", self.listen.as_deref())];
        let values = keys.into_iter().chain(rest);
        let mut table = DeTable::new();
        for (key, value) in values {
            if let Some(value) = value {
                let value = DeValue::String(Cow::Borrowed(value));
                table.insert(Spanned::new(0..0, Cow::Borrowed(key)), Spanned::new(0..0, value));
            }
        }
        table
    }
}

/// A configuration that can be used, and what an operator should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// To be said once, at start and by `check`.
    pub warnings: Vec<Warning>,
}

/// Reads the configuration: the file that is named, which must be there; else [`DEFAULT_PATH`] where
/// it is there; else what is built in. `credentials` is the directory that systemd names in
/// `$CREDENTIALS_DIRECTORY`.
pub fn load(
    path: Option<&Path>,
    flags: &Flags,
    credentials: Option<&Path>,
) -> Result<Loaded, Vec<Problem>> {
    let wanted = path.unwrap_or(Path::new(DEFAULT_PATH));
    let file = wanted.to_string_lossy();
    let text = match contents(wanted) {
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let hint = "choose another file with --config, or let rolecall's user read this one";
            let what = format!("cannot be read: {error}");
            return Err(vec![whole_file(&file, None, what, "a readable file", hint)]);
        }
        Ok(text) => text,
    };
    if text.len() as u64 > MAX_FILE {
        let what = format!("is longer than {MAX_FILE} bytes");
        let expected = "a configuration of ordinary length";
        return Err(vec![whole_file(
            &file,
            None,
            what,
            expected,
            "check that this is the right file",
        )]);
    }
    match String::from_utf8(text) {
        Ok(text) => {
            let mut loaded = read(&file, &text, flags, credentials)?;
            let secret = |server: &&Postgres| server.conninfo.password.is_some();
            // What the flags say stands in no file.
            if flags.conninfo.is_none()
                && logins(&loaded.config).iter().any(secret)
                && let Some(open) = exposure::open("conninfo", wanted)
            {
                loaded.warnings.push(Warning::OpenFile(open));
            }
            Ok(loaded)
        }
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().map(|b| usize::from(*b == b'\n')).sum::<usize>();
            let what = "is not UTF-8".to_owned();
            let hint = "save the file as UTF-8";
            Err(vec![whole_file(&file, Some(line), what, "UTF-8", hint)])
        }
    }
}

/// Every server that is logged into.
fn logins(config: &Config) -> Vec<&Postgres> {
    let sources = config.nodes.iter().flat_map(|node| &node.sources);
    sources
        .filter_map(|source| source.kind.settings().server())
        .chain(config.fence.as_ref().map(|fence| &fence.server))
        .collect()
}

/// The bytes of a file, one more than [`MAX_FILE`] at most. A pipe or a device, on which a reader
/// can wait for ever, is an error.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn whole_file(
    file: &str,
    line: Option<usize>,
    what: String,
    expected: &str,
    hint: &str,
) -> Problem {
    let fault = Fault::new(what, expected, hint);
    Problem { file: file.to_owned(), line, key: String::new(), fault }
}

/// Reads a configuration from the text of `file`, which is only named, and the flags; `credentials`
/// as in [`load`]. The problems of the file come first, in its order.
pub fn read(
    file: &str,
    text: &str,
    flags: &Flags,
    credentials: Option<&Path>,
) -> Result<Loaded, Vec<Problem>> {
    let document = Document::new(file, text);
    let command_line = Document::without_text("command line");
    let table = flags.table();
    let config = document.parse().and_then(|entries| {
        let root = Table::root(&document, &entries);
        let flags = Table::flags(&command_line, &table);
        sections(&root, &flags, credentials)
    });
    let mut problems = document.into_problems();
    problems.extend(command_line.into_problems());
    match config {
        Some(config) if problems.is_empty() => {
            let mut warnings = warnings(&config);
            let given = flags.conninfo.as_ref().and_then(|it| it.expose().parse::<Conninfo>().ok());
            if given.is_some_and(|conninfo| conninfo.password.is_some()) {
                warnings.push(Warning::PasswordInArguments);
            }
            Ok(Loaded { config, warnings })
        }
        _ => Err(problems),
    }
}

/// The whole document; `None` only where a problem was reported.
fn sections(root: &Table<'_>, flags: &Table<'_>, credentials: Option<&Path>) -> Option<Config> {
    let haproxy = haproxy(&root.table("haproxy"));
    let nodes = nodes(root, flags, credentials, &haproxy);
    let mut listeners = Vec::new();
    let services = services(root, flags, &nodes, &haproxy, &mut listeners);
    let http = http(root, services.as_deref().unwrap_or_default(), &mut listeners);
    let log = log(&root.table("log"));
    let control = control(root);
    let nodes = nodes.into_nodes();
    let fence = fence(root, credentials, &haproxy, nodes.as_deref(), services.as_deref());
    root.finish();
    let (mut nodes, services) = (nodes?, services?);
    // Where PostgreSQL itself is asked it knows better and at once, while its primary is there; then there may
    // be several limits, with which Patroni cannot be asked in one look.
    let mut limits = services.iter().filter_map(|service| service.lag?.bytes);
    let first = limits.next();
    let limit = first.filter(|first| limits.all(|other| other == *first));
    for source in nodes.iter_mut().flat_map(|node| &mut node.sources) {
        source.kind.settings_mut().take_limit(limit);
    }
    Some(Config { haproxy, nodes, services, http, control, fence, log })
}

/// The control socket; off unless the section is there.
fn control(root: &Table<'_>) -> Option<Control> {
    let table = root.table("control");
    if !root.has("control") {
        return None;
    }
    let default = Control::default();
    let file = || string("an absolute path", path);
    let socket = || string("an absolute path of a socket", socket);
    let at = table.take("socket", socket()).unwrap_or(default.socket);
    // Beside the other one: a second daemon on this host must not need to name both.
    let poke = table.take("poke", socket()).unwrap_or_else(|| at.with_file_name(POKE_SOCKET));
    let control = Control {
        socket: at,
        mode: table.take("mode", string("a mode such as \"0660\"", mode)).unwrap_or(default.mode),
        group: table.take("group", string("the name of a group", group)),
        state: table.take("state", file()).unwrap_or(default.state),
        poke,
    };
    table.finish();
    Some(control)
}

/// Where a socket may lie.
fn socket(text: &str) -> Result<PathBuf, Fault> {
    let path = path(text)?;
    if path.as_os_str().len() <= unix_socket::MAX_PATH {
        return Ok(path);
    }
    let what = format!("is longer than {} bytes", unix_socket::MAX_PATH);
    Err(Fault::new(
        what,
        "a path that the operating system accepts for a socket",
        "choose a shorter one",
    ))
}

/// Who may open a socket, in octal digits.
fn mode(text: &str) -> Result<u32, Fault> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let expected = "three octal digits, such as 0660";
    mode.ok_or_else(|| {
        Fault::new("is not the mode of a socket", expected, "use 0660: owner and group")
    })
}

fn group(text: &str) -> Result<String, Fault> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    let fault = || {
        Fault::new(
            "is not a group name",
            "a name from /etc/group",
            "`id` prints the groups of a user",
        )
    };
    fits.then(|| text.to_owned()).ok_or_else(fault)
}

/// The HTTP port; off unless the section is there.
fn http(root: &Table<'_>, services: &[Service], listeners: &mut Vec<Listen>) -> Option<Http> {
    let table = root.table("http");
    if !root.has("http") {
        return None;
    }
    let listen = addresses(&table);
    for (spot, address) in listen.iter().flatten() {
        check_clash(listeners, spot, *address);
    }
    let default = Listen::At((Ipv4Addr::LOCALHOST, HTTP_PORT).into());
    if listen.is_none() && !table.has("listen") {
        check_clash(listeners, &table.spot("listen"), default);
    }
    let allow = allow(&table);
    table.finish();
    for service in services.iter().filter(|service| PAGES.contains(&service.name.as_str())) {
        let what =
            format!("the page of this name would hide the page of service `{}`", service.name);
        let expected = format!("no service called {}", PAGES.join(", "));
        root.report("http", Fault::new(what, expected, "choose another name for the service"));
    }
    let listen = listen.map_or_else(|| vec![default], values);
    Some(Http { listen, allow })
}

fn haproxy(table: &Table<'_>) -> Haproxy {
    let time = |key| table.take(key, duration(AGENT_INTER.0..=AGENT_INTER.1));
    let agent_inter = time("agent_inter").unwrap_or(USUAL_INTER);
    let haproxy = Haproxy {
        agent_inter,
        check_fall: table.take("check_fall", integer(1, MAX_FALL)).unwrap_or(2),
        // What HAProxy takes itself where `timeout check` is not set.
        check_timeout: time("check_timeout").unwrap_or(agent_inter.max(LEAST_CHECK)),
        version: table
            .take(
                "version",
                string(r#"a version such as "2.6""#, |text| {
                    let version = version(text)?;
                    if version >= OLDEST {
                        return Ok(version);
                    }
                    let what = format!("HAProxy {}.{} is too old", version.0, version.1);
                    let (major, minor) = OLDEST;
                    let expected = format!("{major}.{minor} or newer");
                    Err(Fault::new(what, expected, "rolecall supports no older version"))
                }),
            )
            .unwrap_or((2, 6)),
        socket: table
            .take("socket", string("the path of a socket, from `/` on", socket))
            .unwrap_or_else(|| USUAL_SOCKET.into()),
    };
    table.finish();
    haproxy
}

fn log(table: &Table<'_>) -> Log {
    let to = [("auto", LogTo::Auto), ("stderr", LogTo::Stderr), ("journald", LogTo::Journald)];
    let format = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let level = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let log = Log {
        to: table.take("to", word(&to)).unwrap_or(LogTo::Auto),
        format: table.take("format", word(&format)).unwrap_or(LogFormat::Text),
        level: table.take("level", word(&level)).unwrap_or(tracing::Level::INFO),
    };
    table.finish();
    log
}
