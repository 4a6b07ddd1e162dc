//! Private keys in files, in every form that people have them, and what is said of those that cannot be
//! used.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString, Uint};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::pem::{self, Form};
use crate::host::small_file::credential;
use crate::look::error::SourceError;

/// What a private key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RSA with a modulus of so many bits.
    Rsa(usize),
    /// ECDSA with this curve.
    Ecdsa(&'static str),
    /// Any other, by its name.
    Other(&'static str),
}

/// The curves that are told apart, by their object identifiers (RFC 5480, SEC 2, RFC 5639).
const CURVES: [(&str, &str); 8] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "secp224r1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
];

/// The name of a curve.
pub fn curve(oid: &str) -> &'static str {
    CURVES.iter().find(|(known, _)| *known == oid).map_or("an unknown curve", |(_, n)| n)
}

/// What a key is; `None` where it cannot be read.
pub fn kind(der: &PrivateKeyDer<'_>) -> Option<Kind> {
    match der {
        PrivateKeyDer::Pkcs1(key) => rsa_bits(key.secret_pkcs1_der()).map(Kind::Rsa),
        PrivateKeyDer::Sec1(key) => {
            Some(Kind::Ecdsa(curve(&sec1_curve(key.secret_sec1_der())?.to_string())))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let (algorithm, key) = pkcs8(key.secret_pkcs8_der())?;
            Some(match algorithm.oid.to_string().as_str() {
                "1.2.840.113549.1.1.1" => Kind::Rsa(rsa_bits(&key)?),
                "1.2.840.113549.1.1.10" => Kind::Other("an RSA key for PSS alone"),
                "1.2.840.10045.2.1" => {
                    let named: ObjectIdentifier = algorithm.parameters?.decode_as().ok()?;
                    Kind::Ecdsa(curve(&named.to_string()))
                }
                "1.3.101.112" => Kind::Other("an Ed25519 key"),
                "1.3.101.113" => Kind::Other("an Ed448 key"),
                "1.2.840.10040.4.1" => Kind::Other("a DSA key"),
                _ => Kind::Other("a key of another kind"),
            })
        }
        _ => None,
    }
}

/// What stands inside a key in the form of PKCS#8.
pub(crate) fn of_pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    pkcs8(der).map(|(_, key)| key)
}

fn pkcs8(der: &[u8]) -> Option<(AlgorithmIdentifierOwned, Vec<u8>)> {
    let mut reader = SliceReader::new(der).ok()?;
    let read = reader.sequence(|fields| {
        u8::decode(fields)?;
        let algorithm = AlgorithmIdentifierOwned::decode(fields)?;
        let key = OctetString::decode(fields)?;
        // Attributes and the public key, where they are there.
        fields.read_slice(fields.remaining_len())?;
        Ok((algorithm, key.into_bytes()))
    });
    read.ok()
}

fn rsa_bits(pkcs1: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let modulus = reader.sequence(|fields| {
        u8::decode(fields)?;
        let modulus = Uint::decode(fields)?;
        fields.read_slice(fields.remaining_len())?;
        Ok(modulus)
    });
    Some(bits(modulus.ok()?.as_bytes()))
}

/// The length of a number without the zeros before it.
pub fn bits(number: &[u8]) -> usize {
    let first = number.iter().position(|byte| *byte != 0);
    first.map_or(0, |at| (number.len() - at) * 8 - number[at].leading_zeros() as usize)
}

