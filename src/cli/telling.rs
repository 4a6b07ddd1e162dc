//! The commands that only ask the running daemon: `status` once and again, and `history`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::overview::{self, Health};
use crate::cli::when::Zone;
use crate::cli::words::width;
use crate::cli::{Cli, past, print, watching};
use crate::control::protocol::{self, Question};
use crate::host::failure::Failure;
use crate::host::own_name;

impl Cli {
    /// As a monitoring plug-in is asked: whatever keeps the daemon from being asked is `unreachable`.
    pub(super) fn status(&self, json: bool) -> Result<ExitCode, Failure> {
        let said = self.socket().and_then(|socket| protocol::ask(&socket, &Question::Status));
        let said = match said {
            Ok(said) => said,
            Err(failure) => {
                print(&format!("rolecall: {failure}\n"))?;
                return Ok(ExitCode::from(Health::Unreachable as u8));
            }
        };
        if json {
            print(&format!("{said:#}\n"))?;
        } else {
            let host = own_name::host_name();
            let (colour, width) = (colour(), width());
            let look = overview::Look { colour, width, host: host.as_deref() };
            print(&overview::text(&said, &look))?;
        }
        Ok(ExitCode::from(overview::health(&said) as u8))
    }

    /// The same again and again.
    pub(super) fn watch(&self) -> Result<ExitCode, Failure> {
        let socket = self.socket()?;
        watching::watch(&socket, colour())?;
        Ok(ExitCode::SUCCESS)
    }

    /// The last changes, of everything or of one target.
    pub(super) fn history(
        &self,
        target: Option<&str>,
        since: Option<Duration>,
        json: bool,
    ) -> Result<ExitCode, Failure> {
        let since_ms = since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let question = Question::History { target: target.map(str::to_owned), since_ms };
        let socket: PathBuf = self.socket()?;
        let said: Value = protocol::ask(&socket, &question)?;
        if json {
            print(&format!("{said:#}\n"))?;
        } else {
            let (host, zone) = (own_name::host_name(), Zone::of_this_host());
            let look = past::Look { width: width(), host: host.as_deref(), zone: &zone };
            print(&past::text(&said, &look))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether there is a terminal that wants colour.
fn colour() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !plain
}
