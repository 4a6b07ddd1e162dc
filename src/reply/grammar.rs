//! One line of the agent protocol, refused where HAProxy would read something else than it says.
//!
//! The grammar is that of HAProxy's `tcpcheck_agent_expect_reply()` (src/tcpcheck.c, 1.8 to 3.5):
//! words in any order and case, separated by blanks, tabs or commas; in each category (health,
//! admin, weight, maxconn) the last word wins; `#` at the beginning of a word starts a description,
//! which is used only beside a health word. Unknown words are skipped while the others still apply,
//! so whatever HAProxy would skip, drop or override is an error here.

/// Longest description: HAProxy cuts the rest (`HCHK_DESC_LEN` is 128 with its end).
pub const MAX_DESCRIPTION: usize = 127;

/// Longest line of a wording: a description and every word there is, in one segment of any network
/// and far below the smallest `tune.bufsize`.
pub const MAX_LINE: usize = 256;

/// What separates words. A tab, which HAProxy takes too, has been made a blank before.
const SEPARATORS: [char; 2] = [' ', ','];

/// Most connections a reply may grant: HAProxy reads the number with `strtol`.
const MAX_MAXCONN: u32 = i32::MAX.unsigned_abs();

/// Highest weight. HAProxy reads more, and cuts what then exceeds 256.
const MAX_WEIGHT: u16 = 100;

/// A health word: what the agent says of the server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `up`
    Up,
    /// `down`
    Down,
    /// `stopped`
    Stopped,
    /// `fail`
    Fail,
}

/// An admin word: the state that the operator's commands set, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// `ready`
    Ready,
    /// `drain`
    Drain,
    /// `maint`
    Maint,
}

/// Whether a byte may stand in a line: it ends nothing, hides nothing and moves no cursor.
pub(crate) fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// One reply, understood as HAProxy understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The health word.
    pub health: Option<Health>,
    /// The admin word.
    pub admin: Option<Admin>,
    /// Percent of the server's weight, 0 to 100.
    pub weight: Option<u16>,
    /// The server's `maxconn`, from 1.
    pub maxconn: Option<u32>,
    /// What stands behind `#`; at most [`MAX_DESCRIPTION`] bytes, never empty.
    pub description: Option<String>,
    line: Box<[u8]>,
}

/// Why a line is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// HAProxy takes an empty line for an answer that changes nothing.
    #[error("contains no word")]
    Empty,
    /// More than [`MAX_LINE`] bytes.
    #[error("{0} bytes")]
    TooLong(usize),
    /// A byte that ends the line, hides it or breaks terminals.
    #[error("byte 0x{byte:02x} at offset {offset}")]
    Unprintable {
        /// The byte.
        byte: u8,
        /// Its offset.
        offset: usize,
    },
    /// HAProxy skips words it does not know.
    #[error("`{0}` is not a word of the agent protocol")]
    Unknown(String),
    /// `#` inside a word makes the whole word unknown.
    #[error("`#` is not preceded by a blank in `{0}`")]
    Glued(String),
    /// HAProxy takes the last word of a category.
    #[error("`{first}` and `{second}` belong to the same category")]
    Twice {
        /// The word that HAProxy would drop.
        first: String,
        /// The word that HAProxy would take.
        second: String,
    },
    /// HAProxy drops a description that stands beside no health word.
    #[error("contains a description, but no health word")]
    LoneDescription,
    /// HAProxy cuts it.
    #[error("the description has {0} bytes")]
    LongDescription(usize),
    /// A weight that is no whole percentage up to 100.
    #[error("`{0}` is not a weight")]
    Weight(String),
    /// Known from HAProxy 3.1 on only; an unknown word before.
    #[error("`{0}` is a weight that only HAProxy 3.1 and later accept")]
    AbsoluteWeight(String),
    /// HAProxy takes 0 for unlimited.
    #[error("`{0}` would remove the connection limit")]
    NoMaxconn(String),
    /// HAProxy ignores it or takes a huge number from it.
    #[error("`{0}` is not a connection limit")]
    Maxconn(String),
    /// HAProxy logs the pair at every single check.
    #[error("`drain` is combined with the weight `{0}`")]
    DrainWithWeight(String),
}

impl LineError {
    /// What would have been accepted.
    pub fn expected(&self) -> String {
        match self {
            Self::Empty | Self::Unknown(_) => {
                "up, down, stopped, fail, ready, drain, maint, N%, maxconn:N or #description".into()
            }
            Self::TooLong(_) => format!("at most {MAX_LINE} bytes"),
            Self::Unprintable { .. } => "printable ASCII".into(),
            Self::Glued(_) => "a blank before `#`".into(),
            Self::Twice { .. } => "at most one word of each category".into(),
            Self::LoneDescription => "up, down, stopped or fail beside the description".into(),
            Self::LongDescription(_) => format!("at most {MAX_DESCRIPTION} bytes"),
            Self::Weight(_) => "a whole percentage from 0% to 100%".into(),
            Self::AbsoluteWeight(_) => "a percentage such as 75%".into(),
            Self::NoMaxconn(_) | Self::Maxconn(_) => {
                format!("maxconn:N, N from 1 to {MAX_MAXCONN}")
            }
            Self::DrainWithWeight(_) => "`drain` or a weight".into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "HAProxy treats an empty line as an answer that changes nothing",
            Self::TooLong(_) => "shorten the description",
            Self::Unprintable { .. } => "write one line without a line end; rolecall adds it",
            Self::Unknown(_) => {
                "HAProxy ignores words that it does not know and applies the others"
            }
            Self::Glued(_) => "HAProxy treats `word#text` as one unknown word: write `word #text`",
            Self::Twice { .. } => "HAProxy applies the last one: keep the one that you mean",
            Self::LoneDescription => {
                "HAProxy drops such a description; it shows the description of a line with `up`, \
                 such as `maint up #text`"
            }
            Self::LongDescription(_) => "HAProxy cuts the rest: shorten the description",
            Self::Weight(_) => "write digits and `%`, for example 75%",
            Self::AbsoluteWeight(_) => "older versions ignore the word: write a percentage",
            Self::NoMaxconn(_) => "use `maint` or `drain` to take the node out of service",
            Self::Maxconn(_) => "write it without blanks, for example maxconn:30",
            Self::DrainWithWeight(_) => {
                "HAProxy logs this combination at every check: remove one of the two"
            }
        }
    }
}

