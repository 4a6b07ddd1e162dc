//! How the page looks, and what a browser may do with it.

use crate::report::page::level::Level;

/// The one style of the page, which has nothing but this in it.
pub(crate) const SHEET: &str = include_str!("style.css");

/// The Content-Security-Policy: nothing is fetched, run, framed or sent. Of all styles only [`SHEET`] counts, by its
/// SHA-256; the sign in the browser's tab is written into the page, else a browser would fetch one.
pub const POLICY: &str = "default-src 'none'; style-src 'sha256-jLIIBRjAJY0rMe2MSk8+au5V3Xr9FKQKSC+1mPzBMGU='; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The sign in the browser's tab; its shape says the same as its colour.
pub(crate) fn icon(level: Level) -> &'static str {
    match level {
        Level::Well => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
             %3Ccircle cx='8' cy='8' r='7' fill='%231a7f37'/%3E%3C/svg%3E"
        }
        Level::Warning => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
             %3Cpath d='M8 1 16 15H0z' fill='%23bf8700'/%3E%3C/svg%3E"
        }
        Level::Critical => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
             %3Cpath d='M1 1h14v14H1z' fill='%23cf222e'/%3E%3C/svg%3E"
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use ring::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn the_policy_lets_in_the_one_style() {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, SHEET.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "sha256-{hash} {POLICY}");
    }
}
