//! When certificates end, for those who must renew them. Nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

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

/// Judges as `verifier` does, and notes when what that one accepted ends.
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
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

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
