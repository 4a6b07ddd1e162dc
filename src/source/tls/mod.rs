//! TLS to PostgreSQL by libpq's `sslmode` words; docs/tls.md has what was tried.
//!
//! On a Unix socket `sslmode` means nothing (PostgreSQL manual, "SSL Support"). The host is looked for in the
//! certificate's subject alternative names alone, never in its common name. A certificate that is itself in
//! `sslrootcert` is accepted whoever signed it.

// | `sslmode` | first try | where that fails | certificate |
// |---|---|---|---|
// | `disable` | plain | | |
// | `allow` | plain | TLS, where `pg_hba.conf` refused | as `require` |
// | `prefer` | TLS, plain where the server has none | plain, where TLS or `pg_hba.conf` refused | as `require` |
// | `require` | TLS | | signed by `sslrootcert` where one is given, else not looked at |
// | `verify-ca` | TLS | | signed by `sslrootcert` |
// | `verify-full` | TLS | | signed by `sslrootcert`, and names the host |

mod certificate;
mod ends;
mod judge;
mod key;
mod p521;
mod pem;
mod provider;
mod words;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::config::conninfo::{ClientCertificate, Root, SslMode, TlsSettings, TlsVersions};
use crate::host::small_file::credential;
use crate::look::error::{ErrorKind, SourceError};

pub use ends::{PeerEnd, end};
use judge::{Judge, Trusted};
pub use pem::certificates;
use provider::provider;
pub use words::said;

/// What is done about encryption in one attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Plain.
    Disable,
    /// TLS, plain where the server has none.
    Prefer,
    /// TLS.
    Require,
}

impl Attempt {
    /// How it went, for a message.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Disable => "without TLS",
            Self::Prefer | Self::Require => "with TLS",
        }
    }
}

/// What to try in this mode, one after the other; a later one only where encryption was at fault.
pub fn attempts(mode: SslMode) -> &'static [Attempt] {
    match mode {
        SslMode::Disable => &[Attempt::Disable],
        SslMode::Allow => &[Attempt::Disable, Attempt::Require],
        SslMode::Prefer => &[Attempt::Prefer, Attempt::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Attempt::Require],
    }
}

/// The TLS side of a source: one configuration for all its servers, which clones share. It follows its
/// certificate files, so that rotated ones are used at the next look without a reload. The operating
/// system's authorities are read once.
#[derive(Clone)]
pub struct Tls {
    settings: Arc<TlsSettings>,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

/// What the files held.
struct Loaded {
    seen: Vec<FileState>,
    config: Result<Arc<ClientConfig>, SourceError>,
    own_end: Option<i64>,
}

impl Tls {
    /// Reads nothing yet.
    pub fn new(settings: TlsSettings) -> Self {
        Self { settings: Arc::new(settings), loaded: Arc::default() }
    }

    /// What rustls is told, read again where a file has changed, good or not.
    ///
    /// # Errors
    /// [`ErrorKind::Credential`] where a file cannot be read or holds no certificate or key,
    /// [`ErrorKind::Tls`] where certificate and key do not belong together.
    pub fn config(&self) -> Result<Arc<ClientConfig>, SourceError> {
        // The state first: a file replaced while it is read is read again at the next look.
        let seen = file_states(&self.settings)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.seen == seen) {
            return loaded.config.clone();
        }
        let config = client_config(&self.settings, &PeerEnd::default()).map(Arc::new);
        let own_end = own_end(&self.settings);
        loaded.insert(Loaded { seen, config, own_end }).config.clone()
    }

    /// When the certificate ends that a server is shown; `None` where there is none.
    pub(crate) fn own_end(&self) -> Option<i64> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().and_then(|loaded| loaded.own_end)
    }

    /// Whether a certificate that was accepted came from somebody the operator trusts.
    pub(crate) fn verifies(&self) -> bool {
        self.settings.verifies()
    }

    /// What to try, in this order.
    pub fn attempts(&self) -> &'static [Attempt] {
        attempts(self.settings.mode)
    }
}

