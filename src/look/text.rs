//! Texts that others wrote, made fit to be shown.
//!
//! They are cleaned once, where they enter, for every way out at once: a log, a terminal, the unit's
//! status, JSON. A line's end in one forges a line of the log, an escape sequence is obeyed by a
//! terminal, and a sign that turns the direction of writing hides what stands behind it.

/// What stands for the rest of a text that is too long.
const CUT: char = '…';

/// The text on one line, without what must not be shown, of at most `most` bytes before the sign that it
/// was cut.
pub fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most + CUT.len_utf8()));
    for sign in text.chars() {
        let sign = match sign {
            '\n' | '\r' | '\t' => ' ',
            unfit if !shown(unfit) => continue,
            fit => fit,
        };
        if plain.len() + sign.len_utf8() > most {
            plain.push(CUT);
            break;
        }
        plain.push(sign);
    }
    plain
}

/// Whether every sign of a text is shown as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    text.chars().all(shown)
}

/// Control characters (C0, C1), line and paragraph separators, what has no width, what turns the
/// direction of writing (Unicode standard annex 9), and tags are not.
fn shown(sign: char) -> bool {
    !(sign.is_control()
        || matches!(sign,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_line_is_forged_and_no_terminal_obeys() {
        let forged = "no\n2026-01-01T00:00:00Z INFO verdict changed: primary of pg1 is ready";
        assert!(!plain(forged, 200).contains('\n'));
        assert_eq!(plain("\x1b[31mred\u{9b}2J\u{7}", 99), "[31mred2J");
        assert_eq!(plain("a\u{202e}b\u{2066}c\u{2028}d\u{200b}", 99), "abcd");
        assert_eq!(plain("schöner Name, 日本", 99), "schöner Name, 日本");
    }

    #[test]
    fn a_long_text_is_cut_between_two_signs() {
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain("äöü", 3), "ä…");
        assert_eq!(plain("äöü", 6), "äöü");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_plain_and_bounded(text in any::<String>(), most in 0usize..64) {
            let shown = plain(&text, most);
            prop_assert!(is_plain(&shown));
            prop_assert!(shown.len() <= most + CUT.len_utf8());
            prop_assert_eq!(plain(&shown, usize::MAX - 8), shown);
        }
    }
}
