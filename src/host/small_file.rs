//! Small files that an operator gives: read at every use, so that a new one counts at once, and within a bound.
//!
//! Reading is not handed to another thread: these are small local files, and a hand-over costs more than the read.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::look::error::{ErrorKind, SourceError};

/// Most bytes of a file with passwords: hundreds of lines, and no read that could stall a look.
pub const MAX_BYTES: u64 = 64 * 1024;

/// Reads a file of at most `max` bytes. [`ErrorKind::Credential`] with the path otherwise.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, SourceError> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(|e| unreadable(path, &e))?.is_file() {
        return Err(credential(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > max {
        return Err(credential(path, format!("is longer than {max} bytes")));
    }
    Ok(bytes)
}

/// The error of a file that the system does not let be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    credential(path, format!("cannot be read: {error}"))
}

/// The error of a file that cannot be used.
pub(crate) fn credential(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Credential, format!("{} {what}", path.display()))
}
