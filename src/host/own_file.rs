//! Files of rolecall's own, in directories that others may write to as well.
//!
//! Only a regular file is read, never a link, and nothing beyond a bound; opening never waits (a FIFO
//! nobody writes to would keep it for ever). A file is replaced whole, or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// It is not there, is no regular file, or is longer.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => wrong("the file is a symbolic link"),
        other => other.into(),
    })?;
    regular(&file)?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::from(file).take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(wrong("the file is too long"));
    }
    Ok(bytes)
}

/// Puts a file with these bytes in the place of whatever is there. `durable`: it is on disk before this
/// returns, and a crash leaves the old file or the new one.
///
/// # Errors
/// The directory does not let it be.
pub fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a crash or somebody else left there is no file that is opened: it could be a link or a FIFO.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(open(&new, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&new, path)?;
    if let Some(dir) = path.parent().filter(|dir| durable && !dir.as_os_str().is_empty()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Opens a file that is there, to add to it.
///
/// # Errors
/// It is not there, or is no regular file.
pub fn append(path: &Path) -> io::Result<File> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    regular(&file)?;
    Ok(file.into())
}

/// Keeps a file to one process for as long as it is held. It ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] File);

/// Locks what lies at `path`, by a file beside it that stays.
///
/// # Errors
/// [`ErrorKind::WouldBlock`]: another process has it. Else it cannot be locked.
pub fn lock(path: &Path) -> io::Result<Lock> {
    let beside = path.with_extension("lock");
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(&beside, flags, Mode::RUSR | Mode::WUSR)?;
    regular(&file)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Lock(file.into()))
}

fn regular(file: &impl std::os::fd::AsFd) -> io::Result<()> {
    let is = FileType::from_raw_mode(fstat(file)?.st_mode);
    if is == FileType::RegularFile { Ok(()) } else { Err(wrong("the path is not a regular file")) }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    /// Of each kind that could keep whoever opens it, or lead it elsewhere.
    fn others(dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
        let fifo = dir.join(format!("fifo.{name}"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (link, elsewhere) = (dir.join(format!("link.{name}")), dir.join("elsewhere"));
        fs::write(&elsewhere, "somebody else's").unwrap();
        symlink(&elsewhere, &link).unwrap();
        vec![fifo, link]
    }

    #[test]
    fn only_a_regular_file_within_its_bound_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for other in others(dir.path(), "json") {
            assert_eq!(read(&other, 99).unwrap_err().kind(), ErrorKind::InvalidData, "{other:?}");
        }
        assert_eq!(read(dir.path(), 99).unwrap_err().kind(), ErrorKind::InvalidData);
        let file = dir.path().join("file");
        assert_eq!(read(&file, 99).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&file, "four").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"four");
        assert_eq!(read(&file, 3).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_file_takes_the_place_of_whatever_is_there_and_nothing_elsewhere_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        // The places of the file and of the one that is written first.
        for (other, name) in ["json", "new"]
            .into_iter()
            .flat_map(|name| others(dir.path(), name).into_iter().map(move |other| (other, name)))
        {
            let file = other.with_extension("json");
            replace(&file, name.as_bytes(), true).unwrap();
            assert_eq!(read(&file, 99).unwrap(), name.as_bytes());
        }
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap(), b"somebody else's");
    }

    #[test]
    fn a_file_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders.json");
        let first = lock(&file).unwrap();
        assert_eq!(lock(&file).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        lock(&file).unwrap();
    }
}
