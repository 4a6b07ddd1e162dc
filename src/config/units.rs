//! Reads the single values of the configuration: times, sizes, addresses, names.
//!
//! Each says what it found, what it expected and what to do; none repeats a value that may hold a
//! secret.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::config::address::Address;
use crate::config::document::{Fault, Table, quote, wrong_type};
use crate::look::measure;
use crate::look::role::Role;
use crate::reply::routes::Listen;

/// What is said of a value that should be a string.
const QUOTES: &str = "put the value in double quotes";

/// Any absolute path.
pub const PATH: &str = "an absolute path";

/// The words for roles.
pub const ROLE: &str =
    "one of primary, replica, sync_replica, quorum_replica, async_replica, standby_leader";

/// Reads a string by `parse`; `expected` is said of a value that is no string.
pub fn string<T>(
    expected: &'static str,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    string_or(expected, QUOTES, parse)
}

/// The same with another hint.
pub(crate) fn string_or<T>(
    expected: &'static str,
    hint: &'static str,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| match value.as_str() {
        Some(text) => parse(text),
        None => Err(wrong_type(value, expected, hint)),
    }
}

/// Reports a key that must be there and is not.
pub fn or_missing<T>(
    table: &Table<'_>,
    key: &str,
    value: Option<T>,
    expected: &str,
    hint: &str,
) -> Option<T> {
    if value.is_none() && !table.has(key) {
        table.report(key, Fault::new("missing", expected, hint));
    }
    value
}

/// Reads any text that can be handed to a program.
pub fn text(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new(
            "contains a NUL byte",
            "text without a NUL byte",
            "an argument of a program cannot contain a NUL byte",
        ));
    }
    Ok(text.to_owned())
}

/// Reads one of these words.
pub fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(text) = value.as_str() else {
            let expected = format!("one of {}", known.join(", "));
            return Err(wrong_type(value, &expected, QUOTES));
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            Fault::unknown(format!("{} is not a known value", quote(text)), text, &known)
        })
    }
}

/// Reads a whole number within these bounds.
pub(crate) fn integer(least: u32, most: u32) -> impl Fn(&DeValue<'_>) -> Result<u32, Fault> {
    move |value| {
        let expected = format!("a whole number from {least} to {most}");
        let Some(number) = value.as_integer() else {
            return Err(wrong_type(value, &expected, "write the number without quotes"));
        };
        u32::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| {
                let found = format!("{} is out of range", quote(&number.to_string()));
                Fault::new(found, expected, "choose a number within this range")
            })
    }
}

/// Reads `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    let fault = || wrong_type(value, "true or false", "write the number without quotes");
    value.as_bool().ok_or_else(fault)
}

/// Reads a time such as `500ms` or `1m 30s` within these bounds.
pub fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Fault> {
    move |value| {
        let expected = format!(
            "a time from {} to {}",
            measure::time(*bounds.start()),
            measure::time(*bounds.end())
        );
        let hint =
            r#"write the number and its unit in double quotes, for example "500ms", "2s" or "1m""#;
        let Some(text) = value.as_str() else {
            return Err(wrong_type(value, &expected, hint));
        };
        // The reader of times knows ASCII only and is given nothing else.
        let time = text.is_ascii().then(|| humantime::parse_duration(text).ok()).flatten();
        let Some(time) = time.filter(|_| !text.trim().is_empty()) else {
            return Err(Fault::new(format!("{} is not a time", quote(text)), expected, hint));
        };
        if bounds.contains(&time) {
            Ok(time)
        } else {
            let hint = if time < *bounds.start() {
                "choose a longer time"
            } else {
                "choose a shorter time"
            };
            Err(Fault::new(format!("{} is out of range", quote(text)), expected, hint))
        }
    }
}

/// Reads a number of bytes as PostgreSQL writes it: B, kB, MB, GB or TB, each 1024 of the one before.
pub fn size(value: &DeValue<'_>) -> Result<u64, Fault> {
    const UNITS: [(&str, u32); 5] = [("kB", 10), ("MB", 20), ("GB", 30), ("TB", 40), ("B", 0)];
    const EXPECTED: &str = "a whole number with B, kB, MB, GB or TB";
    const HINT: &str =
        r#"write it as in PostgreSQL, for example "16MB"; the units are multiples of 1024"#;
    let Some(text) = value.as_str() else { return Err(wrong_type(value, EXPECTED, HINT)) };
    let fault = |what| Fault::new(format!("{} {what}", quote(text)), EXPECTED, HINT);
    let unit = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = unit.ok_or_else(|| fault("has no known unit"))?;
    let number = number.trim_end();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault("is not a size"));
    }
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| fault("is too large"))
}