/// What tells one version of a file from the next: inode, size, time of change in s and ns.
pub type FileState = (u64, u64, i64, i64);

/// The state of every file in use. [`ErrorKind::Credential`] where one is not there.
pub(crate) fn file_states(settings: &TlsSettings) -> Result<Vec<FileState>, SourceError> {
    files(settings)
        .map(|path| {
            let state = std::fs::metadata(path)
                .map_err(|e| credential(path, format!("cannot be read: {e}")))?;
            Ok((state.ino(), state.size(), state.mtime(), state.mtime_nsec()))
        })
        .collect()
}

fn files(settings: &TlsSettings) -> impl Iterator<Item = &Path> {
    let root = match &settings.root {
        Some(Root::File(path)) => Some(path.as_path()),
        Some(Root::System) | None => None,
    };
    let client = settings.client.iter().flat_map(|c| [c.cert.as_path(), c.key.as_path()]);
    let used = settings.mode != SslMode::Disable;
    root.into_iter().chain(client).filter(move |_| used)
}

/// What rustls is told; `peer` is told when the certificate of the server ends. Errors as [`Tls::config`].
pub(crate) fn client_config(
    settings: &TlsSettings,
    peer: &PeerEnd,
) -> Result<ClientConfig, SourceError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(settings.versions))
        .map_err(|error| tls(said(&error)))?;
    let used = settings.mode != SslMode::Disable;
    let trusted = settings.root.as_ref().filter(|_| used).map(trusted).transpose()?;
    let names = trusted.is_some() && settings.mode == SslMode::VerifyFull;
    let judge = Judge::new(trusted, names, &provider, peer.clone());
    let builder = builder.dangerous().with_custom_certificate_verifier(judge);
    let mut config = match settings.client.as_ref().filter(|_| used) {
        Some(client) => builder.with_client_cert_resolver(Arc::new(shown(client)?)),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.sni;
    // PostgreSQL hands out no tickets, and a store for them would be memory for nothing.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match versions {
        TlsVersions::Both => &BOTH,
        TlsVersions::Only12 => &BOTH[1..],
        TlsVersions::Only13 => &BOTH[..1],
    }
}

/// The certificate that a server is shown, of whatever version it is.
fn shown(client: &ClientCertificate) -> Result<SingleCertAndKey, SourceError> {
    let key = key::read(&client.key)?;
    let chain = certificates(&client.cert)?;
    let signing = provider().key_provider.load_private_key(key.clone_key());
    let signing = signing.map_err(|_| key::unusable(&client.key, &key))?;
    let of_certificate = chain.first().and_then(|own| certificate::public_key(own));
    if signing.public_key().is_some() && signing.public_key() != of_certificate {
        return Err(tls(format_args!(
            "{} does not belong to the key in {}; hint: openssl x509 -pubkey -noout -in \
             CERTIFICATE and openssl pkey -pubout -in KEY must print the same",
            client.cert.display(),
            client.key.display()
        )));
    }
    Ok(SingleCertAndKey::from(CertifiedKey::new(chain, signing)))
}

/// When the certificate ends that a server is shown; `None` where there is none.
pub(crate) fn own_end(settings: &TlsSettings) -> Option<i64> {
    let client = settings.client.as_ref().filter(|_| settings.mode != SslMode::Disable)?;
    end(certificates(&client.cert).ok()?.first()?)
}

