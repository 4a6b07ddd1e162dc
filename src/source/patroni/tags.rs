//! Tags as Patroni's status has them, as the text that its API compares.
//!
//! The status has the *effective* tags: where Patroni itself keeps a member from being synchronous for a
//! while, `nosync` is there though nobody wrote it.

use serde_json::{Map, Number, Value};

use crate::look::tags::Tags;

/// The tags of a status. Null is no tag; lists and tables are left out, which nobody asks for by a value.
pub fn read(tags: &Map<String, Value>) -> Tags {
    tags.iter().filter_map(|(tag, value)| Some((tag.clone(), python_text(value)?))).collect()
}

/// What Python's `str(value).lower()` makes of what is no text.
fn python_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number_text(number)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => float_text(float),
        None => number.to_string(),
    }
}

/// As Python's `repr`: the fewest digits that say it, with an exponent below 0.0001 and from 1e16 up.
fn float_text(float: f64) -> String {
    let short = format!("{float:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = float.to_string();
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right: what Python 3.11 prints of `str(json.loads(left)).lower()`, or the text itself.
    #[test]
    fn a_value_has_the_text_that_python_makes_of_it() {
        for (json, text) in [
            (r#""Olap ""#, "Olap "),
            (r#""""#, ""),
            ("true", "true"),
            ("false", "false"),
            ("5", "5"),
            ("-12", "-12"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("0.0", "0.0"),
            ("15.5", "15.5"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.25e100", "1.25e+100"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(python_text(&value).as_deref(), Some(text), "{json}");
        }
    }

    #[test]
    fn what_has_no_text_is_no_tag() {
        let tags: Value =
            serde_json::from_str(r#"{"a": null, "b": [1], "c": {}, "d": "x"}"#).unwrap();
        let wanted: Tags = [("d".to_owned(), "x".to_owned())].into_iter().collect();
        assert_eq!(read(tags.as_object().unwrap()), wanted);
    }
}
