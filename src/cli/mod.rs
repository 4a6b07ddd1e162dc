//! The command line: its options, and what each command does.
//!
//! `run` is the daemon. `status`, `ready`, `drain`, `maint` and `auto` speak with it over the operators' socket, `poke` over
//! its own, `ask` with it and then looks itself; `check`, `haproxy`, `man` and `completions` need none.

pub mod ask;
mod check;
mod examples;
mod failover_after;
pub mod haproxy;
mod help;
mod lock_times;
pub mod manual;
mod manual_toml;
pub mod overview;
mod past;
pub mod plugin;
mod roff;
mod status;
mod target;
mod telling;
mod watching;
mod when;
mod words;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use tracing::Level;

use crate::cli::ask::Running;
use crate::cli::haproxy::front::Naming;
use crate::cli::haproxy::members;
use crate::cli::status::Showing;
use crate::cli::target::{Target, known_node, meant};
use crate::config::document::Problem;
use crate::config::schema::{self, Flags, Loaded};
use crate::config::secret::Secret;
use crate::config::{Config, Control, units};
use crate::control::protocol::{self, Question};
use crate::daemon;
use crate::daemon::logging;
use crate::host::failure::{Exit, Failure};
use crate::host::own_name;
use crate::verdict::state::State;
use crate::watch::poke;

/// Answers HAProxy's agent-check with the role of a PostgreSQL node: READY or MAINT.
#[derive(Parser)]
#[command(name = "rolecall", version, arg_required_else_help = true)]
#[command(subcommand_value_name = "COMMAND")]
struct Cli {
    /// Configuration file. Default: /etc/rolecall/rolecall.toml if it exists, otherwise the built-in defaults.
    #[arg(long, global = true, env = "ROLECALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Least severe level that `run` logs: error, warn, info, debug or trace.
    #[arg(long, global = true, env = "ROLECALL_LOG", value_name = "LEVEL",
          value_parser = logging::level)]
    log: Option<Level>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Run(Run),
    /// Check the configuration. Exit code: 0 if it is valid, 78 with every error found.
    Check,
    /// Show what the running daemon answers, poll the sources once, and explain both. Exit code: 0 ready, 1 not
    /// ready, 2 unknown, by the daemon's answer if it runs; with several services, the worst of them.
    Ask {
        /// SERVICE or SERVICE/NODE. Default: every service of every node.
        target: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what the running daemon answers and why. Exit code for monitoring: 0 OK, 1 warning, 2 critical, 3 if
    /// the daemon cannot be reached.
    Status(Showing),
    /// Show the last changes of each answer with their reasons, and for how long no node was READY.
    History {
        /// SERVICE, NODE, SERVICE/NODE or all. Default: all.
        target: Option<String>,
        /// Show only the last so much time, for example 2h.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keep a service READY for a limited time while polls fail. A service for primaries also needs --force.
    Ready(OrderReady),
    /// Take a node out of service but keep its existing sessions (DRAIN).
    Drain(Ordering),
    /// Take a node out of service and close its sessions (MAINT).
    Maint(Ordering),
    /// Remove an order, so that the answer follows the poll results again.
    Auto {
        /// SERVICE, NODE, SERVICE/NODE or all, exactly as in the order.
        target: String,
    },
    /// Make the running daemon poll now, and every 75 ms for three seconds. Exit code 69 if no daemon is running.
    Poke {
        /// Poll only this node.
        node: Option<String>,
    },
    /// Print an HAProxy configuration for this cluster. The members are read from Patroni, repmgr or [[node]].
    Haproxy {
        /// Version of the HAProxy that will read it. Default: `version` of [haproxy], or 2.6.
        #[arg(long, value_name = "VERSION", value_parser = haproxy_version)]
        haproxy_version: Option<(u32, u32)>,
        /// Client port of the first service. Each further service uses the next port.
        #[arg(long, value_name = "PORT", default_value_t = 5000,
              value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// Names of the pools. `short`: `postgres_rw` and `postgres_ro`, as in the files of haproxy/. `service`: the
        /// names of the services, such as `postgres_primary`. Default: short.
        #[arg(
            long,
            value_name = "NAMING",
            default_value = "short",
            hide_default_value = true,
            hide_possible_values = true
        )]
        pool_names: Naming,
    },
    /// Print the completions of commands and flags for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page: `rolecall man | man -l -`.
    Man {
        /// Command whose page is printed, or `rolecall.toml`. Default: the page of rolecall itself.
        page: Option<String>,
    },
}

