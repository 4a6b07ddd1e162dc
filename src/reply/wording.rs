//! What a service says to HAProxy: one line for each state, exact to the byte.
//!
//! What HAProxy does with a line lasts until another line takes it back, so the four lines must fit
//! each other: `maint` is lifted by `ready` alone, `down` by `up` alone, and a weight or `maxconn`
//! stays as it was last set (measured on HAProxy 1.8 to 3.5).

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use crate::reply::grammar::{Admin, Health, LineError, MAX_DESCRIPTION, Reply, printable};
use crate::verdict::state::State;

/// The words of a service's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wording(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The same bytes every time: ready, not ready, drain, unknown.
    Fixed([Box<[u8]>; 4]),
    /// The reason stands behind `#`, which HAProxy shows in `last_agt`.
    Full,
}

/// A wording in the operator's own words, each line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Custom<'t> {
    /// Puts the node in service.
    pub ready: &'t str,
    /// Takes it out of service.
    pub not_ready: &'t str,
    /// Ends new sessions. Default: `drain`, or `not_ready` where `ready` has no admin word that
    /// would lift a drain.
    pub drain: Option<&'t str>,
    /// Said where nothing is known. Default: `not_ready`.
    pub unknown: Option<&'t str>,
}

/// Why a wording is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordingError {
    /// HAProxy would read a line otherwise than it is meant.
    #[error("{error}")]
    Line {
        /// The key of the line.
        line: &'static str,
        /// What is wrong with it.
        error: LineError,
    },
    /// The line that puts the node in service says the opposite.
    #[error("`{0}` takes the node out of service")]
    ReadyTakesOut(&'static str),
    /// What another line does would never be lifted.
    #[error("`{missing}` is not in this line, but `{line}` contains `{says}`")]
    NeverLifted {
        /// The word that lifts it.
        missing: &'static str,
        /// The key of the other line.
        line: &'static str,
        /// What that line says.
        says: &'static str,
    },
    /// Weight and maxconn stay as they were last set.
    #[error("there is no {missing} in this line, but `{line}` sets one")]
    NeverRestored {
        /// What is missing.
        missing: &'static str,
        /// The key of the other line.
        line: &'static str,
    },
    /// The line leaves the node in service.
    #[error("the line does not take the node out of service")]
    StaysIn {
        /// The key of the line.
        line: &'static str,
    },
    /// A drained primary keeps its sessions, and a deposed one must not.
    #[error("`drain` is used for a service of primaries")]
    DrainsPrimary {
        /// The key of the line.
        line: &'static str,
    },
}

impl WordingError {
    /// The key of the line that must be corrected: `ready`, `not_ready`, `drain` or `unknown`.
    pub fn line(&self) -> &'static str {
        match self {
            Self::Line { line, .. } | Self::StaysIn { line } | Self::DrainsPrimary { line } => line,
            Self::ReadyTakesOut(_) | Self::NeverLifted { .. } | Self::NeverRestored { .. } => {
                key(State::Ready)
            }
        }
    }

    /// What would have been accepted.
    pub fn expected(&self) -> String {
        match self {
            Self::Line { error, .. } => error.expected(),
            Self::ReadyTakesOut(_) => "`ready`, `up`, or both".into(),
            Self::NeverLifted { missing, .. } => format!("`{missing}` in this line"),
            Self::NeverRestored { missing, .. } => format!("a {missing} in this line too"),
            Self::StaysIn { .. } => "maint, drain, down, stopped or fail".into(),
            Self::DrainsPrimary { .. } => "maint, down, stopped or fail".into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Line { error, .. } => error.hint(),
            Self::ReadyTakesOut(_) => "rolecall sends this line while the node is fit",
            Self::NeverLifted { .. } => {
                "without that word HAProxy would never put the node back into service"
            }
            Self::NeverRestored { .. } => {
                "HAProxy keeps the last value, so the line that puts the node into service must \
                 set it too"
            }
            Self::StaysIn { .. } => "a node that is not known to be fit must leave the pool",
            Self::DrainsPrimary { .. } => {
                "use `maint`: drain would keep the sessions on an old primary"
            }
        }
    }
}

/// The key of a state's line in the configuration.
fn key(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::NotReady => "not_ready",
        State::Drain => "drain",
        State::Unknown => "unknown",
    }
}

impl Wording {
    /// `READY`, `MAINT`, `DRAIN`, and `MAINT` where nothing is known.
    pub fn plain() -> Self {
        Self(Form::Fixed(["READY\n", "MAINT\n", "DRAIN\n", "MAINT\n"].map(|l| l.as_bytes().into())))
    }

    /// `up ready`, and `maint up #REASON` or `drain up #REASON`. HAProxy shows the reason in
    /// `last_agt`, because `up`, a health word, stands beside it; `up` also lifts what HAProxy 3.3
    /// and 3.4 hold down under a bare `ready`.
    pub fn full() -> Self {
        Self(Form::Full)
    }

