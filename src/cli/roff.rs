//! Texts as man(7) takes them.

/// A text in which man(7) sees no macro, no dash that it may turn into another sign, and no escape.
pub(crate) fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
