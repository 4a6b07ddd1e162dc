//! ECDSA by P-521, for rustls.

use std::sync::Arc;

use ::p521::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use ::p521::ecdsa::{Signature, SigningKey as Secret, VerifyingKey};
use ring::digest;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id,
};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_cert::der::{Decode, Reader, SliceReader};

use super::key::{self, Kind};

/// Bytes of a number of this curve.
const FIELD: usize = 66;

/// P-521 with SHA-256.
pub(crate) const SHA256: &dyn SignatureVerificationAlgorithm =
    &Verify { hash: &digest::SHA256, id: alg_id::ECDSA_SHA256 };
/// P-521 with SHA-384.
pub(crate) const SHA384: &dyn SignatureVerificationAlgorithm =
    &Verify { hash: &digest::SHA384, id: alg_id::ECDSA_SHA384 };
/// P-521 with SHA-512.
pub(crate) const SHA512: &dyn SignatureVerificationAlgorithm =
    &Verify { hash: &digest::SHA512, id: alg_id::ECDSA_SHA512 };

/// The hash of a message as the number that is signed: shorter ones stand behind zeros (FIPS 186-5, 6.4).
fn number(hash: &'static digest::Algorithm, message: &[u8]) -> [u8; FIELD] {
    let mut number = [0; FIELD];
    let hash = digest::digest(hash, message);
    let begin = FIELD.saturating_sub(hash.as_ref().len());
    number[begin..].copy_from_slice(hash.as_ref());
    number
}

#[derive(Debug)]
struct Verify {
    hash: &'static digest::Algorithm,
    id: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for Verify {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let number = number(self.hash, message);
        key.verify_prehash(&number, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

/// The key, where it is one of this curve.
pub(crate) fn signing_key(der: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    if key::kind(der) != Some(Kind::Ecdsa("P-521")) {
        return None;
    }
    let sec1 = match der {
        PrivateKeyDer::Sec1(key) => key.secret_sec1_der().to_vec(),
        PrivateKeyDer::Pkcs8(key) => key::of_pkcs8(key.secret_pkcs8_der())?,
        _ => return None,
    };
    let secret = Secret::from_slice(&scalar(&sec1)?).ok()?;
    Some(Arc::new(Key(Arc::new(secret))))
}

/// The number of an `ECPrivateKey` (RFC 5915), in the length that the curve has.
fn scalar(sec1: &[u8]) -> Option<[u8; FIELD]> {
    let mut reader = SliceReader::new(sec1).ok()?;
    let found = reader.sequence(|fields| {
        u8::decode(fields)?;
        let secret = x509_cert::der::asn1::OctetString::decode(fields)?;
        // The curve and the public key, where they are there.
        fields.read_slice(fields.remaining_len())?;
        Ok(secret)
    });
    let found = found.ok()?;
    let mut number = [0; FIELD];
    let begin = FIELD.checked_sub(found.as_bytes().len())?;
    number[begin..].copy_from_slice(found.as_bytes());
    Some(number)
}

struct Key(Arc<Secret>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key of P-521")
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let own = SignatureScheme::ECDSA_NISTP521_SHA512;
        offered.contains(&own).then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        let public = VerifyingKey::from(&*self.0).to_encoded_point(false);
        Some(rustls::sign::public_key_to_spki(&alg_id::ECDSA_P521, public.as_bytes()))
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let number = number(&digest::SHA512, message);
        let signature: Signature = self
            .0
            .sign_prehash(&number)
            .map_err(|_| Error::General("the operating system returns no random numbers".into()))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}
