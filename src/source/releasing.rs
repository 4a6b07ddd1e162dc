//! How a candidate's question and another node's release are known to be theirs.
//!
//! A release lets a new primary take writes seconds earlier, so it counts only from that node's own
//! rolecall. All rolecalls of a cluster have one secret in a file (`release_key_file`): the question
//! carries a nonce, and question and answer a message authentication code (HMAC-SHA-256) over all that
//! they say. Nobody without the secret can ask or answer, and no old answer can be used again. Without a
//! secret nobody is asked, and nobody is answered: the confirmation settles then.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

use crate::host::small_file;
use crate::look::error::SourceError;
use crate::look::release::{LONGEST, Release};
use crate::look::repmgr::NodeId;
use crate::look::role::Timeline;

/// Least and most bytes of the secret, without the end of its line.
const SECRET: std::ops::RangeInclusive<usize> = 16..=1024;

/// The header with the nonce of a question.
pub const NONCE: &str = "rolecall-nonce";
/// The header with the number of the node that asks.
pub const FROM: &str = "rolecall-from";
/// The header with the timeline on which who asks was confirmed without the node that is asked.
pub(crate) const WITHOUT: &str = "rolecall-without";
/// The header with the code of a question.
pub(crate) const CODE: &str = "rolecall-code";

/// Questions that wait for the keeper; one more is told that rolecall is busy.
pub const QUESTIONS_WAITING: usize = 8;

/// A candidate's question, as it came in; and where its answer goes: nothing where it is refused.
#[derive(Debug)]
pub struct Question {
    /// The node that shall give way, by repmgr's number.
    pub node: NodeId,
    /// The node that asks.
    pub from: NodeId,
    /// See [`NONCE`].
    pub nonce: String,
    /// See [`WITHOUT`].
    pub without: Option<Timeline>,
    /// See [`CODE`].
    pub code: String,
    /// Takes the body of the answer.
    pub reply: oneshot::Sender<Option<String>>,
}

/// On which timeline the asker is confirmed without the node that it asks, if it is: said by the keeper,
/// read at each question.
#[derive(Debug, Clone, Default)]
pub struct Without(Arc<AtomicU32>);

impl Without {
    /// From now on this is so.
    pub fn say(&self, timeline: Option<Timeline>) {
        // Timelines count from 1.
        self.0.store(timeline.map_or(0, |timeline| timeline.0), Ordering::Relaxed);
    }

    /// What is so now.
    pub fn said(&self) -> Option<Timeline> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number > 0).map(Timeline)
    }
}

/// The secret of a cluster; it cannot be printed.
pub struct Key(hmac::Key);

