//! The commands that only ask the running daemon: `status` once and again, and `history`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::status::{self, Showing};
use crate::cli::when::Zone;
use crate::cli::words::{colour, width};
use crate::cli::{Cli, past, print, watching};
use crate::config::haproxy::USUAL_SOCKET;
use crate::config::schema::Flags;
use crate::control::protocol::{self, Question};
use crate::host::failure::Failure;
use crate::host::own_name;

impl Cli {
    /// Once, or again and again.
    pub(super) fn status(&self, showing: &Showing) -> Result<ExitCode, Failure> {
        if showing.watch {
            watching::watch(&self.socket()?, colour())?;
            return Ok(ExitCode::SUCCESS);
        }
        let stats = || match self.load(&Flags::default()) {
            Ok(loaded) => loaded.config.haproxy.socket,
            // Of that a word was said already.
            Err(_) => USUAL_SOCKET.into(),
        };
        let (text, health) = status::said(showing, self.socket(), stats);
        print(&text)?;
        Ok(ExitCode::from(health as u8))
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
