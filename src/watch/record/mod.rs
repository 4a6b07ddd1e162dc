//! What a repmgr node's yes is remembered by over a restart of the daemon; of a node of Patroni's, whether
//! it held the lock.
//!
//! A yes has to settle for seconds before it counts, and a restart must not cost a healthy primary its sessions. So
//! the beginning of the yes is written down, with the moment until which the answers it was counted from may be
//! used: no longer may a successor rest on them. The record lives in the runtime directory that systemd makes
//! (`RuntimeDirectory=` with `RuntimeDirectoryPreserve=restart`), which does not survive a boot; without one every
//! start settles anew.

mod holder;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::facts::NodeFacts;
use crate::host::boot::{self, BOOT_ID};
use crate::host::{own_file, unit_folders};
use crate::look::repmgr::NodeId;
use crate::look::snapshot::SourceFacts;
use crate::look::stamp::Stamp;
use crate::verdict::policy::Policy;
use crate::verdict::quorum;
use crate::verdict::standing::Standing;

/// Longest record that is read, in bytes; a real one has some 200.
const MAX_RECORD: usize = 4096;

/// What a yes was said of: node and service.
pub type About<'a> = (&'a str, &'a str);

/// A yes, and what it was counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yes {
    /// Which node said it.
    pub node: NodeId,
    /// Since when the node has been confirmed without a break.
    pub since: Stamp,
    /// When every other data node had given way, where they did.
    pub handed_over: Option<Stamp>,
    /// Until when the answers it was counted from may be used.
    pub good_until: Stamp,
}

/// The form of the record. Another boot's, another configuration's or a damaged one is none.
#[derive(Serialize, Deserialize)]
struct Written {
    boot: String,
    settings: String,
    node: i32,
    since_ns: u64,
    handed_over_ns: Option<u64>,
    good_until_ns: u64,
}

/// The records of a daemon.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    boot: String,
    told: bool,
    /// Who held Patroni's lock, as it was last written down, by the name of the record.
    held: BTreeMap<String, bool>,
}

impl Records {
    /// The records in systemd's runtime directory; `None` where there is none, or where nobody says
    /// which boot this is: the stamps of another boot mean nothing in this one.
    pub fn from_env() -> Option<Self> {
        let folder = unit_folders::runtime()?;
        let boot = boot::id();
        if boot.is_none() {
            warn!(
                "the boot id cannot be read, so a restart forgets that a repmgr node was \
                 confirmed as the primary, and the primary waits for `settle` again; hint: set \
                 {BOOT_ID} in the unit, as the packaged one does: Environment={BOOT_ID}=%b"
            );
        }
        Some(Self::in_dir(&folder, boot?))
    }

    /// The records in this directory, written in the boot of this id.
    pub fn in_dir(dir: &Path, boot: String) -> Self {
        Self { dir: dir.to_owned(), boot, told: false, held: BTreeMap::new() }
    }

    /// The yes that a predecessor said of a node to a service, where it may still be used at `now`.
    pub fn restore(&self, now: Stamp, about: About<'_>, policy: &Policy) -> Option<Yes> {
        let text = own_file::read(&self.file(about), MAX_RECORD).ok()?;
        self.read(&text, now, policy)
    }

    /// The yes of such a record, where it may still be used at `now`.
    pub fn read(&self, text: &[u8], now: Stamp, policy: &Policy) -> Option<Yes> {
        let written: Written = serde_json::from_slice(text).ok()?;
        let yes = Yes {
            node: NodeId(written.node),
            since: Stamp::new(Duration::from_nanos(written.since_ns)),
            handed_over: written.handed_over_ns.map(|at| Stamp::new(Duration::from_nanos(at))),
            good_until: Stamp::new(Duration::from_nanos(written.good_until_ns)),
        };
        let usable = written.boot == self.boot
            && written.settings == settings(policy)
            && yes.since <= now
            && yes.handed_over.is_none_or(|at| yes.since <= at && at <= now)
            && now < yes.good_until;
        usable.then_some(yes)
    }

