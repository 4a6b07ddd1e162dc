//! The one way in which a text reaches the document.
//!
//! What the program itself writes is known when it is compiled, and nothing else is taken as it is; a text from
//! outside is always made plain, cut, and escaped, for an element's content and an attribute's value alike.

use std::fmt::Write as _;

use crate::look::text;

/// Most bytes of one text from outside, before it is escaped.
pub const MOST_TEXT: usize = 4096;

/// A piece of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Html(String);

impl Html {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Markup of the program's own.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A text, whoever wrote it.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        escape(&mut self.0, &text::plain(text, MOST_TEXT));
        self
    }

    /// A number.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        // Writing to a string cannot fail.
        _ = write!(self.0, "{number}");
        self
    }

    /// How many there are of something.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.number(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Another piece.
    pub(crate) fn add(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// As it is sent.
    pub(crate) fn done(self) -> String {
        self.0
    }
}

/// Every sign that could end or begin anything in a document is written as what it stands for.
fn escape(out: &mut String, text: &str) {
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser makes of the references above.
    fn read(escaped: &str) -> String {
        let escaped = escaped.replace("&lt;", "<").replace("&gt;", ">");
        escaped.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
    }

    fn shown(text: &str) -> String {
        let mut html = Html::new();
        html.text(text);
        html.done()
    }

    #[test]
    fn a_text_is_read_as_it_was_written_and_is_no_markup() {
        assert_eq!(
            shown("<script>alert('&\"')</script>"),
            "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"
        );
        assert_eq!(shown("a\n<b>\u{202e}\u{0}"), "a &lt;b&gt;");
        assert_eq!(shown(&"<".repeat(MOST_TEXT + 1)), format!("{}…", "&lt;".repeat(MOST_TEXT)));
    }

    proptest! {
        #[test]
        fn no_text_from_outside_is_ever_markup(text in "[\\PC<>&\"']{0,80}") {
            let written = shown(&text);
            prop_assert!(!written.contains(['<', '>', '"', '\'']), "{written}");
            prop_assert_eq!(read(&written), text::plain(&text, MOST_TEXT));
        }
    }
}