/// Reads `ADDRESS:PORT`, `[IPV6]:PORT`, or `PORT` alone for every address.
pub fn listen(text: &str) -> Result<Listen, Fault> {
    let fault = |what: &str, hint: &str| {
        let what = format!("{} {what}", quote(text));
        Err(Fault::new(what, r#""ADDRESS:PORT", "[IPV6]:PORT" or "PORT""#, hint))
    };
    let port = text.strip_prefix("*:").unwrap_or(text);
    let listen = if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
        port.parse().ok().map(Listen::Everywhere)
    } else {
        text.parse().ok().map(|at: SocketAddr| Listen::At(canonical_address(at)))
    };
    match listen {
        Some(Listen::Everywhere(0)) => {
            fault("has port 0", "choose the port yourself, because HAProxy must know it")
        }
        Some(Listen::At(at)) if at.port() == 0 => {
            fault("has port 0", "choose the port yourself, because HAProxy must know it")
        }
        Some(listen) => Ok(listen),
        None => fault(
            "is not an address to listen on",
            "write an IP address: rolecall does not look up names here. Put IPv6 addresses in \
             brackets; the highest port is 65535",
        ),
    }
}

/// Reads `HOST:PORT`, an IPv6 address in brackets, that is connected to.
pub fn address(text: &str) -> Result<Address, Fault> {
    let fault = |what: &str, hint: &str| {
        Err(Fault::new(format!("{} {what}", quote(text)), "HOST:PORT or [IPV6]:PORT", hint))
    };
    let Some((host, port)) = text.rsplit_once(':') else {
        return fault("has no port", "add the port that clients reach, for example 5432");
    };
    let Some(port) = port.parse().ok().filter(|port| *port > 0) else {
        return fault("does not end with a port", "a port is a number from 1 to 65535");
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(named),
    };
    if !fits {
        return fault(
            "contains no host",
            "write a host name or an address; put IPv6 addresses in brackets",
        );
    }
    Ok(Address { host: inner.unwrap_or(host).to_owned(), port })
}

/// IPv4 written as IPv6 as IPv4; all else, with the zone of a link-local address, as it is.
fn canonical_address(at: SocketAddr) -> SocketAddr {
    let ip = at.ip().to_canonical();
    if ip == at.ip() { at } else { SocketAddr::new(ip, at.port()) }
}

/// Whether two listeners cannot stand side by side: one port, and one address takes in the other.
/// `[::]` is taken to serve IPv4 as well.
pub(crate) fn clash(a: Listen, b: Listen) -> bool {
    let ends = |listen| match listen {
        Listen::At(at) => (at.port(), Some(at.ip())),
        Listen::Everywhere(port) => (port, None),
    };
    let everywhere = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_ipv6() && ip.is_unspecified());
    let ((port, a), (other, b)) = (ends(a), ends(b));
    let meet = |a: IpAddr, b: IpAddr| {
        a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
    };
    port == other && (everywhere(a) || everywhere(b) || a.zip(b).is_some_and(|(a, b)| meet(a, b)))
}

/// Reads a network or a single address; IPv4 written as IPv6 becomes IPv4.
pub fn network(text: &str) -> Result<IpNet, Fault> {
    let expected = r#"a network such as "10.0.0.0/8" or an address"#;
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(net) = net else {
        let what = format!("{} is neither a network nor an address", quote(text));
        return Err(Fault::new(
            what,
            expected,
            "write an IP address: rolecall does not look up names here",
        ));
    };
    if net.trunc() != net {
        let what = format!("{} has bits set beyond its prefix", quote(text));
        return Err(Fault::new(what, expected, format!("did you mean `{}`?", net.trunc())));
    }
    Ok(canonical(net))
}

fn canonical(net: IpNet) -> IpNet {
    /// Bits before the IPv4 address in `::ffff:0.0.0.0/96`.
    const MAPPED: u8 = 96;
    let mapped = match net {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(v4, prefix)| IpNet::new(IpAddr::V4(v4), prefix).ok()).unwrap_or(net)
}

/// Reads the name of a service: `[a-z][a-z0-9_-]{0,31}`.
pub fn name(text: &str) -> Result<String, Fault> {
    /// Longest name, so that it fits a path, a label and a log line.
    const MAX_NAME: usize = 32;
    let rest = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    let fits = text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(rest);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            format!("{} is not a valid name", quote(text)),
            "a small letter, then up to 31 small letters, digits, `_` or `-`",
            "the name appears in logs and commands, so keep it short",
        ))
    }
}

/// Reads a role.
pub fn role(text: &str) -> Result<Role, Fault> {
    let known = crate::look::role::ROLES.map(Role::as_str);
    text.parse().map_err(|_| Fault::unknown(format!("{} is not a role", quote(text)), text, &known))
}

/// Reads HAProxy's version; what stands behind `MAJOR.MINOR` does not matter.
pub fn version(text: &str) -> Result<(u32, u32), Fault> {
    let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(Fault::new(
            format!("{} is not a version", quote(text)),
            r#"a version such as "2.6""#,
            "`haproxy -v` prints it",
        )),
    }
}

