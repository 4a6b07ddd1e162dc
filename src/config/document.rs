//! Reads TOML key by key and keeps every problem with its place, so that one run shows them all.

use std::cell::RefCell;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// Longest text of an operator that is repeated in a problem, in characters.
const MAX_QUOTE: usize = 60;

/// Most problems that are shown; the rest is likely to follow from them.
const MAX_PROBLEMS: usize = 100;

/// Similarity (Jaro-Winkler, 0 to 1) from which an unknown word is taken for a slip of a known one.
const SLIP: f64 = 0.8;

/// One mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it, or `command line`.
    pub file: String,
    /// The line, from 1; `None` where the whole file is meant or there is none.
    pub line: Option<usize>,
    /// The key with its tables, such as `source.interval` or `service[1].listen` (from 1); empty
    /// where no key is meant.
    pub key: String,
    /// What is wrong, and how to right it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    /// Three lines: place and fault, `expected:`, `hint:`; without an end of line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        let Fault { what, expected, hint } = &self.fault;
        write!(f, ": {what}\n  expected: {expected}\n  hint: {hint}")
    }
}

/// What is wrong with a value, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong; repeats no value that may hold a secret.
    pub what: String,
    /// What would have been accepted.
    pub expected: String,
    /// What to do about it.
    pub hint: String,
}

impl Fault {
    /// A fault in three sentences.
    pub fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), expected: expected.into(), hint: hint.into() }
    }

    /// A word that is none of the known ones.
    pub fn unknown(what: impl Into<String>, word: &str, known: &[&str]) -> Self {
        let hint = match nearest(word, known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "`man rolecall.toml` lists every key with its default".to_owned(),
        };
        Self::new(what, format!("one of {}", known.join(", ")), hint)
    }
}

/// The known word that an unknown one is most likely a slip of.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer words are no slips, and their comparison costs the square of their length.
    if word.len() > MAX_QUOTE {
        return None;
    }
    let alike = |known: &&str| strsim::jaro_winkler(word, known);
    known.iter().copied().filter(|k| alike(k) >= SLIP).max_by(|a, b| alike(a).total_cmp(&alike(b)))
}

/// An operator's text as it is repeated in a problem: on one line, without control characters, cut.
pub fn quote(text: &str) -> String {
    let cut = if text.chars().nth(MAX_QUOTE).is_some() { "..." } else { "" };
    let shown: String = text.chars().take(MAX_QUOTE).collect();
    format!("`{}{cut}`", shown.escape_debug())
}

/// A text and the problems found in it.
#[derive(Debug)]
pub struct Document<'t> {
    file: &'t str,
    /// `None`: there is no text whose lines could be named.
    text: Option<&'t str>,
    problems: RefCell<Vec<(usize, String, Fault)>>,
}

impl<'t> Document<'t> {
    /// A document of this name and text.
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text: Some(text), problems: RefCell::default() }
    }

    /// A document whose keys stand in no text.
    pub(crate) fn without_text(file: &'t str) -> Self {
        Self { file, text: None, problems: RefCell::default() }
    }

    /// The whole text as a table, or `None` after a syntax error: what the parser makes of the
    /// rest is a guess, and problems of a guess mislead.
    pub fn parse(&self) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text.unwrap_or_default());
        for error in &errors {
            let (what, expected) = error
                .message()
                .split_once(", expected ")
                .unwrap_or((error.message(), "a table, a key with its value, or a comment"));
            let fault =
                Fault::new(what, expected, "see https://toml.io for the form of a TOML file");
            let at = error.span().map_or(0, |span| span.start);
            Spot { doc: self, at, key: String::new() }.report(fault);
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// Every problem, each once, in the order of the text.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        // A default is read again by every source that starts from it.
        problems.sort_by(|a, b| (a.0, &a.1, &a.2.what).cmp(&(b.0, &b.1, &b.2.what)));
        problems.dedup();
        if let Some(more) = problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            problems.truncate(MAX_PROBLEMS);
            let at = problems.last().map_or(0, |(at, ..)| *at);
            let hint = "correct these errors first";
            let fault = Fault::new(format!("{more} more problems are not shown"), "none", hint);
            problems.push((at, String::new(), fault));
        }
        let (mut line, mut counted) = (1, 0);
        let mut line_of = |at: usize| {
            let text = self.text?.as_bytes();
            let at = at.min(text.len());
            line += text[counted..at].iter().map(|b| usize::from(*b == b'\n')).sum::<usize>();
            counted = at;
            Some(line)
        };
        problems
            .into_iter()
            .map(|(at, key, fault)| Problem {
                file: self.file.to_owned(),
                line: line_of(at),
                key,
                fault,
            })
            .collect()
    }
}

