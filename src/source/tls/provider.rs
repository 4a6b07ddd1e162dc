//! What TLS is made of: ring, and P-521 from the crate of that name, which ring does not have.
//!
//! `aws-lc-rs` has P-521 too, for a C library that is an order of magnitude heavier; docs/tls.md has the figures. Neither
//! has RSA keys below 2048 bits.

use std::sync::{Arc, LazyLock};

use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, KeyProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use rustls::sign::SigningKey;

use super::p521;

type Algorithms = Vec<&'static dyn SignatureVerificationAlgorithm>;

/// The provider of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let ring = ring::default_provider();
        Arc::new(CryptoProvider {
            signature_verification_algorithms: with_p521(ring.signature_verification_algorithms),
            key_provider: &Keys,
            ..ring
        })
    });
    Arc::clone(&PROVIDER)
}

/// For TLS 1.3 the first algorithm of a scheme counts alone, so P-521's come last in those that had one.
fn with_p521(of_ring: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let own = [
        (SignatureScheme::ECDSA_NISTP521_SHA512, p521::SHA512),
        (SignatureScheme::ECDSA_NISTP384_SHA384, p521::SHA384),
        (SignatureScheme::ECDSA_NISTP256_SHA256, p521::SHA256),
    ];
    let mut all: Algorithms = of_ring.all.to_vec();
    all.extend(own.map(|(_, algorithm)| algorithm));
    let mut mapping: Vec<(SignatureScheme, Algorithms)> =
        of_ring.mapping.iter().map(|(scheme, algorithms)| (*scheme, algorithms.to_vec())).collect();
    for (scheme, algorithm) in own {
        match mapping.iter_mut().find(|(known, _)| *known == scheme) {
            Some((_, algorithms)) => algorithms.push(algorithm),
            None => mapping.push((scheme, vec![algorithm])),
        }
    }
    // Once in the life of the process: rustls wants them for ever.
    let mapping: Vec<_> =
        mapping.into_iter().map(|(scheme, algorithms)| (scheme, &*Vec::leak(algorithms))).collect();
    WebPkiSupportedAlgorithms { all: Vec::leak(all), mapping: Vec::leak(mapping) }
}

/// ring's keys, and those of P-521.
#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(
        &self,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        match p521::signing_key(&key) {
            Some(own) => Ok(own),
            None => ring::sign::any_supported_type(&key),
        }
    }
}