    /// The operator's own words, or everything that is wrong with them. `serves_primary` says
    /// whether the service takes primaries.
    pub fn custom(custom: Custom<'_>, serves_primary: bool) -> Result<Self, Vec<WordingError>> {
        let mut errors = Vec::new();
        let mut parse = |state, text: &str| {
            let line = key(state);
            Reply::parse(text).map_err(|error| errors.push(WordingError::Line { line, error })).ok()
        };
        let ready = parse(State::Ready, custom.ready);
        let not_ready = parse(State::NotReady, custom.not_ready);
        let drain = custom.drain.map(|text| parse(State::Drain, text));
        let unknown = custom.unknown.map(|text| parse(State::Unknown, text));
        let (Some(ready), Some(not_ready)) = (ready, not_ready) else { return Err(errors) };
        let drain = drain.unwrap_or_else(|| default_drain(&ready, &not_ready));
        let unknown = unknown.unwrap_or_else(|| Some(not_ready.clone()));
        let (Some(drain), Some(unknown)) = (drain, unknown) else { return Err(errors) };

        let others =
            [(State::NotReady, &not_ready), (State::Drain, &drain), (State::Unknown, &unknown)];
        errors.extend(must_put_in(&ready));
        errors.extend(must_restore(&ready, others));
        for (state, reply) in others {
            errors.extend(must_take_out(state, reply, serves_primary));
        }
        // A line that stands for another one is wrong where that one is, and only there.
        errors.retain(|error| match error.line() {
            "drain" => custom.drain.is_some(),
            "unknown" => custom.unknown.is_some(),
            _ => true,
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self(Form::Fixed([ready, not_ready, drain, unknown].map(|reply| reply.line().into()))))
    }

    /// The bytes to send for this state. `reason` is put in words only where the wording shows it:
    /// as printable ASCII, at most [`MAX_DESCRIPTION`] bytes of it.
    pub fn line<'a>(&'a self, state: State, reason: &dyn Display) -> Cow<'a, [u8]> {
        match &self.0 {
            Form::Fixed([ready, not_ready, drain, unknown]) => Cow::Borrowed(match state {
                State::Ready => ready,
                State::NotReady => not_ready,
                State::Drain => drain,
                State::Unknown => unknown,
            }),
            Form::Full => match state {
                State::Ready => Cow::Borrowed(b"up ready\n"),
                State::NotReady | State::Unknown => Cow::Owned(with_reason("maint up #", reason)),
                State::Drain => Cow::Owned(with_reason("drain up #", reason)),
            },
        }
    }
}

/// What a wording without a `drain` line says of a drained node.
fn default_drain(ready: &Reply, not_ready: &Reply) -> Option<Reply> {
    match (ready.admin, ready.health) {
        (None, _) => Some(not_ready.clone()),
        (_, Some(Health::Up)) => Reply::parse("drain up").ok(),
        _ => Reply::parse("DRAIN").ok(),
    }
}

/// What is wrong with the line that puts the node in service, seen alone.
fn must_put_in(ready: &Reply) -> impl Iterator<Item = WordingError> {
    let out = [
        health_word(ready.health).filter(|_| ready.health != Some(Health::Up)),
        admin_word(ready.admin).filter(|_| ready.admin != Some(Admin::Ready)),
        (ready.weight == Some(0)).then_some("0%"),
    ];
    out.into_iter().flatten().map(WordingError::ReadyTakesOut)
}

/// What the other lines do and the line that puts the node in service does not take back.
fn must_restore(ready: &Reply, others: [(State, &Reply); 3]) -> Vec<WordingError> {
    let first = |says: &dyn Fn(&Reply) -> Option<&'static str>| {
        others.iter().find_map(|(state, reply)| says(reply).map(|word| (key(*state), word)))
    };
    let held = first(&|r| admin_word(r.admin.filter(|a| *a != Admin::Ready)));
    let down = first(&|r| health_word(r.health.filter(|h| *h != Health::Up)));
    let weight = first(&|r| r.weight.map(|_| "weight"));
    let maxconn = first(&|r| r.maxconn.map(|_| "maxconn"));

    let never_lifted = |missing, (line, says)| WordingError::NeverLifted { missing, line, says };
    let never_restored = |(line, missing)| WordingError::NeverRestored { missing, line };
    [
        held.filter(|_| ready.admin.is_none()).map(|other| never_lifted("ready", other)),
        down.filter(|_| ready.health.is_none()).map(|other| never_lifted("up", other)),
        weight.filter(|_| ready.weight.is_none()).map(never_restored),
        maxconn.filter(|_| ready.maxconn.is_none()).map(never_restored),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is wrong with a line that takes the node out of service.
fn must_take_out(state: State, reply: &Reply, serves_primary: bool) -> Option<WordingError> {
    let line = key(state);
    let down = reply.health.is_some_and(|health| health != Health::Up);
    match reply.admin {
        _ if down => None,
        Some(Admin::Drain) if serves_primary && state != State::Drain => {
            Some(WordingError::DrainsPrimary { line })
        }
        Some(Admin::Maint | Admin::Drain) => None,
        Some(Admin::Ready) | None => Some(WordingError::StaysIn { line }),
    }
}

fn health_word(health: Option<Health>) -> Option<&'static str> {
    health.map(|health| match health {
        Health::Up => "up",
        Health::Down => "down",
        Health::Stopped => "stopped",
        Health::Fail => "fail",
    })
}

fn admin_word(admin: Option<Admin>) -> Option<&'static str> {
    admin.map(|admin| match admin {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
    })
}

/// A line that begins with these words and ends with the reason.
fn with_reason(words: &str, reason: &dyn Display) -> Vec<u8> {
    let mut line = Vec::with_capacity(words.len() + MAX_DESCRIPTION + 1);
    line.extend_from_slice(words.as_bytes());
    let mut description = Description { line: &mut line, left: MAX_DESCRIPTION };
    // The only error is that there is no room for more, which ends the text and nothing else.
    let _ = write!(description, "{reason}");
    line.push(b'\n');
    line
}

/// Takes text as printable ASCII until it is full.
struct Description<'l> {
    line: &'l mut Vec<u8>,
    left: usize,
}

impl fmt::Write for Description<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            let byte = u8::try_from(c).ok().filter(|b| printable(*b)).unwrap_or(b'?');
            self.line.push(byte);
        }
        Ok(())
    }
}