/// A place in a document.
#[derive(Debug, Clone)]
pub struct Spot<'d> {
    doc: &'d Document<'d>,
    /// Offset in the text, in bytes.
    at: usize,
    /// The key with its tables.
    key: String,
}

impl Spot<'_> {
    /// Keeps a problem with what stands here.
    pub fn report(&self, fault: Fault) {
        self.doc.problems.borrow_mut().push((self.at, self.key.clone(), fault));
    }

    /// The place of an item of the array that stands here.
    fn item(&self, index: usize, item: &toml::Spanned<DeValue<'_>>) -> Self {
        let key = format!("{}[{}]", self.key, index + 1);
        Spot { doc: self.doc, at: item.span().start, key }
    }
}

/// A table that is read key by key; a table that is not there reads as an empty one.
#[derive(Debug, Clone)]
pub struct Table<'d> {
    spot: Spot<'d>,
    entries: Option<&'d DeTable<'d>>,
    /// Read for keys that are not here.
    defaults: Option<&'d Table<'d>>,
    /// The keys that were asked for, in that order.
    asked: RefCell<Vec<&'static str>>,
    /// The keys that are no mistake here and of no use either.
    spared: RefCell<Vec<&'static str>>,
}

impl<'d> Table<'d> {
    /// The table of a whole document.
    pub fn root(doc: &'d Document<'d>, entries: &'d DeTable<'d>) -> Self {
        Self::at(Spot { doc, at: 0, key: String::new() }, Some(entries))
    }

    /// A table of flags: its keys are printed as `--key`.
    pub fn flags(doc: &'d Document<'d>, entries: &'d DeTable<'d>) -> Self {
        Self::at(Spot { doc, at: 0, key: "--".to_owned() }, Some(entries))
    }

    fn at(spot: Spot<'d>, entries: Option<&'d DeTable<'d>>) -> Self {
        Self {
            spot,
            entries,
            defaults: None,
            asked: RefCell::default(),
            spared: RefCell::default(),
        }
    }

    /// The same table, where keys that are not here are read from `defaults`.
    #[must_use]
    pub(crate) fn starting_from(self, defaults: &'d Self) -> Self {
        Self { defaults: Some(defaults), ..self }
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the key is there, and not only in the defaults.
    pub(crate) fn has_own(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// Whether the key's value is a table.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        self.find(key).is_some_and(|(_, value)| value.is_table())
    }

    /// Whether the key's value is an array.
    pub(crate) fn has_array(&self, key: &str) -> bool {
        self.find(key).is_some_and(|(_, value)| value.is_array())
    }

    /// The key's value and its place.
    fn find(&self, key: &str) -> Option<(Spot<'d>, &'d DeValue<'d>)> {
        let Some(value) = self.entries.and_then(|entries| entries.get(key)) else {
            return self.defaults?.find(key);
        };
        Some((self.spot_at(value.span().start, key), value.get_ref()))
    }

    /// The place of the key's value, or of the table where the key is not there.
    pub(crate) fn spot(&self, key: &str) -> Spot<'d> {
        self.find(key).map_or_else(|| self.spot_at(self.spot.at, key), |(spot, _)| spot)
    }