/// Puts a word into the slot of its category, which must be empty.
fn put<'t, T>(slot: &mut Option<(&'t str, T)>, word: &'t str, value: T) -> Result<(), LineError> {
    if let Some((first, _)) = slot {
        return Err(LineError::Twice { first: (*first).into(), second: word.into() });
    }
    *slot = Some((word, value));
    Ok(())
}

/// The words of one line, each with its spelling.
#[derive(Default)]
struct Words<'t> {
    health: Option<(&'t str, Health)>,
    admin: Option<(&'t str, Admin)>,
    weight: Option<(&'t str, u16)>,
    maxconn: Option<(&'t str, u32)>,
}

impl<'t> Words<'t> {
    fn add(&mut self, word: &'t str) -> Result<(), LineError> {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "up" => put(&mut self.health, word, Health::Up),
            "down" => put(&mut self.health, word, Health::Down),
            "stopped" => put(&mut self.health, word, Health::Stopped),
            "fail" => put(&mut self.health, word, Health::Fail),
            "ready" => put(&mut self.admin, word, Admin::Ready),
            "drain" => put(&mut self.admin, word, Admin::Drain),
            "maint" => put(&mut self.admin, word, Admin::Maint),
            _ if word.contains('#') => Err(LineError::Glued(word.into())),
            _ if lower.starts_with("weight:") => Err(LineError::AbsoluteWeight(word.into())),
            _ => match lower.strip_prefix("maxconn:") {
                Some(number) => put(&mut self.maxconn, word, maxconn(word, number)?),
                None if word.contains('%') || word.starts_with(|c: char| c.is_ascii_digit()) => {
                    put(&mut self.weight, word, weight(word)?)
                }
                None => Err(LineError::Unknown(word.into())),
            },
        }
    }
}

fn weight(word: &str) -> Result<u16, LineError> {
    word.strip_suffix('%')
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|percent| *percent <= MAX_WEIGHT)
        .ok_or_else(|| LineError::Weight(word.into()))
}

fn maxconn(word: &str, number: &str) -> Result<u32, LineError> {
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    match number.parse() {
        Ok(0) if digits => Err(LineError::NoMaxconn(word.into())),
        Ok(limit) if digits && limit <= MAX_MAXCONN => Ok(limit),
        _ => Err(LineError::Maxconn(word.into())),
    }
}

impl Reply {
    /// Reads one line, written without its end. A tab, which HAProxy takes for a blank, is sent as
    /// one; all else is sent as it is spelled.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        if text.len() > MAX_LINE {
            return Err(LineError::TooLong(text.len()));
        }
        let text = text.replace('\t', " ");
        if let Some((offset, byte)) = text.bytes().enumerate().find(|(_, b)| !printable(*b)) {
            return Err(LineError::Unprintable { byte, offset });
        }
        let mut words = Words::default();
        let mut rest = text.trim_start_matches(SEPARATORS);
        while !rest.is_empty() && !rest.starts_with('#') {
            let end = rest.find(SEPARATORS).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            words.add(word)?;
            rest = after.trim_start_matches(SEPARATORS);
        }
        let description = rest.strip_prefix('#').map(|d| d.trim_start_matches(' '));
        if let (Some((_, Admin::Drain)), Some((weight, _))) = (words.admin, words.weight) {
            return Err(LineError::DrainWithWeight(weight.into()));
        }
        match description {
            Some(d) if d.len() > MAX_DESCRIPTION => {
                return Err(LineError::LongDescription(d.len()));
            }
            Some(_) if words.health.is_none() => return Err(LineError::LoneDescription),
            _ => {}
        }
        let reply = Self {
            health: words.health.map(|(_, health)| health),
            admin: words.admin.map(|(_, admin)| admin),
            weight: words.weight.map(|(_, weight)| weight),
            maxconn: words.maxconn.map(|(_, maxconn)| maxconn),
            description: description.filter(|d| !d.is_empty()).map(str::to_owned),
            line: format!("{text}\n").into_bytes().into(),
        };
        let empty = reply.health.is_none()
            && reply.admin.is_none()
            && reply.weight.is_none()
            && reply.maxconn.is_none();
        if empty { Err(LineError::Empty) } else { Ok(reply) }
    }

    /// The bytes to send: the line as it was spelled and one newline.
    pub fn line(&self) -> &[u8] {
        &self.line
    }
}
