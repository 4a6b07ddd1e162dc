//! What the rolecall of another data node says when a candidate asks it to give way (message Q).
//!
//! A server that was killed can neither say that it is in recovery nor keep anybody from believing that
//! it still writes. Its rolecall knows better: it saw the server refuse connections, it claims nothing,
//! and it knows when it last said READY to anybody. Of a server that is in recovery again it says that.
//! How that message travels, and how it is known to
//! be that node's, stands in [`crate::port::http`].

use std::sync::Arc;
use std::time::Duration;

use crate::look::repmgr::NodeId;
use crate::look::role::Timeline;

/// Longest answer that is read, in bytes, with its proof; a real one has some 250.
pub const LONGEST: usize = 1024;

/// The first line of an answer.
const FORM: &str = "rolecall-release 1";

/// Added to life and memory, as in the least settling time: what scheduling may add.
pub const MARGIN: Duration = Duration::from_millis(100);

/// A node whose server was down was left out of the count by which another one was confirmed as the
/// primary, on this timeline. When that server starts it still follows the old primary: its vote would
/// give that one its majority back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Who was confirmed.
    pub by: NodeId,
    /// The timeline that it writes.
    pub timeline: Timeline,
}

/// One answer of another node's rolecall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which node answers for itself.
    pub node: NodeId,
    /// `system_identifier` of its server, as last seen.
    pub system: Arc<str>,
    /// The timeline that its server was last seen on.
    pub timeline: Option<Timeline>,
    /// It may still speak for its server: that one was not refusing connections at the last look, or a
    /// claim to be the primary stands, was restored, or may go on.
    pub claims: bool,
    /// How long ago the last look at its server began, where that look found it in recovery.
    pub recovery: Option<Duration>,
    /// How long ago it last said READY for primaries to anybody; the age of its process where it never
    /// did, for its predecessor may have.
    pub last_ready: Duration,
    /// The confirmation on the newest timeline that it was told of and that left its node out.
    pub left_out: Option<LeftOut>,
    /// How long it uses an answer.
    pub life: Duration,
    /// How long an HAProxy remembers its word, by its own configuration.
    pub memory: Duration,
}

impl Release {
    /// Whether this lets a candidate of that cluster and timeline go ahead of node `node`.
    ///
    /// The timeline must be older than the candidate's: a node that is on the same or a newer one was
    /// not what the candidate followed.
    pub fn lets(&self, node: NodeId, system: &str, candidate: Option<Timeline>) -> bool {
        self.node == node
            && *self.system == *system
            && self.timeline.is_some()
            && self.timeline < candidate
            && !self.claims
            && self.last_ready >= self.memory
    }

    /// How old the look is by which the server of node `node` is in recovery, on no newer timeline than the
    /// candidate's. Its own rolecall knows for certain whose server that is; the server itself does not
    /// before its repmgrd has told it, a second after a rejoin.
    pub(crate) fn in_recovery(
        &self,
        node: NodeId,
        system: &str,
        candidate: Option<Timeline>,
    ) -> Option<Duration> {
        let follows = self.timeline.is_some() && self.timeline <= candidate;
        self.recovery.filter(|_| self.node == node && *self.system == *system && follows)
    }

    /// Who was confirmed without node `node` of that cluster, on a newer timeline than `own`: the vote of
    /// that node is not for the primary of an older one.
    pub(crate) fn newer_without(
        &self,
        node: NodeId,
        system: &str,
        own: Option<Timeline>,
    ) -> Option<LeftOut> {
        let is_that_node = self.node == node && *self.system == *system;
        self.left_out.filter(|left_out| is_that_node && Some(left_out.timeline) > own)
    }