/// An order.
#[derive(Args)]
struct Ordering {
    /// SERVICE, NODE, SERVICE/NODE or all. If several orders apply, the most specific one is in effect.
    target: String,
    /// Let the order expire after this time, for example 10m or 2h. Default: it stays until `rolecall auto`.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Reason for the order. It appears in `rolecall status`, in the log and in HAProxy.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// An order of READY.
#[derive(Args)]
struct OrderReady {
    /// SERVICE/NODE. SERVICE alone is enough if there is only one node.
    target: String,
    /// Let the order expire after this time, for example 10m or 2h. Required, at most 24h.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasts: Option<Duration>,
    /// Reason for the order. It appears in `rolecall status`, in the log and in HAProxy.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// DANGEROUS: answer READY even if the node is not the primary. Writes can reach the wrong node.
    #[arg(long)]
    force: bool,
}

/// Flags that replace a configuration file.
#[derive(Args)]
struct Run {
    #[arg(long, value_name = "KIND", help = help::kinds())]
    source: Option<String>,
    /// URL of Patroni's REST API.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// libpq connection string for PostgreSQL.
    #[arg(long, value_name = "CONNINFO")]
    conninfo: Option<String>,
    /// Role of the source `static`.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Agent port of the first service: ADDRESS:PORT, or PORT for every address.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// Parses the command line, runs what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let parsed = help::wrapped(definition()).try_get_matches();
    let parsed = parsed.and_then(|given| Ok((Cli::from_arg_matches(&given)?, Written::of(&given))));
    let (cli, written) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nothing is left to tell where even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.means_something(&written).and_then(|()| cli.run()) {
        Ok(code) => code,
        Err(failure) => {
            // Nothing is left to tell where even this cannot be printed.
            let _ = writeln!(io::stderr(), "rolecall: {failure}");
            failure.exit.into()
        }
    }
}

/// Which of the flags that every command takes stand on the command line itself; the environment is there for
/// all of them.
struct Written {
    config: bool,
    log: bool,
}

impl Written {
    fn of(given: &ArgMatches) -> Self {
        let written = |flag| given.value_source(flag) == Some(ValueSource::CommandLine);
        Self { config: written("config"), log: written("log") }
    }
}

impl Cli {
    /// Refuses a flag that the command would pass over.
    fn means_something(&self, written: &Written) -> Result<(), Failure> {
        let refused = |flag: &str, why: &str| {
            Err(Failure::new(Exit::Usage, format_args!("{flag} has no effect here: {why}"))
                .hint("remove the flag"))
        };
        match &self.command {
            Command::Completions { .. } | Command::Man { .. } if written.config => {
                refused("--config", "this command reads no configuration")
            }
            Command::Run(_) => Ok(()),
            _ if written.log => refused("--log", "only `rolecall run` writes a log"),
            _ => Ok(()),
        }
    }

    fn run(self) -> Result<ExitCode, Failure> {
        match &self.command {
            Command::Run(run) => self.daemon(&run.flags()),
            Command::Check => self.check(),
            Command::Ask { target, json } => self.ask(target.as_deref(), *json),
            Command::Status(showing) => self.status(showing),
            Command::History { target, since, json } => {
                self.history(target.as_deref(), *since, *json)
            }
            Command::Ready(OrderReady { target, lasts, reason, force }) => {
                self.order("ready", target, *lasts, reason, *force)
            }
            Command::Drain(Ordering { target, lasts, reason }) => {
                self.order("drain", target, *lasts, reason, false)
            }
            Command::Maint(Ordering { target, lasts, reason }) => {
                self.order("maint", target, *lasts, reason, false)
            }
            Command::Auto { target } => {
                self.tell(&Question::Auto { target: target.clone(), sudo: protocol::sudo() })
            }
            Command::Poke { node } => self.poke(node.as_deref()),
            Command::Haproxy { haproxy_version, port, pool_names } => {
                self.haproxy(*haproxy_version, *port, *pool_names)
            }
            Command::Completions { shell } => {
                print(&manual::completions(definition(), *shell))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Man { page } => man(page.as_deref()),
        }
    }

    fn load(&self, flags: &Flags) -> Result<Loaded, Failure> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let mut loaded = schema::load(self.config.as_deref(), flags, credentials.as_deref())
            .map_err(|problems| refused(&problems))?;
        loaded.config.log.level = self.log.unwrap_or(loaded.config.log.level);
        Ok(loaded)
    }

