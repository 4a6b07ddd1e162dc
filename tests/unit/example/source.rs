//! A file with the role of this node: one word, which whoever fails over here writes. `none` is a no.
//!
//! A file that cannot be read, or holds something else, shows nothing: it may be half written.

use std::path::PathBuf;

use rolecall::host::small_file;
use rolecall::look::error::{ErrorKind, SourceError};
use rolecall::look::observation::Observation;
use rolecall::look::text;
use rolecall::source::role_source::RoleSource;

use super::role_file;

/// Most bytes of the file; a word needs twenty.
const MAX_BYTES: u64 = 4096;

/// Most bytes of a wrong word in a message.
const MAX_QUOTED: usize = 40;

/// The file, read anew at each look.
pub struct RoleFile {
    file: PathBuf,
}

impl RoleFile {
    /// A source that reads the file of `settings`.
    pub fn new(settings: &role_file::RoleFile) -> Self {
        Self { file: settings.file.clone() }
    }
}

impl RoleSource for RoleFile {
    async fn observe(&mut self) -> Result<Observation, SourceError> {
        let bytes = small_file::read(&self.file, MAX_BYTES)?;
        let said = String::from_utf8_lossy(&bytes);
        match said.trim_ascii() {
            "none" => Ok(Observation::no_role()),
            word => word.parse().map(Observation::of).map_err(|_| {
                let (file, word) = (self.file.display(), text::plain(word, MAX_QUOTED));
                let what = format_args!("{file}: expected one role, or none, got {word:?}");
                SourceError::new(ErrorKind::Malformed, what)
            }),
        }
    }
}
