//! TLS to PostgreSQL by libpq's `sslmode` words.
//!
//! | `sslmode` | first try | where that fails | certificate |
//! |---|---|---|---|
//! | `disable` | plain | | |
//! | `allow` | plain | TLS, where `pg_hba.conf` refused | as `require` |
//! | `prefer` | TLS, plain where the server has none | plain, where TLS or `pg_hba.conf` refused | as `require` |
//! | `require` | TLS | | signed by `sslrootcert` where one is given, else not looked at |
//! | `verify-ca` | TLS | | signed by `sslrootcert` |
//! | `verify-full` | TLS | | signed by `sslrootcert`, and names the host |
//!
//! On a Unix socket `sslmode` means nothing (PostgreSQL manual, "SSL Support"). The host is looked
//! for in the certificate's subject alternative names alone, never in its common name, and a server's
//! certificate that is itself an authority (`CA:TRUE`, as `openssl req -x509` makes) is refused.

mod ends;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::observation::{ErrorKind, SourceError};
use crate::source::conninfo::{Root, SslMode, TlsSettings};
use crate::source::passfile::{credential, read};

use ends::Noting;
pub use ends::{PeerEnd, end};

/// Most bytes of a PEM file: several times the bundle of a whole operating system.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

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
    pub fn own_end(&self) -> Option<i64> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.as_ref().and_then(|loaded| loaded.own_end)
    }

    /// Whether a certificate that was accepted came from somebody the operator trusts.
    pub fn verifies(&self) -> bool {
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
pub fn file_states(settings: &TlsSettings) -> Result<Vec<FileState>, SourceError> {
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

/// What rustls is told; `peer` is told when the certificate of the server ends. Errors as [`Tls::new`].
pub fn client_config(settings: &TlsSettings, peer: &PeerEnd) -> Result<ClientConfig, SourceError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(tls)?;
    let roots = if settings.mode == SslMode::Disable { None } else { settings.root.as_ref() };
    let roots = roots.map(root_store).transpose()?;
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) if settings.mode == SslMode::VerifyFull => {
            let roots = Arc::new(roots);
            WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(tls)?
        }
        roots => Arc::new(Nameless::new(roots, &provider)),
    };
    let noting = Arc::new(Noting { verifier, peer: peer.clone() });
    let builder = builder.dangerous().with_custom_certificate_verifier(noting);
    let mut config = match &settings.client {
        Some(client) if settings.mode != SslMode::Disable => {
            let key = read(&client.key, MAX_PEM_BYTES)?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|e| credential(&client.key, format!("holds no private key: {e}")))?;
            builder
                .with_client_auth_cert(certificates(&client.cert)?, key)
                .map_err(|e| tls(format!("{}: {e}", client.cert.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    // PostgreSQL hands out no tickets, and a store for them would be memory for nothing.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// When the certificate ends that a server is shown; `None` where there is none.
pub fn own_end(settings: &TlsSettings) -> Option<i64> {
    let client = settings.client.as_ref().filter(|_| settings.mode != SslMode::Disable)?;
    end(certificates(&client.cert).ok()?.first()?)
}

fn root_store(root: &Root) -> Result<RootCertStore, SourceError> {
    let mut store = RootCertStore::empty();
    match root {
        Root::File(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|e| credential(path, e))?;
            }
        }
        Root::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(SourceError::new(
                    ErrorKind::Credential,
                    "sslrootcert=system: the operating system trusts no authority; \
                     hint: install ca-certificates",
                ));
            }
        }
    }
    Ok(store)
}

/// The certificates of a PEM file. [`ErrorKind::Credential`] where there are none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let pem = read(path, MAX_PEM_BYTES)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|e| credential(path, format!("is no PEM file: {e}")))?;
    if found.is_empty() {
        return Err(credential(path, "holds no certificate in PEM form"));
    }
    Ok(found)
}

fn tls(what: impl std::fmt::Display) -> SourceError {
    SourceError::new(ErrorKind::Tls, what)
}

/// Looks at who signed a certificate, or at nothing, and never at the name in it.
#[derive(Debug)]
struct Nameless {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Nameless {
    fn new(roots: Option<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::source::conninfo::{ClientCertificate, Conninfo};

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
            (with(&empty, &key), ErrorKind::Credential, "holds no certificate"),
            (with(&cert, &empty), ErrorKind::Credential, "holds no private key"),
            (with(&cert, &cert), ErrorKind::Credential, "holds no private key"),
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