/// Reads the path of a file, which must not depend on where rolecall was started.
pub fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(PathBuf::from(text))
    } else {
        let what = format!("{} is not an absolute path", quote(text));
        Err(Fault::new(what, "an absolute path", "write the full path"))
    }
}

/// Reads the name of a systemd credential: a file name.
pub(crate) fn credential(text: &str) -> Result<String, Fault> {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !text.is_empty() && !text.starts_with('.') && text.bytes().all(bare) {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            format!("{} is not a valid name of a credential", quote(text)),
            "letters, digits, `_`, `-` and `.`",
            "use the name before `:` in the unit's LoadCredential=",
        ))
    }
}

/// Reads the base URL of Patroni's REST API, `http://HOST:PORT` or `https://HOST:PORT`. A user's name and password, which
/// Patroni asks for writes only, are refused and not repeated.
pub(crate) fn patroni_url(text: &str) -> Result<String, Fault> {
    const EXPECTED: &str = "http://HOST:PORT or https://HOST:PORT";
    const HINT: &str = "use the value of `restapi.connect_address` in Patroni's configuration";
    let fault = |what: &str, hint: &str| Err(Fault::new(what, EXPECTED, hint));
    let Ok(url) = reqwest::Url::parse(text) else {
        let host = text.split_once("://").map_or(text, |(_, host)| host);
        if host.matches(':').count() > 1 && !host.contains('[') {
            return fault("not a URL", "put IPv6 addresses in brackets: http://[fd00::1]:8008");
        }
        return fault("not a URL", HINT);
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fault("neither http nor https", HINT);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault(
            "contains a user name or a password",
            "remove them: Patroni asks for no login when it is only read",
        );
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return fault(
            "has something after host and port",
            "remove it: rolecall itself adds /primary",
        );
    }
    if url.host_str().is_none_or(str::is_empty) {
        return fault("contains no host", HINT);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_as_postgresql_counts_them() {
        let read = |text: &str| size(&DeValue::String(text.into())).ok();
        for (text, bytes) in [
            ("0B", Some(0)),
            ("8kB", Some(8192)),
            ("16 MB", Some(16 << 20)),
            ("1GB", Some(1 << 30)),
            ("2TB", Some(2 << 40)),
            ("16777215TB", Some(16_777_215 << 40)),
            ("16777216TB", None),
            ("99999999999999999999B", None),
            ("16", None),
            ("16mb", None),
            ("16KB", None),
            ("-1MB", None),
            ("+1MB", None),
            ("1.5GB", None),
            ("MB", None),
            ("", None),
        ] {
            assert_eq!(read(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn addresses_to_listen_on_are_read_and_printed_alike() {
        for (text, printed) in [
            ("5555", "*:5555"),
            ("*:5555", "*:5555"),
            ("65535", "*:65535"),
            ("10.0.0.1:5555", "10.0.0.1:5555"),
            ("[::]:5555", "[::]:5555"),
            ("[::ffff:10.0.0.1]:5555", "10.0.0.1:5555"),
            ("[fe80::1%3]:5555", "[fe80::1%3]:5555"),
        ] {
            assert_eq!(listen(text).map(|l| l.to_string()).as_deref(), Ok(printed), "{text:?}");
        }
        for text in ["", "0", "65536", "*", "*:", ":5555", "::1:5555", "db1:5555", "10.0.0.1", " 5"]
        {
            assert!(listen(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn listeners_clash_where_one_takes_in_the_other() {
        let at = |text: &str| listen(text).expect("an address");
        for (a, b, clashes) in [
            ("5555", "5555", true),
            ("5555", "0.0.0.0:5555", true),
            ("5555", "[::1]:5555", true),
            ("[::]:5555", "0.0.0.0:5555", true),
            ("[::]:5555", "10.0.0.1:5555", true),
            ("0.0.0.0:5555", "10.0.0.1:5555", true),
            ("[::ffff:0.0.0.0]:5555", "10.0.0.1:5555", true),
            ("0.0.0.0:5555", "[::1]:5555", false),
            ("10.0.0.1:5555", "10.0.0.2:5555", false),
            ("5555", "5556", false),
        ] {
            assert_eq!(clash(at(a), at(b)), clashes, "{a} {b}");
            assert_eq!(clash(at(b), at(a)), clashes, "{b} {a}");
        }
    }

    #[test]
    fn networks_are_canonical() {
        for (text, net) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).map(|n| n.to_string()).as_deref(), Ok(net), "{text:?}");
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "db1", "::ffff:10.0.0.1/104"] {
            assert!(network(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let longest = format!("a{}", "_".repeat(31));
        for text in ["a", "reads-2", longest.as_str()] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        let too_long = format!("{longest}_");
        for text in ["", "A", "2a", "-a", "a b", "é", too_long.as_str()] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
