//! rolecall.toml(5), made from the packaged file: its comments are the manual of the keys.

use std::fmt::Write as _;

use crate::cli::roff::roff;

/// The packaged configuration.
const PACKAGED: &str = include_str!("../../packaging/rolecall.toml");

const BEGIN: &str = r".SH NAME
rolecall.toml \- configuration of rolecall
.SH SYNOPSIS
\fI/etc/rolecall/rolecall.toml\fR
.SH DESCRIPTION
The file is written in TOML. Without it the defaults are used: Patroni at http://127.0.0.1:8008, and one service
for the primary on port 5555. An unknown key is an error. \fBrolecall check\fR lists every error with its line,
and a reload (\fBsystemctl reload rolecall\fR) of a wrong file changes nothing.
.PP
A key with a default is shown with it; a key without one is shown with an example.
";

const END: &str = r#".SH EXAMPLES
A server without Patroni or repmgr:
.PP
.nf
[source]
kind = "postgres"
conninfo = "host=/run/postgresql dbname=postgres user=rolecall"
.fi
.PP
A repmgr cluster with two data nodes and a witness:
.PP
.nf
[source]
kind = "repmgr"
conninfo = "host=/run/postgresql dbname=repmgr user=rolecall"
passfile = "/etc/rolecall/pgpass"
.fi
.PP
Writes, and reads from replicas that are at most 16 MB behind:
.PP
.nf
[[service]]
name = "primary"
roles = ["primary"]
listen = "5555"

[[service]]
name = "replica"
roles = ["replica"]
listen = "5556"
max_lag = "16MB"
.fi
.SH "EXIT STATUS"
\fBrolecall check\fR ends with 0 for a valid file and with 78 for a wrong one.
.SH FILES
.TP
\fI/etc/rolecall/rolecall.toml\fR
The configuration of the packaged unit.
.SH "SEE ALSO"
\fBrolecall\fR(8), \fBrolecall\-check\fR(8)
"#;

/// A key as it stands in the file.
struct Key {
    name: String,
    value: String,
    is_default: bool,
    text: String,
}

/// The page as man(7) source; `source` names the version.
pub(crate) fn page(source: &str) -> String {
    let mut out =
        format!(".TH ROLECALL.TOML 5 \"\" \"{source}\" \"System Administration\"\n{BEGIN}");
    out.push_str(".SH SECTIONS AND KEYS\n");
    let (mut about, mut keys, mut heading): (String, Vec<Key>, Option<String>) = Default::default();
    // The head of the file says what the page's beginning says.
    let body = PACKAGED.split_once("\n\n").map_or(PACKAGED, |(_, body)| body);
    for line in body.lines() {
        let (is_default, text) = match line.strip_prefix("# ") {
            Some(text) => (false, text),
            None => (true, line),
        };
        if let Some(more) = line.trim_start().strip_prefix("# ").filter(|_| line.starts_with(' ')) {
            let Some(key) = keys.last_mut() else { continue };
            key.text = format!("{} {more}", key.text);
        } else if line.is_empty() {
            flush(&mut out, heading.take(), &mut about, &mut keys);
        } else if let Some((kind, text)) = kind(text) {
            flush(&mut out, heading.take(), &mut about, &mut keys);
            heading = Some(format!("kind = {kind}"));
            text.clone_into(&mut about);
        } else if text.starts_with('[') {
            let name = text.split_once(']').map_or(text, |(name, _)| name);
            heading = Some(format!("{name}]{}", if name.starts_with("[[") { "]" } else { "" }));
        } else if let Some(key) = key(text, is_default) {
            keys.push(key);
        } else if !is_default {
            about = format!("{about} {text}");
        }
    }
    flush(&mut out, heading, &mut about, &mut keys);
    out + END
}

/// Writes a section, or more keys of the one before.
fn flush(out: &mut String, heading: Option<String>, about: &mut String, keys: &mut Vec<Key>) {
    let about = std::mem::take(about);
    // Writing to a string cannot fail.
    if let Some(heading) = heading {
        let _ = writeln!(out, ".SS \"{}\"", roff(&heading));
    }
    if !about.trim().is_empty() {
        let _ = writeln!(out, ".PP\n{}", roff(about.trim()));
    }
    for Key { name, value, is_default, text } in keys.drain(..) {
        let shown = if is_default { "default" } else { "example" };
        let (name, value, text) = (roff(&name), roff(&value), roff(text.trim()));
        let _ = writeln!(out, ".TP\n\\fB{name}\\fR ({shown}: {value})\n{text}");
    }
}

/// `kind = "patroni": what it does`: the keys of one kind of source follow.
fn kind(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("kind = \"")?.split_once("\": ")
}

fn key(text: &str, is_default: bool) -> Option<Key> {
    let (name, rest) = text.split_once(" = ")?;
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    if !name.chars().all(is_name) {
        return None;
    }
    let mut quoted = false;
    let comment = rest.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '#' && !quoted
    });
    let (value, text) = comment.map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
    let owned = |text: &str| text.trim().to_owned();
    Some(Key { name: owned(name), value: owned(value), is_default, text: owned(text) })
}
