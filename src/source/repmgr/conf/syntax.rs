//! The syntax of `repmgr.conf`: that of PostgreSQL's own files, as repmgr 5 reads it.
//!
//! One setting a line: a name, an `=` or none, one value, and a comment or none (`configfile-scan.l` of
//! repmgr 5.3.3). A line that is anything else is an error there, and repmgrd does not start with it;
//! here the whole file then says nothing.

/// A setting as it is written: its name, and its value without quotes and escapes.
pub type Setting = (String, String);

/// The settings of a file in their order. `Err`: the number of the line that is none.
pub fn settings(text: &str) -> Result<Vec<Setting>, usize> {
    let numbered = (1..).zip(text.split('\n'));
    let read = numbered.map(|(number, line)| setting(line).map_err(|Malformed| number));
    read.filter_map(Result::transpose).collect()
}

struct Malformed;

fn setting(line: &str) -> Result<Option<Setting>, Malformed> {
    let mut rest = Rest(line);
    let Some(name) = rest.token()? else { return Ok(None) };
    let (Token::Word(name) | Token::Dotted(name)) = name else { return Err(Malformed) };
    let value = match rest.token()? {
        Some(Token::Equals) => rest.token()?,
        value => value,
    };
    let value = match value {
        Some(Token::Quoted(value)) => value,
        Some(Token::Word(value) | Token::Bare(value)) => value.to_owned(),
        Some(Token::Dotted(_) | Token::Equals) | None => return Err(Malformed),
    };
    match rest.token()? {
        Some(_) => Err(Malformed),
        None => Ok(Some((name.to_owned(), value))),
    }
}

