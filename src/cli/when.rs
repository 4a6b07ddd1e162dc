//! Moments for a person: in the time zone of this host, with its name.
//!
//! The zone is found as everywhere: `TZ`, else /etc/localtime, by the tables in /usr/share/zoneinfo. Where none is to be
//! had it is UTC, which every moment then says.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment with its date.
const DATE: &str = "%Y-%m-%d %H:%M:%S %Z";

/// The zone in which moments are said.
pub(crate) struct Zone {
    zone: TimeZone,
    /// None was to be had.
    unknown: bool,
}

impl Zone {
    /// The one of this host.
    pub(crate) fn of_this_host() -> Self {
        match TimeZone::try_system() {
            Ok(zone) => Self { zone, unknown: false },
            Err(_) => Self { zone: TimeZone::UTC, unknown: true },
        }
    }

    /// What is to be said of the zone; nothing where it is the host's.
    pub(crate) fn note(&self) -> Option<&'static str> {
        self.unknown.then_some(
            "times are in UTC, for the time zone of this host is not known (TZ, /etc/localtime, /usr/share/zoneinfo)",
        )
    }

    /// A moment that was written in UTC, in this zone; as it was written where it cannot be read.
    pub(crate) fn said(&self, utc: &str) -> String {
        match utc.parse::<Timestamp>() {
            Ok(moment) => self.of(moment),
            Err(_) => super::words::shown(utc),
        }
    }

    /// This moment.
    pub(crate) fn now(&self) -> String {
        let now = Timestamp::try_from(crate::host::clock::wall_time());
        now.map(|now| self.of(now)).unwrap_or_default()
    }

    fn of(&self, moment: Timestamp) -> String {
        moment.to_zoned_datetime(self.zone.clone()).strftime(DATE).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_in_the_zone_with_its_name() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let zone = Zone { zone: berlin, unknown: false };
        assert_eq!(zone.said("2026-07-01T10:00:00.123Z"), "2026-07-01 12:00:00 CEST");
        assert_eq!(zone.said("2026-11-27T10:00:00Z"), "2026-11-27 11:00:00 CET");
        assert_eq!(zone.said("soon\u{1b}"), "soon");
        let utc = Zone { zone: TimeZone::UTC, unknown: true };
        assert_eq!(utc.said("2026-11-27T10:00:00Z"), "2026-11-27 10:00:00 UTC");
        assert!(utc.note().is_some() && zone.note().is_none());
    }
}
