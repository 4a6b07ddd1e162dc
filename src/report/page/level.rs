//! How much a service wants a person: the same that `rolecall status` says by its exit code.

use crate::reply::asks::QUIET_MS;
use crate::report::status::Service;
use crate::verdict::reason::Alarm;
use crate::verdict::state::State;

/// How much something wants a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// All is as it should be.
    Well,
    /// Something wants to be looked at.
    Warning,
    /// Nothing is known of a node, or two may take writes, or none will.
    Critical,
}

impl Level {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Well => "All is well",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }

    /// Its class in the style.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// How well a service of a node is.
pub(crate) fn of_service(service: &Service) -> Level {
    let critical = service.alarm == Some(Alarm::Critical.as_str());
    let drains = service.state == State::Drain.as_str();
    if service.state == State::Unknown.as_str() || critical {
        Level::Critical
    } else if drains
        || service.alarm.is_some()
        || service.order.is_some()
        || quiet(service).is_some()
    {
        Level::Warning
    } else {
        Level::Well
    }
}

/// What to do about a port that nobody asks.
pub(crate) const ASK_HERE: &str = "check that HAProxy runs, and that its agent-port leads here";

/// A service that nobody asks is one whose HAProxy is gone, or asks elsewhere.
pub(crate) fn quiet(service: &Service) -> Option<&'static str> {
    match service.asked.last_ms {
        None => Some("no agent check has come to this port yet"),
        Some(ms) if ms > QUIET_MS => Some("no agent check has come to this port for a while"),
        Some(_) => None,
    }
}
