//! Whether a node of Patroni's held the lock, kept over a restart of the daemon.
//!
//! While a cluster is paused and its consensus store is lost, Patroni says of every server that takes writes that
//! it leads. Which of them had the lock can be known only by whoever looked before, so a daemon that is
//! restarted then must not forget it.

use std::io;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{MAX_RECORD, Records, own_file};

/// Which source a word is about: the node, the place of the source in its list, and the URL it asks at.
pub type OfNode<'a> = (&'a str, usize, &'a str);

/// The form of the record. Another boot's, another server's or a damaged one is none.
#[derive(Serialize, Deserialize)]
struct Written {
    boot: String,
    url: String,
    held: bool,
}

impl Records {
    /// Whether a node held the lock when this boot's last look with a consensus store was made; `None`:
    /// nobody knows.
    pub fn held(&self, (node, at, url): OfNode<'_>) -> Option<bool> {
        let text = own_file::read(&self.dir.join(file(node, at)), MAX_RECORD).ok()?;
        let written: Written = serde_json::from_slice(&text).ok()?;
        (written.boot == self.boot && written.url == url).then_some(written.held)
    }

    /// Writes down whether a node holds the lock, where that is news. A failure is warned of once.
    pub fn keep_held(&mut self, (node, at, url): OfNode<'_>, held: bool) {
        let name = file(node, at);
        if self.held.get(&name) == Some(&held) {
            return;
        }
        if let Err(error) = self.write_held(&name, url, held) {
            if !std::mem::replace(&mut self.told, true) {
                let dir = self.dir.display();
                warn!(%error, %dir, "rolecall cannot write down who holds the leader lock, so a \
                                     restart forgets it; check that rolecall's user may write to \
                                     the runtime directory");
            }
            return;
        }
        self.held.insert(name, held);
    }

    fn write_held(&self, name: &str, url: &str, held: bool) -> io::Result<()> {
        let written = Written { boot: self.boot.clone(), url: url.to_owned(), held };
        own_file::replace(&self.dir.join(name), &serde_json::to_vec(&written)?, false)
    }
}

/// No name of a node has a dot, and no service's record this end.
fn file(node: &str, at: usize) -> String {
    format!("{node}.{at}.held")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_lock_is_known_after_a_restart_of_the_same_boot_and_server() {
        let dir = tempfile::tempdir().unwrap();
        let start = |boot: &str| Records::in_dir(dir.path(), boot.to_owned());
        let about = ("n1", 0, "http://127.0.0.1:8008");
        let mut records = start("boot");
        assert_eq!(records.held(about), None);
        for held in [true, false, false, true] {
            records.keep_held(about, held);
            assert_eq!(start("boot").held(about), Some(held));
        }
        assert_eq!(start("another").held(about), None);
        assert_eq!(start("boot").held(("n1", 0, "http://10.0.0.1:8008")), None);
        assert_eq!(start("boot").held(("n1", 1, about.2)), None);
        std::fs::write(dir.path().join(file("n1", 0)), "{").unwrap();
        assert_eq!(start("boot").held(about), None);
    }
}