    fn spot_at(&self, at: usize, key: &str) -> Spot<'d> {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let key = if !key.is_empty() && key.len() <= MAX_QUOTE && key.chars().all(bare) {
            key.to_owned()
        } else {
            quote(key)
        };
        let key = match self.spot.key.as_str() {
            "" => key,
            "--" if key == "kind" => "--source".to_owned(),
            "--" => format!("--{key}"),
            table => format!("{table}.{key}"),
        };
        Spot { doc: self.spot.doc, at, key }
    }

    /// Keeps a problem with this key.
    pub fn report(&self, key: &str, fault: Fault) {
        self.spot(key).report(fault);
    }

    /// Keeps a key, which is not offered for a slip, from being reported as unknown.
    pub(crate) fn spare(&self, key: &'static str) {
        self.spared.borrow_mut().push(key);
    }

    /// [`Table::find`] of a key that is one of this table's.
    fn value(&self, key: &'static str) -> Option<(Spot<'d>, &'d DeValue<'d>)> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.find(key)
    }

    /// The key's value, read by `parse`; `None` where it is not there or wrong.
    pub fn take<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<T> {
        let (spot, value) = self.value(key)?;
        parse(value).map_err(|fault| spot.report(fault)).ok()
    }

    /// [`Table::take`] of a key that must be there; `expected` and `hint` say what is missing.
    pub fn need<T>(
        &self,
        key: &'static str,
        expected: &str,
        hint: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report(key, Fault::new("missing", expected, hint));
        }
        self.take(key, parse)
    }

    /// The key's values with their places: one value alone, or an array of them. `None` where the
    /// key is not there or a value is wrong.
    pub(crate) fn take_all<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Placed<'d, T>> {
        let (spot, value) = self.value(key)?;
        each(&spot, value, parse)
    }

    /// The values of every key of the table, whatever it is called, as [`Table::take_all`] has
    /// them, with the key and its place; without those whose values are wrong.
    pub(crate) fn take_each<T>(
        &self,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Vec<(String, Spot<'d>, Placed<'d, T>)> {
        let entries = self.entries.into_iter().flatten();
        let read = entries.filter_map(|(key, value)| {
            let name = key.get_ref().as_ref();
            let values = each(&self.spot_at(value.span().start, name), value.get_ref(), &parse)?;
            Some((name.to_owned(), self.spot_at(key.span().start, name), values))
        });
        read.collect()
    }

    /// The table under this key.
    #[must_use]
    pub fn table(&self, key: &'static str) -> Self {
        let table = self.value(key).and_then(|(spot, value)| Self::of(spot, value, key));
        table.unwrap_or_else(|| Self::at(self.spot(key), None))
    }

    /// The tables under this key: `[key]` alone or `[[key]]` several times.
    pub fn tables(&self, key: &'static str) -> Vec<Self> {
        match self.value(key) {
            None => Vec::new(),
            Some((spot, DeValue::Array(items))) => {
                let items = items.iter().enumerate();
                items
                    .filter_map(|(i, item)| Self::of(spot.item(i, item), item.get_ref(), key))
                    .collect()
            }
            Some((spot, value)) => Self::of(spot, value, key).into_iter().collect(),
        }
    }

    fn of(spot: Spot<'d>, value: &'d DeValue<'d>, key: &str) -> Option<Self> {
        let table = value.as_table();
        if table.is_none() {
            spot.report(wrong_type(
                value,
                "a table",
                &format!("write `[{key}]` and its keys below it"),
            ));
        }
        table.map(|table| Self::at(spot, Some(table)))
    }

    /// Reports every key that nothing has asked for.
    pub fn finish(&self) {
        let (asked, spared) = (self.asked.borrow(), self.spared.borrow());
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) && !spared.contains(&name) {
                let spot = self.spot_at(key.span().start, name);
                spot.report(Fault::unknown("unknown key", name, &asked));
            }
        }
    }
}

/// Values, each with its place.
pub type Placed<'d, T> = Vec<(Spot<'d>, T)>;

/// One value alone, or an array of them, each with its place; `None` where one is wrong.
fn each<'d, T>(
    spot: &Spot<'d>,
    value: &DeValue<'_>,
    parse: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
) -> Option<Placed<'d, T>> {
    let Some(array) = value.as_array() else {
        let one = parse(value).map_err(|fault| spot.report(fault)).ok()?;
        return Some(vec![(spot.clone(), one)]);
    };
    let items = array.iter().enumerate().map(|(index, item)| {
        let spot = spot.item(index, item);
        parse(item.get_ref()).map_err(|fault| spot.report(fault)).map(|value| (spot, value))
    });
    // Every item is read before one that is wrong spoils the whole.
    let items: Vec<Result<_, ()>> = items.collect();
    items.into_iter().collect::<Result<_, ()>>().ok()
}

/// A value of another type than it should be. The value itself, which may be a secret at the wrong
/// key, is not repeated.
pub(crate) fn wrong_type(value: &DeValue<'_>, expected: &str, hint: &str) -> Fault {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    Fault::new(format!("found {found}"), expected, hint)
}