/// Whom the settings name as trusted.
fn trusted(root: &Root) -> Result<Trusted, SourceError> {
    let mut roots = RootCertStore::empty();
    let mut listed = Vec::new();
    match root {
        Root::File(path) => {
            for certificate in certificates(path)? {
                // What is no authority may still be exactly what the server shows.
                if roots.add(certificate.clone()).is_err() && end(&certificate).is_none() {
                    let what = "contains a certificate that cannot be read; hint: openssl x509 \
                                -noout -text -in";
                    return Err(credential(path, format_args!("{what} {}", path.display())));
                }
                listed.push(certificate);
            }
        }
        Root::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(SourceError::new(
                    ErrorKind::Credential,
                    "sslrootcert=system: the operating system trusts no authority; hint: install \
                     the package ca-certificates",
                ));
            }
        }
    }
    Ok(Trusted { roots, listed })
}

fn tls(what: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Tls, what)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};

    use super::pem::MAX_PEM_BYTES;
    use super::*;
    use crate::config::conninfo::{ClientCertificate, Conninfo};

    fn settings(text: &str) -> TlsSettings {
        text.parse::<Conninfo>().unwrap().tls
    }

    fn error(settings: TlsSettings) -> SourceError {
        Tls::new(settings).config().map(|_| ()).unwrap_err()
    }

    fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let cert =
            CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let (cert_file, key_file) =
            (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        fs::write(&cert_file, cert.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }

    #[test]
    fn each_word_tries_what_libpq_tries() {
        use Attempt::{Disable, Prefer, Require};
        for (word, expected) in [
            ("disable", &[Disable][..]),
            ("allow", &[Disable, Require]),
            ("prefer", &[Prefer, Disable]),
            ("require", &[Require]),
            ("verify-ca", &[Require]),
            ("verify-full", &[Require]),
        ] {
            let conninfo = format!("host=h sslrootcert=/ca sslmode={word}");
            assert_eq!(attempts(settings(&conninfo).mode), expected, "{word}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(dir.path(), "db1");
        let (_, other_key) = certificate(dir.path(), "db2");
        let empty = dir.path().join("empty");
        fs::write(&empty, "").unwrap();
        let long = dir.path().join("long");
        let most = usize::try_from(MAX_PEM_BYTES).unwrap();
        let pem = fs::read_to_string(&cert).unwrap();
        fs::write(&long, format!("{pem}{}", "#".repeat(most + 1 - pem.len()))).unwrap();
        let with = |cert: &Path, key: &Path| TlsSettings {
            client: Some(ClientCertificate { cert: cert.into(), key: key.into() }),
            ..settings("sslmode=require")
        };
        assert!(Tls::new(with(&cert, &key)).config().is_ok());
        for (settings, kind, said) in [
            (settings("host=h sslmode=require sslrootcert=/none"), ErrorKind::Credential, "/none"),
            (with(&long, &key), ErrorKind::Credential, "longer than 1048576 bytes"),
            (with(&empty, &key), ErrorKind::Credential, "contains no certificate"),
            (with(&cert, &empty), ErrorKind::Credential, "contains no private key"),
            (with(&cert, &cert), ErrorKind::Credential, "contains no private key"),
            (with(&cert, &other_key), ErrorKind::Tls, "db1.crt"),
        ] {
            let error = error(settings);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.detail.contains(said), "{error}");
        }
        // What is never used is not asked for.
        assert!(Tls::new(settings("sslmode=disable sslrootcert=/none")).config().is_ok());
    }

    #[test]
    fn a_replaced_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, _) = certificate(dir.path(), "ca");
        let words = format!("host=h sslmode=verify-full sslrootcert={}", ca.display());
        let tls = Tls::new(settings(&words));
        let before = tls.config().unwrap();
        // One for all who look.
        assert!(Arc::ptr_eq(&before, &tls.clone().config().unwrap()));
        let (other, _) = certificate(dir.path(), "other");
        fs::rename(&other, &ca).unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config().unwrap()));
        fs::write(&ca, "nothing").unwrap();
        assert_eq!(tls.config().map(|_| ()).unwrap_err().kind, ErrorKind::Credential);
        fs::remove_file(&ca).unwrap();
        assert_eq!(tls.config().map(|_| ()).unwrap_err().kind, ErrorKind::Credential);
    }
}
