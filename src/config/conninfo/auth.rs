//! `require_auth`: how a server may ask who is there.
//!
//! The words and their meaning are libpq's (PostgreSQL manual, "Parameter Key Words"; `pqConnectOptions2`
//! in fe-connect.c and `check_expected_areq` in fe-auth.c).

use super::ConninfoError;

/// How a server asks for a proof of who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all: `trust`, `peer`, `ident` and `cert` in `pg_hba.conf`.
    None,
    /// The password in clear.
    Password,
    /// The password as MD5, with a salt of the server's.
    Md5,
    /// GSSAPI, which rolecall does not have.
    Gss,
    /// SSPI, which rolecall does not have.
    Sspi,
    /// OAuth, which rolecall does not have.
    Oauth,
    /// SCRAM-SHA-256, with channel binding or without: the one by which the server proves itself, too.
    ScramSha256,
}

impl Method {
    /// All of them, in the order of the manual.
    const ALL: [Self; 7] = [
        Self::Password,
        Self::Md5,
        Self::Gss,
        Self::Sspi,
        Self::ScramSha256,
        Self::Oauth,
        Self::None,
    ];

    /// libpq's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Gss => "gss",
            Self::Sspi => "sspi",
            Self::ScramSha256 => "scram-sha-256",
            Self::Oauth => "oauth",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What `require_auth` says: one of the methods it lists, or any but those it lists with `!`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequireAuth {
    /// Whether they are those that the server must not use.
    negated: bool,
    /// A bit for each method that is listed.
    listed: u8,
}

impl RequireAuth {
    /// Whether the server may ask in this way. `none` among others lets it ask not at all.
    pub fn allows(self, method: Method) -> bool {
        (self.listed & method.bit() != 0) != self.negated
    }

    /// Whether the operator wrote down that this method will do.
    pub fn names(self, method: Method) -> bool {
        !self.negated && self.allows(method)
    }

    /// Reads the value. libpq trims no space and takes each method once.
    pub(super) fn read(text: &str) -> Result<Self, ConninfoError> {
        let known = Method::ALL.map(Method::as_str).join(", ");
        let refused = |what: String| {
            let hint = format!("a list without spaces of {known}; or each of them after a `!`");
            ConninfoError::new(format!("`require_auth` {what}"), hint)
        };
        let (mut listed, mut negated) = (0, None);
        for (at, word) in text.split(',').enumerate() {
            let (not, word) = word.strip_prefix('!').map_or((false, word), |word| (true, word));
            if *negated.get_or_insert(not) != not {
                return Err(refused(
                    "contains methods with a `!` and methods without one".to_owned(),
                ));
            }
            let method = Method::ALL.into_iter().find(|method| method.as_str() == word);
            let method = method
                .ok_or_else(|| refused(format!("has no authentication method as word {}", at + 1)))?
                .bit();
            if listed & method != 0 {
                return Err(refused(format!("repeats a method as word {}", at + 1)));
            }
            listed |= method;
        }
        let all = Self { negated: negated.unwrap_or(false), listed };
        let had = [Method::None, Method::Password, Method::Md5, Method::ScramSha256];
        if had.into_iter().any(|method| all.allows(method)) {
            return Ok(all);
        }
        Err(refused("excludes every method that rolecall supports".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_means_what_libpq_means() {
        for (text, allowed) in [
            ("scram-sha-256", "scram-sha-256"),
            ("none", "none"),
            ("none,scram-sha-256", "scram-sha-256 none"),
            ("password,md5,gss,sspi", "password md5 gss sspi"),
            ("!none", "password md5 gss sspi scram-sha-256 oauth"),
            ("!password,!md5", "gss sspi scram-sha-256 oauth none"),
        ] {
            let read = RequireAuth::read(text).unwrap();
            let found: Vec<_> = Method::ALL.into_iter().filter(|m| read.allows(*m)).collect();
            let found: Vec<_> = found.into_iter().map(Method::as_str).collect();
            assert_eq!(found.join(" "), allowed, "{text}");
            let named = Method::ALL.into_iter().any(|method| read.names(method));
            assert_eq!(named, !text.starts_with('!'), "{text}");
        }
        for (text, said) in [
            ("scram", "no authentication method as word 1"),
            ("md5, scram-sha-256", "no authentication method as word 2"),
            ("md5,", "no authentication method as word 2"),
            ("md5,!none", "methods with a `!`"),
            ("!none,md5", "methods with a `!`"),
            ("md5,md5", "repeats a method as word 2"),
            ("!md5,!md5", "repeats a method as word 2"),
            ("gss,sspi", "every method that rolecall supports"),
            ("!none,!password,!md5,!scram-sha-256", "every method that rolecall supports"),
        ] {
            let error = RequireAuth::read(text).unwrap_err();
            assert!(error.problem.contains(said), "{text}: {error}");
        }
    }
}
