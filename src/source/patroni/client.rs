//! The HTTP client of one Patroni: its URL, TLS, and what went wrong on the way.

use std::error::Error;
use std::io;

use reqwest::Url;

use crate::config::PatroniTls;
use crate::observation::{ErrorKind, Expiry, SourceError};
use crate::source::conninfo::{Root, SslMode, TlsSettings};
use crate::source::resolve::Resolver;
use crate::source::tls::{self, FileState, PeerEnd};

/// A URL that is not the base of a Patroni REST API, or files that its TLS cannot use. Does not repeat
/// the URL, it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The URL.
    #[error("expected a URL such as http://127.0.0.1:8008, {0}")]
    Url(String),
    /// A file.
    #[error("{0}")]
    File(SourceError),
}

/// The client, and the files that it was made of.
pub struct Client {
    http: reqwest::Client,
    settings: TlsSettings,
    server_name: Option<String>,
    /// Where the server is found whatever name it is called by.
    resolver: Located,
    seen: Vec<FileState>,
    own_end: Option<i64>,
    peer: PeerEnd,
}

impl Client {
    /// A client for the host of `url`.
    pub fn new(url: &Url, files: &PatroniTls, resolver: Resolver) -> Result<Self, BadUrl> {
        let https = url.scheme() == "https";
        let settings = TlsSettings {
            mode: if https { SslMode::VerifyFull } else { SslMode::Disable },
            root: Some(files.ca_file.clone().map_or(Root::System, Root::File)),
            client: files.client.clone(),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let resolver = Located { resolver, host };
        let seen = tls::file_states(&settings).map_err(BadUrl::File)?;
        let peer = PeerEnd::default();
        let http = build(&settings, resolver.clone(), &peer)?;
        let own_end = tls::own_end(&settings);
        let server_name = files.server_name.clone();
        Ok(Self { http, settings, server_name, resolver, seen, own_end, peer })
    }

    /// The client of the files as they are now. Where new ones cannot be used the old ones stay in use,
    /// and that is said once.
    pub fn current(&mut self) -> &reqwest::Client {
        match tls::file_states(&self.settings) {
            Ok(states) if states != self.seen => {
                // Once per version, whatever comes of it.
                self.seen = states;
                match build(&self.settings, self.resolver.clone(), &self.peer) {
                    Ok(http) => {
                        self.http = http;
                        self.own_end = tls::own_end(&self.settings);
                    }
                    Err(error) => {
                        let hint = "the ones before are used on; put the right ones in their place";
                        tracing::warn!(%error, hint, "new TLS files to Patroni cannot be used");
                    }
                }
            }
            // Unchanged, or gone: a file that is being replaced is gone for a moment.
            Ok(_) | Err(_) => {}
        }
        &self.http
    }

    /// The URL under the name that the certificate has.
    pub fn renamed(&self, mut url: Url) -> Url {
        if let Some(name) = &self.server_name {
            // It was read as a name of a certificate, so it is a host's.
            let _ = url.set_host(Some(name));
        }
        url
    }

    /// When the own certificate ends, and the one that Patroni showed last.
    pub fn expiry(&self) -> Expiry {
        Expiry { own: self.own_end, peer: self.peer.get() }
    }
}

fn build(
    settings: &TlsSettings,
    resolver: Located,
    peer: &PeerEnd,
) -> Result<reqwest::Client, BadUrl> {
    let config = tls::client_config(settings, peer).map_err(BadUrl::File)?;
    reqwest::Client::builder()
        .dns_resolver(resolver)
        .tls_backend_preconfigured(config)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| BadUrl::Url(error.without_url().to_string()))
}

/// Looks one host up, whatever it is called.
#[derive(Clone)]
struct Located {
    resolver: Resolver,
    host: String,
}

