//! Whether a server's certificate is accepted.
//!
//! Where nobody verifies, it is asked for its key alone, with which the server proves that the certificate is
//! its own. Else it must come from one of the trusted ones, or be exactly one of them: a self-signed
//! certificate, also one that is an authority, is its own trust anchor, as for `psql` and `curl`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};
use webpki::RawPublicKeyEntity;

use super::certificate::{self, is_version_1, public_key, short_rsa};
use super::ends::{PeerEnd, end};
use super::words::{REISSUE, day};

/// Certificates beside the server's own that are looked at, the first ones: in TLS each is followed by the
/// one that signed it, and whoever answers chooses how many there are. A way to an authority is searched
/// among them, and the search grows with their factorial: of a hundred under one name it took many seconds
/// on the thread that looks.
pub(crate) const MOST_CHAIN: usize = 4;

/// Whom one trusts.
#[derive(Debug)]
pub struct Trusted {
    /// The authorities.
    pub roots: RootCertStore,
    /// The same as they stand in the file; empty for those of the operating system.
    pub listed: Vec<CertificateDer<'static>>,
}

/// Judges by these.
#[derive(Debug)]
pub struct Judge {
    /// `None`: nobody verifies.
    trusted: Option<Trusted>,
    /// The certificate must name the host.
    names: bool,
    algorithms: WebPkiSupportedAlgorithms,
    /// Is told when what was accepted ends.
    peer: PeerEnd,
}

