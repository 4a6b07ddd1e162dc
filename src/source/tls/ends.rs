//! What is noted of the certificates that a server shows, and how many of them are looked at.
//!
//! When they end is for those who must renew them. Nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Certificates beside the server's own that are looked at, the first ones: in TLS each is followed by the
/// one that signed it, and whoever answers chooses how many there are. A way to an authority is searched
/// among them, and the search grows with their factorial: of a hundred under one name it took many seconds
/// on the thread that looks.
pub const MOST_CHAIN: usize = 4;

/// No certificate ended at the beginning of 1970.
const NONE: i64 = 0;

/// When the certificate ends that a server showed last, in seconds since 1970. Clones share it:
/// the stream beneath a request is shown to nobody, so the verifier notes it.
#[derive(Debug, Clone, Default)]
pub struct PeerEnd(Arc<AtomicI64>);

impl PeerEnd {
    /// `None` where none was shown, or none that can be read.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|end| *end != NONE)
    }

    pub(super) fn set(&self, end: Option<i64>) {
        self.0.store(end.unwrap_or(NONE), Ordering::Relaxed);
    }
}

/// When a certificate ends, in seconds since 1970. `None` where it cannot be read: the handshake has its
/// own opinion of it.
pub fn end(der: &[u8]) -> Option<i64> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_secs()).ok()
}

/// Judges as `verifier` does, by a chain of few certificates, and notes when what that one accepted ends.
#[derive(Debug)]
pub(super) struct Noting {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) peer: PeerEnd,
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let of = &self.verifier;
        let intermediates = intermediates.get(..MOST_CHAIN).unwrap_or(intermediates);
        let verified =
            of.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)?;
        self.peer.set(end(end_entity));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
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
    fn judge(root: &CertificateDer<'static>) -> Noting {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Noting { verifier: verifier.build().unwrap(), peer: PeerEnd::default() }
    }

    fn accepts(of: &Noting, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> bool {
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

    #[test]
    fn the_end_is_read_in_both_forms_that_a_certificate_has_for_dates() {
        let key = KeyPair::generate().unwrap();
        // UTCTime until 2049, GeneralizedTime from 2050 on.
        for year in [1980, 2026, 2049, 2050, 4096] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 3, 1);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(end(certificate.der()), Some(params.not_after.unix_timestamp()), "{year}");
        }
        assert_eq!(end(b"no certificate"), None);
    }

    #[test]
    fn the_last_one_counts_for_all_who_hold_it() {
        let peer = PeerEnd::default();
        let held = peer.clone();
        assert_eq!(held.get(), None);
        for end in [Some(5), Some(-5), None] {
            peer.set(end);
            assert_eq!(held.get(), end);
        }
    }
}
