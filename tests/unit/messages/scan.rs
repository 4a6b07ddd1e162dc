//! Finds the texts in src/ that a person reads, without a parser of Rust: string literals are told from code, and a
//! call ends where its bracket is closed.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the sources.
pub struct File {
    /// Its text up to its tests.
    text: String,
    /// The same, of the same length: what stands in literals and comments is blank.
    code: String,
    /// Where each string literal begins and ends, and what it says.
    literals: Vec<(usize, usize, String)>,
}

/// A call that says something.
pub struct Call {
    /// What was called, such as `warn!`.
    pub name: String,
    /// The code of its arguments and of the 60 bytes behind them.
    pub code: String,
    /// Its text; `None`: it repeats what something else says.
    pub text: Option<String>,
}

/// Every file of src/.
pub fn sources() -> Vec<File> {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.sort();
    let texts = files.iter().filter(|path| !path.ends_with("tests.rs"));
    texts.map(|path| File::of(&fs::read_to_string(path).expect("a source"))).collect()
}

/// One file of src/.
pub fn source(path: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path);
    File::of(&fs::read_to_string(path).expect("a source"))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

impl File {
    fn of(text: &str) -> Self {
        let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        let (mut code, mut literals) = (text.clone().into_bytes(), Vec::new());
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let rest = &text.as_bytes()[at..];
            let end = match byte {
                b'/' if rest.starts_with(b"//") => at + line(rest),
                b'"' => {
                    let end = at + string(rest);
                    literals.push((at, end, said(&text[at + 1..end - 1])));
                    end
                }
                b'r' if rest.starts_with(b"r#\"") => at + raw(&text[at..]),
                b'\'' if rest.get(1) == Some(&b'\\') => at + 4,
                b'\'' if rest.get(2) == Some(&b'\'') => at + 3,
                _ => {
                    at += 1;
                    continue;
                }
            };
            let end = end.min(code.len());
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            at = end;
        }
        let code = String::from_utf8(code).expect("what is blanked is whole");
        Self { text, code, literals }
    }

    /// The calls of these names, each with the text of its last literal that is an argument itself, or of its first.
    pub fn calls(&self, names: &[&str], last: bool) -> Vec<Call> {
        let mut calls = Vec::new();
        for name in names {
            let called = format!("{name}(");
            let starts = self.code.match_indices(&called);
            // Another word's end is no call of this name.
            let starts = starts.filter(|(at, _)| {
                !self.code[..*at]
                    .ends_with(|before: char| before.is_alphanumeric() || before == '_')
            });
            for (at, _) in starts {
                let open = at + name.len();
                let close = self.closes(open);
                let text = self.said_in(open, close, last);
                let behind = self.code.len().min(close + 60);
                let code = self.code.get(open..behind).unwrap_or_default().to_owned();
                calls.push(Call { name: (*name).to_owned(), code, text });
            }
        }
        calls
    }

    /// What the arguments between two places say: a literal, or the one that the named variable was made of.
    fn said_in(&self, open: usize, close: usize, last: bool) -> Option<String> {
        let within = self.literals.iter().filter(|(at, end, _)| *at > open && *end <= close);
        let depth = |at: usize| {
            let before = self.code[open + 1..at].chars();
            before.fold(0, |depth, sign| match sign {
                '(' | '[' | '{' => depth + 1,
                ')' | ']' | '}' => depth - 1,
                _ => depth,
            })
        };
        let found = if last {
            within.rev().find(|(at, ..)| depth(*at) == 0)
        } else {
            let argument = self.code[open + 1..close].trim_start();
            let named = argument.split(|sign: char| !sign.is_alphanumeric() && sign != '_').next();
            if named == Some("what") {
                return self.made(open, "what");
            }
            let mut within = within;
            within.next()
        };
        let text = found.map(|(.., text)| text.clone()).or_else(|| self.made(open, "what"))?;
        match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if self.made(open, name).is_some() => self.made(open, name),
            _ => Some(text),
        }
    }

    /// What `let NAME = ...` above this place begins with.
    fn made(&self, before: usize, name: &str) -> Option<String> {
        let at = self.code[..before].rfind(&format!("let {name} "))?;
        let near = before - at < 1200;
        let (.., text) =
            self.literals.iter().find(|(start, ..)| near && *start > at && *start < before)?;
        Some(text.clone())
    }

    /// Where the bracket that is opened here is closed.
    fn closes(&self, open: usize) -> usize {
        let mut depth = 0;
        for (at, sign) in self.code[open..].char_indices() {
            match sign {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return open + at;
            }
        }
        self.code.len()
    }

    /// The arms of the first `match` behind `mark`: the variants of each, and its literals.
    pub fn arms(&self, mark: &str) -> Vec<(Vec<String>, Vec<String>)> {
        let from = self.text.find(mark).unwrap_or_else(|| panic!("no {mark}"));
        let until = self.text[from..].find("\n    }\n").map_or(self.text.len(), |at| from + at);
        let mut arms: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        let mut at = from;
        while let Some(arrow) = self.code[at..until].find("=>").map(|found| at + found) {
            let head = &self.code[at..arrow];
            // What stands between the arm before and this one's variants belongs to the arm before.
            let begin =
                head.rfind(",\n").or_else(|| head.rfind("}\n")).or_else(|| head.rfind("{\n"));
            let head = &head[begin.unwrap_or(0)..];
            let named = head.split("Self::").skip(1).map(|rest| {
                rest.chars().take_while(|sign| sign.is_alphanumeric()).collect::<String>()
            });
            let next =
                self.code[arrow + 2..until].find("=>").map_or(until, |found| arrow + 2 + found);
            let said = self.literals.iter().filter(|(start, ..)| *start > arrow && *start < next);
            arms.push((named.collect(), said.map(|(.., text)| text.clone()).collect()));
            at = arrow + 2;
        }
        arms
    }
}

/// The length of a comment to the end of its line.
fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// The length of a string literal with its quotes.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw one.
fn raw(rest: &str) -> usize {
    rest[3..].find("\"#").map_or(rest.len(), |end| 3 + end + 2)
}

/// What a literal says, on one line.
fn said(literal: &str) -> String {
    let mut lines = literal.split("\\\n");
    let mut text = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| text.push_str(line.trim_start()));
    text
}
