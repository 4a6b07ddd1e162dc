//! The HTTP client of one Patroni: its URL, TLS, and what went wrong on the way.

use std::io;
use std::time::Duration;

use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::MAX_BODY;
use super::answer::HELD;
use crate::config::PatroniTls;
use crate::config::conninfo::{Root, SslMode, TlsSettings};
use crate::look::error::{ErrorKind, SourceError};
use crate::look::observation::Expiry;
use crate::source::dial::Dialer;
use crate::source::resolve::Resolver;
use crate::source::tls::{self, FileState, PeerEnd};
use crate::source::web::{self, Answer, Broken, Request, Server, Wanted, io_within, within};

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
    tls: ClientConfig,
    settings: TlsSettings,
    /// The name that the certificate has, and by which the server is told whom it is asked for, where that is
    /// not the one of the URL.
    server_name: Option<String>,
    /// Where the server is found whatever name it is called by.
    host: String,
    resolver: Resolver,
    dialer: Dialer,
    seen: Vec<FileState>,
    own_end: Option<i64>,
    peer: PeerEnd,
}

impl Client {
    /// A client for the host of `url`.
    pub fn new(url: &Url, files: &PatroniTls, resolver: Resolver) -> Result<Self, BadUrl> {
        let https = url.scheme() == "https";
        let settings = TlsSettings {
            root: Some(files.ca_file.clone().map_or(Root::System, Root::File)),
            client: files.client.clone(),
            ..TlsSettings::of(if https { SslMode::VerifyFull } else { SslMode::Disable })
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let seen = tls::file_states(&settings).map_err(BadUrl::File)?;
        let peer = PeerEnd::default();
        Ok(Self {
            tls: tls::client_config(&settings, &peer).map_err(BadUrl::File)?,
            own_end: tls::own_end(&settings),
            server_name: files.server_name.clone(),
            dialer: Dialer::new(USUAL_LOOK),
            settings,
            host,
            resolver,
            seen,
            peer,
        })
    }

    /// The same, for looks of at most `timeout`.
    pub fn within(&mut self, timeout: Duration) {
        self.dialer = Dialer::new(timeout);
    }

    /// What is said of a look that was dropped: that the one who was asked for `page` was silent, and at what.
    pub(crate) fn waited_for(&self, page: &str) -> Option<String> {
        self.dialer.silent(page)
    }

    /// With the files as they are now. Where new ones cannot be used the old ones stay in use, and that is
    /// said once.
    fn refresh(&mut self) {
        match tls::file_states(&self.settings) {
            Ok(states) if states != self.seen => {
                // Once per version, whatever comes of it.
                self.seen = states;
                match tls::client_config(&self.settings, &self.peer) {
                    Ok(config) => {
                        self.tls = config;
                        self.own_end = tls::own_end(&self.settings);
                    }
                    Err(error) => {
                        let hint = "rolecall keeps using the old files; put correct ones in their \
                                    place";
                        tracing::warn!(%error, hint, "the new TLS files for Patroni cannot be used");
                    }
                }
            }
            // Unchanged, or gone: a file that is being replaced is gone for a moment.
            Ok(_) | Err(_) => {}
        }
    }

    /// Asks for a page. Errors as [`failure`] sorts them.
    pub async fn get(
        &mut self,
        url: Url,
        most: usize,
        wanted: impl Fn(u16) -> Wanted,
    ) -> Result<Answer, SourceError> {
        self.dialer.forget();
        self.refresh();
        let https = url.scheme() == "https";
        let url = self.renamed(url);
        if https {
            named(&url)?;
        }
        let Self { tls, resolver, dialer, host, .. } = self;
        let server = Server { resolver, dialer, host, tls };
        let asked = Request { url, headers: &[], most };
        let answer =
            web::get(&server, &asked, wanted).await.map_err(|broken| failure(&broken, https))?;
        match &answer.ended {
            // The status says all that matters, or the body does: it is JSON, which has an end of its own.
            Ok(()) => Ok(answer),
            Err(_) if answer.status != HELD => Ok(answer),
            Err(broken) if https && is_unsealed(broken) => Ok(answer),
            Err(broken) => Err(failure(broken, https)),
        }
    }

    /// The URL under the name that the certificate has.
    fn renamed(&self, mut url: Url) -> Url {
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

/// Until it is known how long a look may take.
const USUAL_LOOK: Duration = Duration::from_secs(1);

/// Whether a certificate can have the name of this URL.
fn named(url: &Url) -> Result<(), SourceError> {
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    ServerName::try_from(name).map(drop).map_err(|_| {
        let what = format_args!("{name:?} is no name that a certificate can have");
        SourceError::new(ErrorKind::PatroniTls, what)
    })
}

/// Whether the body ended with the connection, without TLS's own sign of an end: Patroni up to 2.1.4 just
/// closes.
fn is_unsealed(broken: &Broken) -> bool {
    let Broken::Http(error) = broken else { return false };
    io_within(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Reads the base URL.
pub fn base(text: &str) -> Result<Url, BadUrl> {
    let url: Url =
        text.parse().map_err(|error| BadUrl::Url(format!("but this is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(BadUrl::Url("but this has another scheme".into()));
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
const SAY_HTTPS: &str = "hint: use https in `url` if Patroni has a certificate (restapi.certfile)";

const NO_HTTP: &str = "the answer is not HTTP";

/// How to find out who answers.
const WHO: &str = "`ss -ltnp` on that host shows which program listens on the port";

/// What a failure means.
fn failure(broken: &Broken, https: bool) -> SourceError {
    match broken {
        Broken::Before(error) => error.clone(),
        Broken::Unreached(failed) => {
            let kind = |error: &io::Error| match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
                _ => ErrorKind::Unreachable,
            };
            // Nothing rests on which of them is named first: a refusal is no evidence here.
            let of = |(addr, error): &(std::net::SocketAddr, io::Error)| {
                SourceError::new(kind(error), format_args!("{addr}: {error}"))
            };
            let doubt = |(_, error): &&(_, io::Error)| kind(error) != ErrorKind::Refused;
            let counts = failed.0.iter().find(doubt).or(failed.0.first());
            let none = || SourceError::new(ErrorKind::Unresolved, "the host name has no address");
            counts.map_or_else(none, of)
        }
        Broken::Handshake(error) => match io_within(error) {
            Some(error) => of_io(error, https, false),
            None => SourceError::new(ErrorKind::Unreachable, broken),
        },
        Broken::Http(error) => match (io_within(error), within(error)) {
            (Some(error), _) => of_io(error, https, true),
            (None, Some(error)) => of_http(error, https),
            (None, None) => SourceError::new(ErrorKind::Unreachable, broken),
        },
        Broken::LongHead => SourceError::new(ErrorKind::TooLong, broken),
        Broken::TooLong => {
            let detail = format_args!("expected an answer of at most {MAX_BODY} bytes, got more");
            SourceError::new(ErrorKind::TooLong, detail)
        }
        Broken::Request => SourceError::new(ErrorKind::Malformed, broken),
    }
}

fn of_io(error: &io::Error, https: bool, after_handshake: bool) -> SourceError {
    if let Some(tls) = tls_within(error) {
        return of_tls(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
            if https =>
        {
            closed_by_tls(after_handshake)
        }
        // What an https port does to http.
        io::ErrorKind::ConnectionReset if after_handshake => SourceError::new(
            ErrorKind::Unreachable,
            format_args!("the connection was broken off (connection reset); {SAY_HTTPS}"),
        ),
        _ => SourceError::new(ErrorKind::Unreachable, error),
    }
}

fn of_http(error: &hyper::Error, https: bool) -> SourceError {
    if error.is_parse() && !https {
        SourceError::new(
            ErrorKind::Malformed,
            format_args!("{NO_HTTP} ({error}); {SAY_HTTPS}, {WHO}"),
        )
    } else if error.is_parse() {
        SourceError::new(ErrorKind::Malformed, format_args!("{NO_HTTP} ({error}); hint: {WHO}"))
    } else if !https && error.to_string().contains("unexpected message") {
        // It spoke before it was asked, as SSH and mail do.
        SourceError::new(ErrorKind::Malformed, format_args!("{NO_HTTP}; hint: {WHO}"))
    } else if !https && error.is_canceled() {
        // The connection ended before the request was on it.
        let what = format_args!(
            "the connection was closed before rolecall sent its request; {SAY_HTTPS}, {WHO}"
        );
        SourceError::new(ErrorKind::Unreachable, what)
    } else if https {
        closed_by_tls(true)
    } else {
        // Patroni that has a certificate does just this; so does one that is being stopped.
        SourceError::new(ErrorKind::Unreachable, format_args!("{error}; {SAY_HTTPS}"))
    }
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
            "the server answered something that is not TLS, as an http port does",
        ),
        other => SourceError::new(ErrorKind::PatroniTls, tls::said(other)),
    }
}

/// With TLS 1.3 a server that asks for a certificate and gets none resets what looked complete.
fn closed_by_tls(after_handshake: bool) -> SourceError {
    let says = if after_handshake {
        "the server closed the connection after the handshake; it may require a client \
         certificate (cert_file, key_file)"
    } else {
        "the server closed the connection during the TLS handshake; its log says why"
    };
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
