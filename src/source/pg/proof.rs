//! What a server must show before it is believed, and how much of the password it may be shown.
//!
//! A server that asks for nothing, or for the password in clear or as MD5, has shown nothing of itself:
//! whoever answers at its address could do that. By SCRAM it signs with what only a server of the role's
//! password has; by a certificate that comes from `sslrootcert` it is known before it asks. The socket
//! that the operator's own `conninfo` names is in a directory that the operator trusts.
//!
//! | the server asks | by itself accepted |
//! |---|---|
//! | for SCRAM | always |
//! | for nothing | at the own socket, with a verified certificate, and where no password is configured |
//! | for the password in clear, or as MD5 | at the own socket, and with a verified certificate |
//!
//! What `require_auth` names is accepted anywhere, and nothing that it leaves out.

use crate::config::conninfo::{ChannelBinding, Method, RequireAuth};

/// What is demanded of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    /// `require_auth`
    pub require: Option<RequireAuth>,
    /// `channel_binding`
    pub binding: ChannelBinding,
    /// A password is configured, whether or not there is one for this server.
    pub password: bool,
    /// It is known who the server is: by its certificate, or by its place.
    pub known: bool,
}

impl Demand {
    /// Whether the server may ask in this way, `bound` to the TLS connection; else why not.
    pub fn judge(self, asked: Method, bound: bool) -> Result<(), String> {
        let word = asked.as_str();
        if self.require.is_some_and(|require| !require.allows(asked)) {
            return Err(match asked {
                Method::None => {
                    "it asks for no authentication, which `require_auth` does not allow".to_owned()
                }
                _ => format!("it asks for {word}, which `require_auth` does not allow"),
            });
        }
        if self.binding == ChannelBinding::Require && !bound {
            return Err(
                "it did not use channel binding, which `channel_binding` requires".to_owned()
            );
        }
        if self.known || self.require.is_some_and(|require| require.names(asked)) {
            return Ok(());
        }
        match asked {
            Method::None if self.password => Err(
                "it accepted the login without asking for the configured password (trust, cert, \
                 peer or ident in its pg_hba.conf), so nothing proves that it is the right server"
                    .to_owned(),
            ),
            Method::Password | Method::Md5 => Err(format!(
                "it asks for the password {}, which rolecall sends only to a server that has \
                 proved its identity",
                if asked == Method::Md5 { "as MD5" } else { "in clear" }
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::conninfo::Conninfo;

    const ALL: [Method; 4] = [Method::None, Method::Password, Method::Md5, Method::ScramSha256];

    fn accepted(conninfo: &str, password: bool, known: bool) -> String {
        let conninfo: Conninfo = conninfo.parse().unwrap();
        let demand = Demand {
            require: conninfo.require_auth,
            binding: conninfo.channel_binding,
            password,
            known,
        };
        let accepted = ALL.into_iter().filter(|asked| demand.judge(*asked, false).is_ok());
        accepted.map(Method::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_proves_the_server_or_what_the_operator_names_is_accepted() {
        let every = "none password md5 scram-sha-256";
        for (conninfo, password, known, wanted) in [
            ("", true, false, "scram-sha-256"),
            ("", false, false, "none scram-sha-256"),
            ("", true, true, every),
            ("require_auth=scram-sha-256", true, true, "scram-sha-256"),
            ("require_auth=none,scram-sha-256", true, false, "none scram-sha-256"),
            ("require_auth=password", true, false, "password"),
            ("require_auth=md5,password", true, false, "password md5"),
            // What is not forbidden is not named either.
            ("require_auth=!scram-sha-256", true, false, ""),
            ("require_auth=!password", true, false, "scram-sha-256"),
            ("require_auth=!none", false, false, "scram-sha-256"),
            ("require_auth=!none", false, true, "password md5 scram-sha-256"),
            ("channel_binding=require", true, true, ""),
        ] {
            assert_eq!(
                accepted(conninfo, password, known),
                wanted,
                "{conninfo} {password} {known}"
            );
        }
    }
}