fn sec1_curve(sec1: &[u8]) -> Option<ObjectIdentifier> {
    let mut reader = SliceReader::new(sec1).ok()?;
    let named = reader.sequence(|fields| {
        u8::decode(fields)?;
        OctetString::decode(fields)?;
        let named = Any::decode(fields)?;
        fields.read_slice(fields.remaining_len())?;
        Ok(named)
    });
    // [0] EXPLICIT: an object identifier within.
    ObjectIdentifier::from_der(named.ok()?.value()).ok()
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC 1, as PEM or DER.
///
/// # Errors
/// [`crate::look::error::ErrorKind::Credential`], with what the file is and the command that makes of it
/// what is read.
pub fn read(path: &Path) -> Result<PrivateKeyDer<'static>, SourceError> {
    let bytes = pem::read_file(path)?;
    let shown = path.display();
    let refused = |what: &str, hint: &str| {
        let hint = hint.replace("KEY", &shown.to_string());
        Err(credential(path, format_args!("{what}; hint: {hint}")))
    };
    let decrypted = "rolecall cannot enter a passphrase at every poll; make a key without one: \
                     openssl pkey -in KEY -out KEY.plain && chmod 0600 KEY.plain";
    match pem::form(&bytes) {
        Form::Pem(text) => {
            if let Ok(key) = PrivateKeyDer::from_pem_slice(&text)
                && !pem::has_line(&text, "Proc-Type: 4,ENCRYPTED")
            {
                return Ok(key);
            }
            let begins = |label: &str| pem::has_line(&text, &format!("-----BEGIN {label}-----"));
            if begins("ENCRYPTED PRIVATE KEY") || pem::has_line(&text, "Proc-Type: 4,ENCRYPTED") {
                return refused("contains an encrypted private key", decrypted);
            }
            if begins("OPENSSH PRIVATE KEY") {
                return refused(
                    "contains an OpenSSH key, expected PKCS#8, PKCS#1 or SEC 1",
                    "convert it to PKCS#8: ssh-keygen -p -m PKCS8 -f KEY",
                );
            }
            if begins("DSA PRIVATE KEY") {
                return refused("contains a DSA key", NEW_KEY);
            }
            match PrivateKeyDer::from_pem_slice(&text) {
                Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                    refused("contains no private key", "choose the file that contains the key")
                }
                _ => refused("contains no private key that can be read", pem::BROKEN),
            }
        }
        Form::Der => match of_der(&bytes) {
            Some(key) => Ok(key),
            None if is_encrypted(&bytes) => refused(
                "contains an encrypted private key",
                &decrypted.replace("-in KEY", "-inform DER -in KEY"),
            ),
            None => refused(
                "is binary (DER), expected a private key in PEM form",
                "if it is a PKCS#12 file: openssl pkcs12 -in KEY -nodes -nocerts -out KEY.pem",
            ),
        },
        Form::Utf16 => refused("is UTF-16 text, expected PEM", pem::UTF16),
        Form::Nothing => {
            refused("contains no private key", "choose the file that contains the key")
        }
    }
}

/// What is said of a key that can be read and not used.
pub(crate) fn unusable(path: &Path, key: &PrivateKeyDer<'_>) -> SourceError {
    let what = match kind(key) {
        Some(Kind::Rsa(bits)) => {
            format!("contains an RSA key of {bits} bits, expected 2048 to 4096")
        }
        Some(Kind::Ecdsa(curve)) => {
            format!("contains an ECDSA key with {curve}, expected P-256, P-384 or P-521")
        }
        Some(Kind::Other(what)) => format!("contains {what}, expected RSA, ECDSA or Ed25519"),
        None => "contains a private key that cannot be read".to_owned(),
    };
    let hint = NEW_KEY.replace("KEY", &path.display().to_string());
    credential(path, format_args!("{what}; hint: {hint}"))
}

const NEW_KEY: &str = "make a new key and let an authority sign a certificate for it: openssl \
                       genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.new";

fn of_der(bytes: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let all = [
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes.to_vec())),
        PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(bytes.to_vec())),
        PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(bytes.to_vec())),
    ];
    all.into_iter().find(|key| kind(key).is_some())
}

/// `EncryptedPrivateKeyInfo`: an algorithm, and an octet string (RFC 5958).
fn is_encrypted(der: &[u8]) -> bool {
    let Ok(mut reader) = SliceReader::new(der) else { return false };
    let read = reader.sequence(|fields| {
        let algorithm = AlgorithmIdentifierOwned::decode(fields)?;
        OctetString::decode(fields)?;
        Ok(algorithm)
    });
    read.is_ok()
}