impl Judge {
    /// One who asks for the host's name as well, where `names` says so.
    pub fn new(
        trusted: Option<Trusted>,
        names: bool,
        provider: &CryptoProvider,
        peer: PeerEnd,
    ) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { trusted, names, algorithms, peer })
    }

    fn accept(
        &self,
        shown: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(trusted) = &self.trusted else { return Ok(()) };
        if trusted.listed.iter().any(|listed| listed == shown) {
            in_time(shown, now)?;
        } else {
            self.signed(trusted, shown, above, now)?;
        }
        if self.names {
            let parsed = ParsedCertificate::try_from(shown)?;
            verify_server_name(&parsed, name).map_err(|_| other_name(shown, name))?;
        }
        Ok(())
    }

    fn signed(
        &self,
        trusted: &Trusted,
        shown: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(shown)?;
        let roots = &trusted.roots;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots,
            above,
            now,
            self.algorithms.all,
        );
        signed.map_err(|error| match &error {
            Error::InvalidCertificate(why) => {
                explained(why, trusted, shown, above).unwrap_or(error)
            }
            _ => error,
        })
    }

    fn key_is_there(
        &self,
        certificate: &CertificateDer<'_>,
        message: &[u8],
        signed: &DigitallySignedStruct,
        only_first: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) =
            known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let unreadable = || refused("it cannot be read, so its key is not known");
        let key = public_key(certificate).ok_or_else(unreadable)?;
        let raw = RawPublicKeyEntity::try_from(&key).map_err(|_| unreadable())?;
        let tried = if only_first { &algorithms[..1] } else { algorithms };
        let fits = |algorithm| raw.verify_signature(algorithm, message, signed.signature()).is_ok();
        if tried.iter().copied().any(fits) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(match short_rsa(certificate) {
            Some(bits) => short(bits),
            None => refused("whoever sent it did not prove to have its key"),
        })
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let above = above.get(..MOST_CHAIN).unwrap_or(above);
        self.accept(shown, above, name, now)?;
        self.peer.set(end(shown));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.key_is_there(certificate, message, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        use SignatureScheme as S;
        if matches!(signed.scheme, S::RSA_PKCS1_SHA256 | S::RSA_PKCS1_SHA384 | S::RSA_PKCS1_SHA512)
        {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.key_is_there(certificate, message, signed, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What is said of a certificate, in words of its own.
fn refused(what: impl std::fmt::Display) -> Error {
    Error::General(format!("invalid peer certificate: {what}"))
}

fn short(bits: usize) -> Error {
    refused(format_args!(
        "its key is RSA of {bits} bits, expected 2048 or more; hint: issue one for a new key: \
         openssl req -new -newkey rsa:3072 -nodes -keyout server.key -out server.csr"
    ))
}

/// A certificate that is trusted by itself is asked for its time alone.
fn in_time(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let at = now.as_secs();
    match certificate::words(shown).valid {
        Some((_, ends)) if at > ends => Err(refused(format_args!("it expired {}", day(ends)))),
        Some((begins, _)) if at < begins => {
            Err(refused(format_args!("it is not valid before {}", day(begins))))
        }
        Some(_) => Ok(()),
        None => Err(refused("it cannot be read, so its dates are not known")),
    }
}

fn other_name(shown: &CertificateDer<'_>, name: &ServerName<'_>) -> Error {
    let words = certificate::words(shown);
    let name = name.to_str();
    if words.hosts.is_empty() {
        return refused(format_args!(
            "not valid for name {name:?}: it has a host name in its subject only ({}), which does \
             not count; hint: {REISSUE}",
            words.subject
        ));
    }
    refused(format_args!(
        "not valid for name {name:?}, only for {}; hint: use one of these names as host, with the \
         address in `hostaddr`, or reissue the certificate for this name",
        words.hosts.join(", ")
    ))
}

/// Why no chain leads to a trusted one, where more can be said than the library does.
fn explained(
    why: &CertificateError,
    trusted: &Trusted,
    shown: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
) -> Option<Error> {
    match why {
        CertificateError::UnknownIssuer => {
            let words = certificate::words(shown);
            Some(refused(if words.issuer == words.subject {
                "it is self-signed and not one of the trusted certificates; hint: add it to the \
                 file of trusted certificates, or set the certificate of the authority that \
                 signed it"
                    .to_owned()
            } else if above.iter().any(|one| is_version_1(one)) {
                format!(
                    "a certificate that the server sends with it has version 1; hint: {REISSUE}"
                )
            } else {
                format!(
                    "no trusted authority signed it; it is signed by {:?}; hint: add the \
                     certificate of that authority to the file of trusted certificates, or let \
                     the server send the intermediate certificates too",
                    words.issuer
                )
            }))
        }
        CertificateError::BadSignature => {
            let bits = above.iter().chain(&trusted.listed).find_map(|one| short_rsa(one))?;
            Some(refused(format_args!(
                "it is signed with an RSA key of {bits} bits, expected 2048 or more; hint: let an \
                 authority with a longer key sign it"
            )))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring;

    use super::*;
    use crate::host::clock::Clock;

    type Ca = Issuer<'static, KeyPair>;

    fn params(name: &str, is_ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(vec![format!("{name}.test")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }

    /// An authority of this name that signed itself.
    fn authority(name: &str) -> (Ca, CertificateDer<'static>) {
        let (params, key) = (params(name, true), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        (Issuer::new(params, key), der)
    }

    fn signed(name: &str, is_ca: bool, by: &Ca) -> (Ca, CertificateDer<'static>) {
        let (params, key) = (params(name, is_ca), KeyPair::generate().unwrap());
        let der = params.signed_by(&key, by).unwrap().der().clone();
        (Issuer::new(params, key), der)
    }

    /// Judges for `root` alone.
    fn judge(root: &CertificateDer<'static>) -> Arc<Judge> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let trusted = Trusted { roots, listed: Vec::new() };
        Judge::new(Some(trusted), true, &ring::default_provider(), PeerEnd::default())
    }

    fn accepts(of: &Judge, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> bool {
        let name = ServerName::try_from("db1.test").unwrap();
        of.verify_server_cert(leaf, chain, &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_chain_is_followed_as_far_as_the_bound_and_no_further() {
        let (mut by, root) = authority("root");
        let judge = judge(&root);
        let mut chain = Vec::new();
        for number in 0..=MOST_CHAIN {
            let (_, leaf) = signed("db1", false, &by);
            assert!(accepts(&judge, &leaf, &chain), "{number} between");
            let (next, der) = signed(&format!("between{number}"), true, &by);
            by = next;
            // The nearest to the server first.
            chain.insert(0, der);
        }
        // One too many is not looked at.
        let (_, leaf) = signed("db1", false, &by);
        assert!(!accepts(&judge, &leaf, &chain), "{} between", chain.len());
    }

    /// Many certificates that could each have signed each other cost no look of another server.
    #[test]
    fn a_chain_that_leads_everywhere_is_given_up_at_once() {
        let judge = judge(&authority("root").1);
        let same: Vec<_> = (0..10).map(|_| authority("x")).collect();
        let others = (0..90).map(|_| authority("y").1);
        let chain: Vec<_> = others.chain(same.iter().map(|(_, der)| der.clone())).collect();
        let reversed: Vec<_> = chain.iter().rev().cloned().collect();
        let (_, leaf) = signed("db1", false, &same[0].0);
        for chain in [chain, reversed] {
            let began = Clock::Boot.now();
            assert!(!accepts(&judge, &leaf, &chain));
            let took = Clock::Boot.now().since(began);
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
    }
}