impl reqwest::dns::Resolve for Located {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let Self { resolver, host } = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(&host).await?;
            // For port zero reqwest puts the one of its URL.
            let addresses =
                addresses.into_iter().map(|address| std::net::SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

/// Reads the base URL.
pub fn base(text: &str) -> Result<Url, BadUrl> {
    let url: Url = text.parse().map_err(|error| BadUrl::Url(format!("this is none: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(BadUrl::Url("got another scheme".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadUrl::Url("without a query and a fragment".into()));
    }
    Ok(url)
}

/// A page under the base.
pub fn page(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
    url
}

/// What is asked, in messages.
pub fn shown(asked: &Url) -> String {
    let mut url = asked.clone();
    // Both can fail only for a URL without a host, which `base` refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// What an https port is answered to http looks like: nothing, or bytes of TLS.
const SAY_HTTPS: &str =
    "hint: say https in `url` where Patroni has a certificate (restapi.certfile)";

/// Sorts a failure by its innermost cause that says something.
pub fn failure(error: &reqwest::Error, https: bool) -> SourceError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost: &dyn Error = error;
    let mut kind = ErrorKind::Unreachable;
    while let Some(here) = cause {
        if let Some(known) = here.downcast_ref::<SourceError>() {
            return known.clone();
        }
        if let Some(io) = here.downcast_ref::<io::Error>() {
            // An error of the TLS library travels inside one of the system's.
            if let Some(tls) = tls_within(io) {
                return of_tls(tls);
            }
            match io.kind() {
                io::ErrorKind::ConnectionRefused => kind = ErrorKind::Refused,
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof if https => {
                    return closed_by_tls();
                }
                _ => {}
            }
        } else if let Some(tls) = here.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        } else if let Some(hyper) = here.downcast_ref::<hyper::Error>() {
            if hyper.is_parse() && !https {
                return SourceError::new(
                    ErrorKind::Malformed,
                    format_args!("{hyper}; {SAY_HTTPS}"),
                );
            } else if hyper.is_parse() {
                kind = ErrorKind::Malformed;
            } else if hyper.is_incomplete_message() && error.is_request() {
                if https {
                    return closed_by_tls();
                }
                // Patroni that has a certificate does just this; so does one that is being stopped.
                return SourceError::new(kind, format_args!("{hyper}; {SAY_HTTPS}"));
            }
        }
        innermost = here;
        cause = here.source();
    }
    SourceError::new(kind, innermost)
}

/// `source()` of an error of the system skips what it holds, so that is looked into here.
fn tls_within(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(tls),
        None => tls_within(inner.downcast_ref::<io::Error>()?),
    }
}

fn of_tls(error: &rustls::Error) -> SourceError {
    match error {
        rustls::Error::InvalidMessage(_) => SourceError::new(
            ErrorKind::Mismatch,
            "answered something that is not TLS, as an http port does",
        ),
        other => SourceError::new(ErrorKind::PatroniTls, other),
    }
}

/// With TLS 1.3 a server that asks for a certificate and gets none resets what looked complete.
fn closed_by_tls() -> SourceError {
    let says = "closed the connection after the handshake; it may ask for a certificate (cert_file, key_file)";
    SourceError::new(ErrorKind::PatroniTls, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_goes_under_the_base_and_is_shown_without_secrets() {
        for (base_url, asked) in [
            ("http://127.0.0.1:8008", "http://127.0.0.1:8008/primary"),
            ("https://[::1]:8008/", "https://[::1]:8008/primary"),
            ("http://db/patroni/n0//", "http://db/patroni/n0/primary"),
            ("http://joe:secret@db:1/a", "http://db:1/a/primary"),
        ] {
            assert_eq!(shown(&page(&base(base_url).unwrap(), "primary")), asked);
        }
        for bad in ["", "db:8008", "ftp://db", "http://", "http://db/?lag=1", "http://db/#x"] {
            assert!(base(bad).is_err(), "{bad:?}");
        }
        let error = base("http://joe:secret@db:port/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