    /// As text, in answer to the question that had this nonce.
    pub fn text(&self, nonce: &str) -> String {
        let timeline = self.timeline.map_or("-".to_owned(), |timeline| timeline.0.to_string());
        // Never younger than it is: it is evidence from then on.
        let recovery = self
            .recovery
            .map_or("-".to_owned(), |age| age.as_nanos().div_ceil(1_000_000).to_string());
        let left_out = self.left_out.map_or("- -".to_owned(), |left_out| {
            format!("{} {}", left_out.by.0, left_out.timeline)
        });
        format!(
            "{FORM}\nnonce {nonce}\nnode {}\nsystem {}\ntimeline {timeline}\nclaims {}\n\
             recovery_ms {recovery}\nleft_out {left_out}\nlast_ready_ms {}\nlife_ms {}\nmemory_ms {}\n",
            self.node.0,
            self.system,
            if self.claims { "yes" } else { "no" },
            self.last_ready.as_millis(),
            self.life.as_millis(),
            self.memory.as_millis(),
        )
    }

    /// Reads the answer to the question that had this nonce. `None` where anything is missing, doubled, or
    /// of another form.
    pub fn read(text: &str, nonce: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FORM {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        if value("nonce")? != nonce {
            return None;
        }
        let node = NodeId(value("node")?.parse().ok().filter(|id| *id > 0)?);
        let system = value("system")?;
        let system =
            Some(system).filter(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()))?;
        let timeline = match value("timeline")? {
            "-" => None,
            number => Some(Timeline(number.parse().ok()?)),
        };
        let claims = match value("claims")? {
            "yes" => true,
            "no" => false,
            _ => return None,
        };
        let recovery = match value("recovery_ms")? {
            "-" => None,
            number => Some(Duration::from_millis(number.parse().ok()?)),
        };
        let left_out = match value("left_out")?.split_once(' ')? {
            ("-", "-") => None,
            (by, timeline) => Some(LeftOut {
                by: NodeId(by.parse().ok().filter(|id| *id > 0)?),
                timeline: Timeline(timeline.parse().ok()?),
            }),
        };
        let mut millis = |key| Some(Duration::from_millis(value(key)?.parse().ok()?));
        let (last_ready, life, memory) =
            (millis("last_ready_ms")?, millis("life_ms")?, millis("memory_ms")?);
        lines.next().is_none().then(|| Self {
            node,
            system: system.into(),
            timeline,
            claims,
            recovery,
            left_out,
            last_ready,
            life,
            memory,
        })
    }