    fn daemon(&self, flags: &Flags) -> Result<ExitCode, Failure> {
        daemon::run(&|| self.load(flags))?;
        Ok(ExitCode::SUCCESS)
    }

    fn check(&self) -> Result<ExitCode, Failure> {
        let loaded = self.load(&Flags::default())?;
        let said = check::check(&loaded, self.config_file(), runtime()?)?;
        print(&said)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Where the running daemon is asked. It runs on with what it had read when somebody makes a mistake in the
    /// file, and must be asked all the same.
    fn socket(&self) -> Result<PathBuf, Failure> {
        let nowhere = || {
            Failure::new(
                Exit::Config,
                "the configuration has no section [control], so rolecall has no control socket",
            )
            .hint("add a section [control] to the configuration and restart rolecall")
        };
        let failure = match self.load(&Flags::default()) {
            Ok(loaded) => return self.socket_of(&loaded.config).ok_or_else(nowhere),
            Err(failure) => failure,
        };
        let written = self.config_file().and_then(written_socket);
        let Some(socket) = written.or_else(|| self.usual_socket()) else { return Err(failure) };
        // Nothing is left to tell where even this cannot be printed.
        let _ = writeln!(
            io::stderr(),
            "warning: the configuration file has errors (see `rolecall check`); this answer comes \
             from the running rolecall, asked at {}",
            socket.display()
        );
        Ok(socket)
    }

    /// The control socket of this configuration.
    fn socket_of(&self, config: &Config) -> Option<PathBuf> {
        let named = config.control.as_ref().map(|control| control.socket.clone());
        named.or_else(|| self.usual_socket())
    }

    /// Where the packaged unit is asked: not where another file than its own is meant.
    fn usual_socket(&self) -> Option<PathBuf> {
        self.config.is_none().then(|| Control::default().socket)
    }

    fn order(
        &self,
        order: &str,
        target: &str,
        lasts: Option<Duration>,
        reason: &str,
        force: bool,
    ) -> Result<ExitCode, Failure> {
        let lasts = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        self.tell(&Question::Order {
            order: order.to_owned(),
            target: target.to_owned(),
            for_ms: lasts,
            reason: reason.to_owned(),
            force,
            sudo: protocol::sudo(),
        })
    }

    fn tell(&self, question: &Question) -> Result<ExitCode, Failure> {
        let said = protocol::ask(&self.socket()?, question)?;
        print(&format!("{}\n", said.as_str().unwrap_or_default()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The file that is read, if there is one.
    fn config_file(&self) -> Option<&Path> {
        let default = Path::new(schema::DEFAULT_PATH);
        self.config.as_deref().or_else(|| default.exists().then_some(default))
    }

    fn poke(&self, node: Option<&str>) -> Result<ExitCode, Failure> {
        let config = match self.load(&Flags::default()) {
            Ok(loaded) => Some(loaded.config),
            Err(failure) if self.config.is_some() => return Err(failure),
            // Patroni's or repmgr's user may not read it; the daemon then is where it usually is.
            Err(_) => None,
        };
        let named = config.as_ref().zip(node).map(|(config, node)| meant(node, config));
        let node = named.as_deref().or(node);
        if let Some((config, node)) = config.as_ref().zip(node) {
            known_node(node, config)?;
        }
        let configured = config.and_then(|config| config.control).map(|control| control.poke);
        poke::send(&configured.unwrap_or_else(|| Control::default().poke), node)?;
        Ok(ExitCode::SUCCESS)
    }

    fn haproxy(
        &self,
        version: Option<(u32, u32)>,
        port: u16,
        naming: Naming,
    ) -> Result<ExitCode, Failure> {
        let config = self.load(&Flags::default())?.config;
        let runtime = runtime()?;
        let found = runtime.block_on(members::found(&config, version, port, naming))?;
        // A name look-up that hangs must not keep it from being printed.
        runtime.shutdown_background();
        for left_out in &found.left_out {
            // Nothing is left to tell where even this cannot be printed.
            let _ = writeln!(
                io::stderr(),
                "warning: {left_out}; run this command again once it has one"
            );
        }
        print(&found.front.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn ask(&self, target: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
        let config = self.load(&Flags::default())?.config;
        let meant = target.map(|target| meant(target, &config));
        let target = meant.as_deref().map(|target| Target::read(target, &config)).transpose()?;
        let (service, node) = target.map_or((None, None), |t| (Some(t.service), t.node));
        // First: HAProxy is told what the daemon says, and that may rest on what was seen before.
        let socket = self.socket_of(&config);
        let status = socket.map(|socket| protocol::ask(&socket, &Question::Status));
        // At the usual place somebody may be, and need not.
        let status = status.filter(|status| config.control.is_some() || status.is_ok());
        let running = Running::of(status, service, node);
        let runtime = runtime()?;
        let answer = runtime.block_on(ask::ask(&config, service, node))?;
        // A name look-up that hangs must not keep the answer from being printed.
        runtime.shutdown_background();
        if json {
            print(&format!("{:#}\n", answer.json(&running)))?;
        } else {
            print(&answer.text(&running, own_name::host_name().as_deref()))?;
        }
        Ok(ExitCode::from(match answer.state(&running) {
            State::Ready => 0,
            State::NotReady | State::Drain => 1,
            State::Unknown => 2,
        }))
    }
}

/// The control socket that a file names, though the rest of it may be wrong.
fn written_socket(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let document = toml::de::DeTable::parse(&text).ok()?;
    let control = document.get_ref().get("control")?.get_ref().as_table()?;
    Some(control.get("socket")?.get_ref().as_str()?.into())
}

fn haproxy_version(text: &str) -> Result<(u32, u32), String> {
    units::version(text).map_err(|fault| format!("expected {}; {}", fault.expected, fault.hint))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::Internal, format_args!("cannot start the asynchronous runtime: {error}"))
    })
}

impl Run {
    fn flags(&self) -> Flags {
        Flags {
            source: self.source.clone(),
            url: self.url.clone(),
            conninfo: self.conninfo.clone().map(Secret::new),
            role: self.role.clone(),
            listen: self.listen.clone(),
        }
    }
}

/// The command line's definition, from which the manual is made.
pub fn definition() -> clap::Command {
    Cli::command()
}

fn man(command: Option<&str>) -> Result<ExitCode, Failure> {
    let page = manual::page(definition(), command).map_err(|error| {
        Failure::new(Exit::Internal, format_args!("cannot write the manual page: {error}"))
    })?;
    let Some(page) = page else {
        let commands = definition();
        let names = commands.get_subcommands().map(clap::Command::get_name);
        let known: Vec<_> = names.chain([manual::OF_TOML]).collect();
        let asked = command.unwrap_or_default();
        return Err(Failure::new(
            Exit::Usage,
            format_args!("rolecall has no manual page {asked:?}"),
        )
        .hint(format_args!("the pages are {}", known.join(", "))));
    };
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout. Whoever reads it may have read enough, as `head` has; that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Ok(());
    }
    written.map_err(|error| {
        Failure::new(Exit::Unavailable, format_args!("cannot write to standard output: {error}"))
    })
}

/// Every problem of a configuration, as one failure.
fn refused(problems: &[Problem]) -> Failure {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    let many = if lines.len() == 1 { "" } else { "s" };
    let what =
        format_args!("{} problem{many} in the configuration\n{}", lines.len(), lines.join("\n"));
    Failure::new(Exit::Config, what)
}