    /// Writes down each yes that was counted by rule R on this process's own answers.
    pub fn keep_counted(&mut self, now: Stamp, node: &NodeFacts) {
        for service in &node.services {
            for (trust, source) in service.policy.trust.iter().zip(&node.sources) {
                let Some(electorate) = &trust.electorate else { continue };
                let round = quorum::rule(now, source, electorate);
                let standing = service.standing;
                let counted = round.good_until.zip(standing.confirmed_since).zip(me(source));
                if let Some(((good_until, since), me)) = counted {
                    let handed_over = standing.handed_over;
                    let yes = Yes { node: me, since, handed_over, good_until };
                    self.keep((&node.name, &service.name), &service.policy, &yes);
                }
            }
        }
    }

    /// Writes a yes down. A failure is warned of once: the next start settles anew, nothing else.
    pub fn keep(&mut self, about: About<'_>, policy: &Policy, yes: &Yes) {
        let written = Written {
            boot: self.boot.clone(),
            settings: settings(policy),
            node: yes.node.0,
            since_ns: nanos(yes.since),
            handed_over_ns: yes.handed_over.map(nanos),
            good_until_ns: nanos(yes.good_until),
        };
        if let Err(error) = self.write(about, &written)
            && !std::mem::replace(&mut self.told, true)
        {
            let dir = self.dir.display();
            warn!(%error, %dir, "rolecall cannot write down that the primary was confirmed, so \
                                 after a restart it waits for `settle` again; check that \
                                 rolecall's user may write to the runtime directory");
        }
    }

    /// Takes back what was written down: the node has given way to another.
    pub fn forget(&self, about: About<'_>) {
        if let Err(error) = std::fs::remove_file(self.file(about))
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(%error, "the record of a node that gave way cannot be removed");
        }
    }

    fn write(&self, about: About<'_>, written: &Written) -> io::Result<()> {
        // A crash of the host ends the boot, and with it whatever the record says.
        own_file::replace(&self.file(about), &serde_json::to_vec(written)?, false)
    }

    fn file(&self, (node, service): About<'_>) -> PathBuf {
        // No name has a dot.
        self.dir.join(format!("{node}.{service}.yes"))
    }
}

/// All that the safety of a restored yes rests on beside the answers.
fn settings(policy: &Policy) -> String {
    let rule = policy.trust.iter().map(|trust| (trust.hold, trust.electorate));
    format!("{:?} {:?}", policy.settle, rule.collect::<Vec<_>>())
}

fn nanos(stamp: Stamp) -> u64 {
    u64::try_from(stamp.since_boot().as_nanos()).unwrap_or(u64::MAX)
}

/// The memory of a service that begins: empty, or what a predecessor's record says of this node.
pub fn restored(
    now: Stamp,
    records: Option<&Records>,
    about: About<'_>,
    policy: &Policy,
    sources: &[SourceFacts],
) -> Standing {
    let by_rule = policy.trust.iter().any(|trust| trust.electorate.is_some());
    let yes = records.filter(|_| by_rule).and_then(|r| r.restore(now, about, policy));
    let same_node = |yes: &Yes| sources.iter().any(|source| me(source) == Some(yes.node));
    match yes.filter(same_node) {
        Some(Yes { since, handed_over, good_until, .. }) => Standing {
            confirmed_since: Some(since),
            handed_over,
            restored_until: Some(good_until),
            ..Standing::default()
        },
        None => Standing::default(),
    }
}

fn me(source: &SourceFacts) -> Option<NodeId> {
    source.own.good()?.1.repmgr.as_ref()?.me
}