    /// How long a word of that node may live: the least for which another one's must settle.
    pub fn longest_word(&self) -> Duration {
        self.life + self.memory + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "00112233445566778899aabbccddeeff";

    fn released() -> Release {
        Release {
            node: NodeId(1),
            system: "7001".into(),
            timeline: Some(Timeline(3)),
            claims: false,
            recovery: None,
            left_out: None,
            last_ready: Duration::from_millis(2500),
            life: Duration::from_millis(1700),
            memory: Duration::from_millis(2500),
        }
    }

    fn lets(change: impl FnOnce(&mut Release)) -> bool {
        let mut release = released();
        change(&mut release);
        release.lets(NodeId(1), "7001", Some(Timeline(4)))
    }

    #[test]
    fn it_lets_nobody_ahead_unless_all_of_it_fits() {
        assert!(lets(|_| ()));
        assert!(!lets(|r| r.node = NodeId(2)), "another node's");
        assert!(!lets(|r| r.system = "7002".into()), "another cluster's");
        assert!(!lets(|r| r.timeline = None), "of nobody knows which timeline");
        assert!(!lets(|r| r.timeline = Some(Timeline(4))), "of the candidate's own timeline");
        assert!(!lets(|r| r.claims = true), "it claims something");
        assert!(!lets(|r| r.last_ready = Duration::from_millis(2499)), "HAProxy may remember it");
        assert!(!released().lets(NodeId(1), "7001", None), "the candidate's timeline is unknown");
        assert_eq!(released().longest_word(), Duration::from_millis(4300));
    }

    #[test]
    fn its_server_is_in_recovery_by_its_own_word_alone() {
        let age = Some(Duration::from_millis(40));
        let said = Release { recovery: age, claims: true, ..released() };
        let in_recovery =
            |said: &Release, candidate| said.in_recovery(NodeId(1), "7001", candidate);
        assert_eq!(in_recovery(&said, Some(Timeline(4))), age);
        assert_eq!(in_recovery(&said, Some(Timeline(3))), age, "it follows the candidate already");
        assert_eq!(in_recovery(&said, Some(Timeline(2))), None, "it follows somebody newer");
        assert_eq!(in_recovery(&said, None), None, "the candidate's timeline is unknown");
        let unknown = Release { timeline: None, ..said.clone() };
        assert_eq!(
            in_recovery(&unknown, Some(Timeline(4))),
            None,
            "of nobody knows which timeline"
        );
        assert_eq!(said.in_recovery(NodeId(2), "7001", Some(Timeline(4))), None, "another node's");
        assert_eq!(said.in_recovery(NodeId(1), "7002", Some(Timeline(4))), None, "cluster");
        assert_eq!(in_recovery(&released(), Some(Timeline(4))), None, "it did not say so");
    }

    #[test]
    fn who_was_confirmed_without_it_counts_on_a_newer_timeline_only() {
        let left_out = LeftOut { by: NodeId(3), timeline: Timeline(4) };
        let said = Release { left_out: Some(left_out), ..released() };
        let without = |own| said.newer_without(NodeId(1), "7001", own);
        assert_eq!(without(Some(Timeline(3))), Some(left_out));
        assert_eq!(without(None), Some(left_out), "nobody knows the own timeline");
        assert_eq!(without(Some(Timeline(4))), None, "the own timeline");
        assert_eq!(said.newer_without(NodeId(2), "7001", Some(Timeline(3))), None, "another node");
        assert_eq!(said.newer_without(NodeId(1), "7002", Some(Timeline(3))), None, "cluster");
        assert_eq!(released().newer_without(NodeId(1), "7001", Some(Timeline(3))), None);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let left_out = Some(LeftOut { by: NodeId(3), timeline: Timeline(4) });
        for release in [
            released(),
            Release { timeline: None, claims: true, ..released() },
            Release { left_out, ..released() },
            Release { recovery: Some(Duration::from_millis(40)), claims: true, ..released() },
        ] {
            let text = release.text(NONCE);
            assert!(text.len() < LONGEST / 2);
            assert_eq!(Release::read(&text, NONCE), Some(release));
            assert_eq!(Release::read(&text, "0"), None, "the answer to another question");
            assert_eq!(Release::read(&text[..text.len() - 1], NONCE), None, "cut");
            assert_eq!(Release::read(&format!("{text}\n"), NONCE), None, "more behind it");
            for line in text.lines() {
                assert_eq!(Release::read(&text.replace(line, ""), NONCE), None, "without {line}");
                let doubled = text.replace(line, &format!("{line}\n{line}"));
                assert_eq!(Release::read(&doubled, NONCE), None, "{line} twice");
            }
        }
        let old = Release { recovery: Some(Duration::from_micros(40_001)), ..released() };
        let read = Release::read(&old.text(NONCE), NONCE).and_then(|release| release.recovery);
        assert_eq!(read, Some(Duration::from_millis(41)), "never younger than it is");
        let text = released().text(NONCE);
        for (good, bad) in [
            ("node 1", "node 0"),
            ("node 1", "node -1"),
            ("system 7001", "system "),
            ("system 7001", "system 7001 x"),
            ("timeline 3", "timeline x"),
            ("claims no", "claims NO"),
            ("recovery_ms -", "recovery_ms"),
            ("recovery_ms -", "recovery_ms -1"),
            ("recovery_ms -", "recovery_ms x"),
            ("left_out - -", "left_out -"),
            ("left_out - -", "left_out 3 -"),
            ("left_out - -", "left_out 0 4"),
            ("left_out - -", "left_out 3 4 5"),
            ("last_ready_ms 2500", "last_ready_ms -1"),
            ("rolecall-release 1", "rolecall-release 2"),
        ] {
            assert_eq!(Release::read(&text.replace(good, bad), NONCE), None, "{bad}");
        }
    }
}
