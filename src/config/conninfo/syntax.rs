//! The two forms of a connection string, as libpq reads them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::ConninfoError;
use crate::look::place::is_space;

/// The keys and values of a connection string of either form, and whether it was a URI; a later value
/// replaces an earlier one.
pub(super) fn read(text: &str) -> Result<(BTreeMap<String, String>, bool), ConninfoError> {
    let uri = ["postgresql://", "postgres://"].iter().find_map(|p| text.strip_prefix(p));
    let keys = uri.map_or_else(|| word_keys(text), uri_keys)?;
    Ok((keys, uri.is_some()))
}

fn word_keys(text: &str) -> Result<BTreeMap<String, String>, ConninfoError> {
    let mut keys = BTreeMap::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start_matches(is_space).strip_prefix('=') else {
            return Err(ConninfoError::new(
                format!("the word {} is not followed by `=`", keys.len() + 1),
                "expected key=value pairs or postgresql://...; put values with spaces into quotes",
            ));
        };
        let (value, after) = word_value(value.trim_start_matches(is_space))?;
        keys.insert(key.to_owned(), value);
        rest = after.trim_start_matches(is_space);
    }
    Ok(keys)
}

/// One value, and what follows it.
fn word_value(text: &str) -> Result<(String, &str), ConninfoError> {
    let (quote, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.chars();
    loop {
        let rest = chars.as_str();
        match chars.next() {
            Some('\'') if quote => return Ok((value, chars.as_str())),
            Some(c) if !quote && is_space(c) => return Ok((value, rest)),
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
            None if quote => {
                return Err(ConninfoError::new(
                    "a quoted value has no end, expected `'`",
                    r"inside quotes write `'` as \\' and `\\` as \\\\",
                ));
            }
            None => return Ok((value, "")),
        }
    }
}

/// The keys of what follows `postgresql://`.
fn uri_keys(text: &str) -> Result<BTreeMap<String, String>, ConninfoError> {
    let mut keys = BTreeMap::new();
    let mut rest = text;
    if let Some(end) = text.find(['@', '/'])
        && text[end..].starts_with('@')
    {
        let (user, password) = text[..end].split_once(':').unwrap_or((&text[..end], ""));
        keys.insert("user".to_owned(), decoded(user)?);
        keys.insert("password".to_owned(), decoded(password)?);
        rest = &text[end + 1..];
    }
    // libpq would take it for a part of the host, the database or a value; what stands before it is then
    // a piece of the password, which would be shown, and looked up as a name.
    if rest.contains('@') {
        return Err(ConninfoError::new(
            "an `@` in the URI comes after a `/` or another `@`, expected at most one",
            "in a user name or password write `@` as %40 and `/` as %2F; in a value write `@` as \
             %40",
        ));
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    loop {
        let (host, after) = uri_host(rest)?;
        hosts.push(host);
        let (port, after) = match after.strip_prefix(':') {
            Some(after) => after.split_at(after.find(['/', '?', ',']).unwrap_or(after.len())),
            None => ("", after),
        };
        ports.push(port);
        rest = after;
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    // One empty host stands for none; the commas of several must stay to be counted.
    keys.insert("host".to_owned(), decoded(&hosts.join(","))?);
    if ports.iter().any(|port| !port.is_empty()) {
        keys.insert("port".to_owned(), decoded(&ports.join(","))?);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    keys.insert("dbname".to_owned(), decoded(path.strip_prefix('/').unwrap_or(path))?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) if !value.contains('=') => (decoded(key)?, decoded(value)?),
            _ => {
                return Err(ConninfoError::new(
                    "a part of the URI's query is not key=value",
                    "separate the parts with `&`; write `=` in a value as %3D",
                ));
            }
        };
        match (key.as_str(), value.as_str()) {
            // JDBC's way to say it, which libpq reads too.
            ("ssl", "true") => keys.insert("sslmode".to_owned(), "require".to_owned()),
            _ => keys.insert(key, value),
        };
    }
    Ok(keys)
}

/// The host at the beginning of `text`, and what follows it.
fn uri_host(text: &str) -> Result<(&str, &str), ConninfoError> {
    let Some(literal) = text.strip_prefix('[') else {
        return Ok(text.split_at(text.find([':', '/', '?', ',']).unwrap_or(text.len())));
    };
    match literal.split_once(']') {
        Some((host, after))
            if !host.is_empty()
                && (after.is_empty() || after.starts_with([':', '/', '?', ','])) =>
        {
            Ok((host, after))
        }
        _ => Err(ConninfoError::new(
            "an address in brackets is empty, has no end, or is followed by something else",
            "write an IPv6 address as [::1] or [::1]:5432",
        )),
    }
}

fn decoded(text: &str) -> Result<String, ConninfoError> {
    let broken = |what| {
        ConninfoError::new(
            what,
            "`%` must be followed by two hexadecimal digits of UTF-8; write `%` itself as %25",
        )
    };
    for (at, _) in text.match_indices('%') {
        let hex = text.as_bytes().get(at + 1..at + 3);
        if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(broken(
                "a percent sign in the URI is not followed by two hexadecimal digits",
            ));
        }
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(Cow::into_owned).map_err(|_| broken("a percent-encoded value in the URI is not UTF-8"))
}