/// Whether what is remembered of repmgr nodes is about these: a yes that has settled must not be
/// handed on to another server.
pub fn still_same(before: &[SourceFacts], sources: &[SourceFacts]) -> bool {
    fn servers(sources: &[SourceFacts]) -> Vec<(NodeId, &str)> {
        let said = sources.iter().filter_map(|source| source.own.good()?.1.repmgr.as_deref());
        said.filter_map(|said| Some((said.me?, &*said.system))).collect()
    }
    servers(before) == servers(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::role::Role;
    use crate::verdict::policy::Pool;
    use crate::verdict::policy::Trust;
    use crate::verdict::policy::{Electorate, TwoNode};

    const ABOUT: About<'_> = ("n1", "primary");

    fn policy(settle: u64) -> Policy {
        let electorate = Electorate {
            life: Duration::from_millis(1700),
            memory: Duration::from_secs(2),
            two_node: TwoNode::Maint,
            trust_refused: true,
        };
        let trust = Trust {
            hold_by_repmgr: false,
            lock: None,
            hold: Duration::ZERO,
            look: Duration::from_millis(1300),
            knows_lag: true,
            electorate: Some(electorate),
        };
        Policy {
            roles: vec![Role::Primary],
            pool: Pool::default(),
            lag: None,
            settle: Duration::from_millis(settle),
            trust: vec![trust],
        }
    }

    fn at(ms: u64) -> Stamp {
        Stamp::new(Duration::from_millis(ms))
    }

    #[test]
    fn a_yes_is_restored_until_its_answers_are_too_old_and_under_the_same_settings_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = Records::in_dir(dir.path(), "boot".to_owned());
        let yes = Yes { node: NodeId(2), since: at(1000), handed_over: None, good_until: at(9000) };
        records.keep(ABOUT, &policy(3800), &yes);
        let restored = |now, settle| records.restore(at(now), ABOUT, &policy(settle));
        assert_eq!(restored(8999, 3800), Some(yes));
        assert_eq!(restored(9000, 3800), None, "too old");
        assert_eq!(restored(999, 3800), None, "from the future");
        assert_eq!(restored(8999, 3900), None, "another settle");
        assert_eq!(records.restore(at(8999), ("n1", "replica"), &policy(3800)), None);
        assert_eq!(records.restore(at(8999), ("n2", "primary"), &policy(3800)), None);
    }

    #[test]
    fn a_damaged_record_and_another_boots_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = Records::in_dir(dir.path(), "boot".to_owned());
        for text in ["", "{", "{}", "null", "[1]", "\u{0}"] {
            std::fs::write(records.file(ABOUT), text).unwrap();
            assert_eq!(records.restore(at(1), ABOUT, &policy(1)), None, "{text:?}");
        }
        let yes =
            Yes { node: NodeId(2), since: at(0), handed_over: Some(at(0)), good_until: at(9000) };
        records.keep(ABOUT, &policy(1), &yes);
        records.boot = "another".to_owned();
        assert_eq!(records.restore(at(1), ABOUT, &policy(1)), None);
    }

    /// systemd names the directories, the first one first. This test runs itself again, because an
    /// environment belongs to a whole process.
    #[test]
    fn the_records_lie_in_the_first_runtime_directory_and_nowhere_without_one() {
        const NAME: &str = "RUNTIME_DIRECTORY";
        const CHILD: &str = "ROLECALL_TEST_OF_RECORDS";
        let file = |records: &Records| records.file(ABOUT);
        if std::env::var_os(CHILD).is_some() {
            let found = Records::from_env();
            let expected = std::env::var_os(NAME).map(|_| "/run/one/n1.primary.yes".into());
            assert_eq!(found.as_ref().map(file), expected);
            assert!(found.is_none_or(|records| records.boot.len() == 32));
            return;
        }
        let this = "the_records_lie_in_the_first_runtime_directory_and_nowhere_without_one";
        for directories in [None, Some("/run/one:/run/other")] {
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.arg(this).env(CHILD, "").env_remove(NAME);
            again.envs(directories.map(|value| (NAME, value)));
            let output = again.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
        }
    }
}
