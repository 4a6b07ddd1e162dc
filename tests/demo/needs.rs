//! The programs that the story needs, and what to do where one is missing.

use std::path::PathBuf;

use crate::fixtures::{find_postgres, haproxies};

/// The programs, found.
pub struct Needs {
    /// rolecall, built beside this program.
    pub rolecall: PathBuf,
    /// HAProxy.
    pub haproxy: PathBuf,
    /// Its version, `MAJOR.MINOR`.
    pub haproxy_version: String,
}

/// The exit code where a program is missing (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;

impl Needs {
    /// Finds them all; repmgr too, `with_repmgr`.
    ///
    /// # Errors
    /// Every missing one, each with its remedy.
    pub fn find(with_repmgr: bool) -> Result<Self, String> {
        let mut missing = Vec::new();
        let mut miss = |what: &str, hint: &str| {
            missing.push(format!("missing: {what}\nhint: {hint}"));
        };
        // Cargo puts examples into a folder beside the programs of the same profile.
        let here = std::env::current_exe().unwrap_or_default();
        let built = here.ancestors().nth(2).unwrap_or(&here).join("rolecall");
        if !built.is_file() {
            let profile = if cfg!(debug_assertions) { "" } else { " --release" };
            miss(&built.display().to_string(), &format!("cargo build{profile}"));
        }
        match find_postgres() {
            None => miss("PostgreSQL's server below /usr/lib/postgresql", INSTALL),
            Some(bin) if with_repmgr && !bin.join("repmgrd").is_file() => {
                miss(&bin.join("repmgrd").display().to_string(), INSTALL);
            }
            Some(_) => {}
        }
        let haproxy = haproxies().into_iter().next();
        if haproxy.is_none() {
            miss("haproxy on the PATH or in /usr/sbin", INSTALL);
        }
        match haproxy {
            Some((haproxy_version, haproxy)) if missing.is_empty() => {
                Ok(Self { rolecall: built, haproxy, haproxy_version })
            }
            _ => Err(missing.join("\n")),
        }
    }
}

const INSTALL: &str = "sudo tests/tools/install.sh demo";
