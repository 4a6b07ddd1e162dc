//! The folders that the service manager made for this process (systemd.exec(5)).

use std::path::PathBuf;

/// The folder of the unit's `RuntimeDirectory=`, which is gone after a boot.
pub(crate) fn runtime() -> Option<PathBuf> {
    first("RUNTIME_DIRECTORY")
}

/// The folder of the unit's `StateDirectory=`.
pub(crate) fn state() -> Option<PathBuf> {
    first("STATE_DIRECTORY")
}

/// Several are separated by colons; the unit has one.
fn first(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os(name)?).next()
}