impl Key {
    /// Reads it, at every use, so that a new one counts at once.
    pub fn read(file: &Path) -> Result<Self, SourceError> {
        let text = small_file::read(file, small_file::MAX_BYTES)?;
        let secret = text.trim_ascii();
        if !SECRET.contains(&secret.len()) {
            let (least, most) = (SECRET.start(), SECRET.end());
            let what = format_args!("expected a secret of {least} to {most} bytes");
            return Err(small_file::credential(file, what));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    fn code(&self, text: &str) -> String {
        hex(hmac::sign(&self.0, text.as_bytes()).as_ref())
    }

    /// Compares in constant time.
    fn is_code_of(&self, text: &str, code: &str) -> bool {
        unhex(code).is_some_and(|code| hmac::verify(&self.0, text.as_bytes(), &code).is_ok())
    }

    /// The code of a question.
    pub fn ask(
        &self,
        node: NodeId,
        from: NodeId,
        without: Option<Timeline>,
        nonce: &str,
    ) -> String {
        self.code(&question(node, from, without, nonce))
    }

    /// Whether somebody with the secret asks.
    pub fn asked(&self, of: &Question) -> bool {
        let text = question(of.node, of.from, of.without, &of.nonce);
        is_nonce(&of.nonce) && self.is_code_of(&text, &of.code)
    }

    /// The body of an answer: its text, and the code of that.
    pub fn answer(&self, release: &Release, nonce: &str) -> String {
        let text = release.text(nonce);
        let code = self.code(&text);
        format!("{text}code {code}\n")
    }

    /// Reads the body of an answer; `None` where it is not from somebody with the secret, or not to this
    /// question.
    pub fn read_answer(&self, body: &str, nonce: &str) -> Option<Release> {
        let body = Some(body).filter(|body| body.len() <= LONGEST)?;
        let (text, code) = body.strip_suffix('\n')?.rsplit_once("code ")?;
        if !self.is_code_of(text, code) {
            return None;
        }
        Release::read(text, nonce)
    }
}

fn question(node: NodeId, from: NodeId, without: Option<Timeline>, nonce: &str) -> String {
    let without = without.map_or(0, |timeline| timeline.0);
    let (node, from) = (node.0, from.0);
    format!(
        "rolecall-release 1 question\nnode {node}\nfrom {from}\nwithout {without}\nnonce {nonce}\n"
    )
}

/// A nonce that was never used; `None` where the system has no randomness to give.
pub fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

fn is_nonce(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 128 {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::look::role::Timeline;

    fn key(secret: &str) -> Key {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, secret).unwrap();
        Key::read(&file).unwrap()
    }

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

    #[test]
    fn only_who_has_the_secret_is_believed() {
        let (ours, theirs) = (key("0123456789abcdef\n"), key("0123456789abcdeX"));
        let nonce = nonce().unwrap();
        let body = ours.answer(&released(), &nonce);
        assert!(body.len() < LONGEST / 2);
        assert_eq!(ours.read_answer(&body, &nonce), Some(released()));
        assert_eq!(theirs.read_answer(&body, &nonce), None, "another secret");
        assert_eq!(ours.read_answer(&body, &super::nonce().unwrap()), None, "an old answer");
        // Whatever is changed, and wherever it is cut, it is no answer.
        for at in 0..body.len() {
            let mut changed = body.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ours.read_answer(&changed, &nonce), None, "byte {at}");
            assert_eq!(ours.read_answer(&body[..at], &nonce), None, "cut at {at}");
        }
    }

    #[test]
    fn a_question_is_for_one_node_from_one_node_and_proven() {
        let ours = key("0123456789abcdef");
        let nonce = nonce().unwrap();
        let on = |number| Some(Timeline(number)).filter(|timeline| timeline.0 > 0);
        let code = |without, nonce: &str| ours.ask(NodeId(1), NodeId(2), on(without), nonce);
        let asked = |node, from, without, nonce: &str, code: &str| {
            let (reply, _) = oneshot::channel();
            let (node, from, without) = (NodeId(node), NodeId(from), on(without));
            let (nonce, code) = (nonce.into(), code.into());
            ours.asked(&Question { node, from, nonce, without, code, reply })
        };
        for without in [0, 4] {
            let code = code(without, &nonce);
            assert!(asked(1, 2, without, &nonce, &code));
            assert!(!asked(2, 1, without, &nonce, &code));
            assert!(!asked(1, 3, without, &nonce, &code));
            assert!(!asked(1, 2, 5, &nonce, &code), "of another confirmation");
            assert!(!asked(1, 2, without, &nonce, &code[1..]), "an odd number of digits");
        }
        assert!(!asked(1, 2, 0, &nonce, ""));
        assert!(!asked(1, 2, 0, &nonce, &"é".repeat(32)));
        // Proven, and no nonce all the same.
        for other in ["not a nonce", &nonce[1..], &"g".repeat(32)] {
            assert!(!asked(1, 2, 0, other, &code(0, other)), "{other}");
        }
        // An answer is no question, though both are of one secret.
        assert!(!asked(1, 2, 0, &nonce, &ours.code(&released().text(&nonce))));
    }

    /// What the keeper says of a confirmation is what the next question asks with, and no longer than it is so.
    #[test]
    fn a_question_asks_with_the_confirmation_that_was_last_said() {
        let without = Without::default();
        let asking = without.clone();
        assert_eq!(asking.said(), None);
        without.say(Some(Timeline(1)));
        assert_eq!(asking.said(), Some(Timeline(1)));
        without.say(None);
        assert_eq!(asking.said(), None);
    }

    #[test]
    fn a_secret_that_is_too_short_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        for (secret, good) in
            [("", false), ("0123456789abcde\n", false), ("0123456789abcdef", true)]
        {
            std::fs::write(&file, secret).unwrap();
            assert_eq!(Key::read(&file).is_ok(), good, "{secret:?}");
        }
        assert!(Key::read(Path::new("/nonexistent")).is_err());
        assert!(Key::read(Path::new("/dev/zero")).is_err(), "no device is read");
    }
}
