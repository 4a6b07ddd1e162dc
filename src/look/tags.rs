//! The tags that an operator gave a member of a Patroni cluster, and whether they are those that a service
//! asks for.
//!
//! Compared as Patroni's own API does for `GET /replica?tag_KEY=VALUE` (`do_GET` of 4.1.5): each tag that is
//! asked for must be there with exactly that text, case and all; of a value that is no text the
//! text counts that Python makes of it, in lower case (`true`, `5`, `1.0`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::look::text;

/// Bytes of a tag's name or value that are shown to a person.
const MAX_SHOWN: usize = 64;

/// Bytes of all tags together that are shown to a person.
const MAX_ALL_SHOWN: usize = 512;

/// Tags with their values as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a flag is on, as Patroni's `parse_bool` reads it.
    pub(crate) fn is_on(&self, tag: &str) -> bool {
        let value = self.0.get(tag).map(|value| value.to_lowercase());
        value.is_some_and(|value| matches!(value.as_str(), "on" | "true" | "yes" | "1"))
    }

    /// The first tag, by name, that a member has otherwise than it is asked for here, if there is one.
    pub fn unmet_by(&self, member: &Self) -> Option<Unmet> {
        let shown = |value: &str| -> Arc<str> { text::plain(value, MAX_SHOWN).into() };
        self.0.iter().find_map(|(tag, wanted)| {
            let found = member.0.get(tag);
            (found != Some(wanted)).then(|| Unmet {
                tag: shown(tag),
                found: found.map(|found| shown(found)),
                wanted: shown(wanted),
            })
        })
    }
}

/// A tag that is not as it is asked for; fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Its name.
    pub tag: Arc<str>,
    /// What it is; `None`: there is none of this name.
    pub found: Option<Arc<str>>,
    /// What it should be.
    pub wanted: Arc<str>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, found, wanted } = self;
        match found {
            Some(found) => {
                write!(f, "its tag {tag} is \"{found}\", but the service wants \"{wanted}\"")
            }
            None => write!(f, "it has no tag {tag}, but the service wants \"{wanted}\""),
        }
    }
}

impl fmt::Display for Tags {
    /// As they stand in a configuration, on one line and bounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(tag, value)| format!("{tag} = {value:?}"));
        let all = each.collect::<Vec<_>>().join(", ");
        f.write_str(&text::plain(&all, MAX_ALL_SHOWN))
    }
}

impl FromIterator<(String, String)> for Tags {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(tags: T) -> Self {
        Self(tags.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(tags: &[(&str, &str)]) -> Tags {
        tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_tag_that_is_asked_for_must_have_exactly_this_value() {
        let member = tags(&[("nodetype", "olap"), ("zone", "b"), ("nosync", "true")]);
        for (asked, unmet) in [
            (&[][..], None),
            (&[("nodetype", "olap")], None),
            (&[("zone", "b"), ("nosync", "true")], None),
            (
                &[("nodetype", "OLAP")],
                Some("its tag nodetype is \"olap\", but the service wants \"OLAP\""),
            ),
            (
                &[("nodetype", "ol")],
                Some("its tag nodetype is \"olap\", but the service wants \"ol\""),
            ),
            (
                &[("nodetype", "olap"), ("zone", "a")],
                Some("its tag zone is \"b\", but the service wants \"a\""),
            ),
            (&[("region", "eu")], Some("it has no tag region, but the service wants \"eu\"")),
        ] {
            let said = tags(asked).unmet_by(&member).map(|reason| reason.to_string());
            assert_eq!(said.as_deref(), unmet, "{asked:?}");
        }
    }

    #[test]
    fn what_a_tag_says_is_shown_on_one_line_and_cut() {
        let member = tags(&[("t", &"a\n".repeat(100))]);
        let said = tags(&[("t", "b")]).unmet_by(&member).expect("another value").to_string();
        assert!(said.len() < 200 && !said.contains('\n'), "{said}");
    }

    #[test]
    fn all_are_shown_by_name_on_one_line() {
        let member = tags(&[("zone", "b\u{1b}"), ("nodetype", "olap")]);
        assert_eq!(member.to_string(), r#"nodetype = "olap", zone = "b\u{1b}""#);
        assert!(tags(&[("t", &"a".repeat(2000))]).to_string().len() <= MAX_ALL_SHOWN + "…".len());
        assert!(Tags::default().is_empty() && !member.is_empty());
    }

    #[test]
    fn a_flag_is_on_by_patronis_words_alone() {
        for (value, on) in
            [("true", true), ("True", true), ("YES", true), ("on", true), ("1", true)]
                .into_iter()
                .chain(["false", "no", "off", "0", "2", "", "truer"].map(|value| (value, false)))
        {
            assert_eq!(tags(&[("nostream", value)]).is_on("nostream"), on, "{value}");
        }
        assert!(!Tags::default().is_on("nostream"));
    }

    proptest! {
        /// A member belongs to a pool exactly where the pool's tags are among its own.
        #[test]
        fn a_pool_takes_who_has_all_its_tags(
            pool in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
            member in prop::collection::btree_map("[a-c]", "[x-z]", 0..4),
        ) {
            let among = pool.iter().all(|pair| member.iter().any(|own| own == pair));
            let (pool, member): (Tags, Tags) = (pool.into_iter().collect(), member.into_iter().collect());
            prop_assert_eq!(pool.unmet_by(&member).is_none(), among);
        }
    }
}
