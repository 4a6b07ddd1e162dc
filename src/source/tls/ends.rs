//! When the certificates end that a server shows: for those who must renew them. Nothing is decided by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