enum Token<'a> {
    /// A word that is a name or a value.
    Word(&'a str),
    /// Two of them joined by a point: a name, and no value unless it is quoted, so that
    /// `include more.conf` is an error.
    Dotted(&'a str),
    Equals,
    Quoted(String),
    /// A number, or a word that is no name.
    Bare(&'a str),
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The next token; `None` at the end of the line or at a comment.
    fn token(&mut self) -> Result<Option<Token<'a>>, Malformed> {
        self.0 = self.0.trim_start_matches([' ', '\t', '\r']);
        let Some(first) = self.0.chars().next() else { return Ok(None) };
        match first {
            '#' => Ok(None),
            '=' => {
                self.0 = &self.0[1..];
                Ok(Some(Token::Equals))
            }
            '\'' => self.quoted().map(|value| Some(Token::Quoted(value))),
            c if is_letter(c) => {
                let word = self.take(|c| is_letter(c) || is_digit(c) || "-.:/".contains(c));
                Ok(Some(match word.split_once('.') {
                    None if is_name(word) => Token::Word(word),
                    Some((group, name)) if is_name(group) && is_name(name) => Token::Dotted(word),
                    _ => Token::Bare(word),
                }))
            }
            _ => {
                let number = self.number().ok_or(Malformed)?;
                Ok(Some(Token::Bare(number)))
            }
        }
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// `[+-]? digits letters*`, `[+-]? 0x digits letters*`, or one with a point.
    fn number(&mut self) -> Option<&'a str> {
        let whole = self.0;
        let unsigned = whole.strip_prefix(['+', '-']).unwrap_or(whole);
        let digits = |text: &str| text.find(|c| !is_digit(c)).unwrap_or(text.len());
        let before = digits(unsigned);
        let after_digits = &unsigned[before..];
        let end = if let Some(fraction) = after_digits.strip_prefix('.') {
            let fraction = &fraction[digits(fraction)..];
            let exponent = fraction.strip_prefix(['e', 'E']).and_then(|e| {
                let e = e.strip_prefix(['+', '-']).unwrap_or(e);
                let count = digits(e);
                (count > 0).then(|| &e[count..])
            });
            exponent.unwrap_or(fraction)
        } else if before > 0 {
            let hexadecimal = after_digits.strip_prefix('x').filter(|_| &unsigned[..before] == "0");
            let rest = hexadecimal.map_or(after_digits, |digits| {
                digits.trim_start_matches(|c: char| c.is_ascii_hexdigit())
            });
            rest.trim_start_matches(|c: char| c.is_ascii_alphabetic())
        } else {
            return None;
        };
        let (taken, rest) = whole.split_at(whole.len() - end.len());
        self.0 = rest;
        Some(taken)
    }

    /// A value in quotes: a doubled quote is one, a backslash takes the meaning of what follows.
    fn quoted(&mut self) -> Result<String, Malformed> {
        let mut value = Vec::new();
        let mut chars = self.0[1..].chars();
        loop {
            match chars.next().ok_or(Malformed)? {
                '\'' if chars.as_str().starts_with('\'') => {
                    chars.next();
                    value.push(b'\'');
                }
                '\'' => {
                    self.0 = chars.as_str();
                    // repmgr's string would end at a NUL.
                    let value = String::from_utf8(value).ok().filter(|value| !value.contains('\0'));
                    return value.ok_or(Malformed);
                }
                '\\' => escaped(&mut chars, &mut value)?,
                c => value.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }
}

fn escaped(chars: &mut std::str::Chars<'_>, value: &mut Vec<u8>) -> Result<(), Malformed> {
    let c = chars.next().ok_or(Malformed)?;
    match c {
        'b' => value.push(8),
        'f' => value.push(12),
        'n' => value.push(b'\n'),
        'r' => value.push(b'\r'),
        't' => value.push(b'\t'),
        '0'..='7' => {
            let mut code = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = chars.as_str().chars().next().and_then(|c| c.to_digit(8)) else {
                    break;
                };
                chars.next();
                code = code * 8 + digit;
            }
            // As the C code casts it.
            value.push(u8::try_from(code & 0xff).unwrap_or(0));
        }
        c => value.extend(c.encode_utf8(&mut [0; 4]).bytes()),
    }
    Ok(())
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Letters and digits, beginning with a letter.
fn is_name(word: &str) -> bool {
    word.starts_with(is_letter) && word.chars().all(|c| is_letter(c) || is_digit(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<(String, String)> {
        settings(line).ok()?.into_iter().next()
    }

    /// `tests/real/source_repmgr/conf.rs` puts such spellings to repmgr itself.
    #[test]
    fn a_setting_in_all_its_spellings() {
        for (line, value) in [
            ("reconnect_attempts=1", "1"),
            ("reconnect_attempts = 1", "1"),
            ("reconnect_attempts 1", "1"),
            ("reconnect_attempts\t1 # once", "1"),
            ("  reconnect_attempts='1'#once", "1"),
            ("reconnect_attempts=1\r", "1"),
            ("reconnect_attempts=3s", "3s"),
            ("reconnect_attempts=2.5", "2.5"),
            ("reconnect_attempts=.5", ".5"),
            ("reconnect_attempts=+7", "+7"),
            ("reconnect_attempts=1.5e3", "1.5e3"),
            ("reconnect_attempts=1.e-12", "1.e-12"),
            ("reconnect_attempts=0x1F", "0x1F"),
            ("reconnect_attempts='a''b\\'c\\\\\\101\\n'", "a'b'c\\A\n"),
            ("reconnect_attempts=on", "on"),
            ("reconnect_attempts=a-b:c/d", "a-b:c/d"),
            ("reconnect_attempts=a.b.c", "a.b.c"),
            ("reconnect_attempts=''", ""),
        ] {
            let read = one(line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!(read, ("reconnect_attempts".to_owned(), value.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_setting_is_told_by_its_line() {
        for bad in [
            "a",
            "a=",
            "=1",
            "a==1",
            "a=1 2",
            "a='1",
            "a=/etc/x",
            "1=a",
            "a=1e5",
            "a=1.5e",
            "a=1.5e+",
            "a='x' y",
            "a b c",
            "a-b=1",
            "a.b.c=1",
            "a=-",
            "a='x\\",
            "a b.c",
            "a=1\0",
            "a='1\u{0}2'",
            "a='1\\0002'",
        ] {
            assert_eq!(settings(&format!("x=1\n\n{bad}\ny=2")), Err(3), "{bad:?}");
        }
        assert_eq!(settings("\n# a\n  # b\r\n").unwrap(), []);
        assert_eq!(settings("a.b=1").unwrap(), [("a.b".to_owned(), "1".to_owned())]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = settings(&text);
        }

        #[test]
        fn what_is_quoted_is_read_again(value in "[^\u{0}\n\r]*") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "''");
            prop_assert_eq!(one(&format!("a='{quoted}'")), Some(("a".to_owned(), value)));
        }
    }
}
