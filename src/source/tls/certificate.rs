//! What a certificate says, read for messages and for the one thing that a handshake needs: the key. What
//! it decides is little, so that nothing is asked of a certificate that nobody verifies.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, Uint};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::key::{Kind, bits, curve};

/// The fields between the version and the key (RFC 5280, 4.1): serial number, signature, issuer, validity,
/// subject.
const BEFORE_KEY: usize = 5;

/// `[0] EXPLICIT`, as which a version other than the first is written.
const VERSION: u8 = 0xa0;

/// The key of a certificate, whatever else it says. `None` where it is none.
pub(crate) fn public_key(der: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let fields = fields(der).ok()?;
    let key = fields.get(BEFORE_KEY + usize::from(fields.first()?.first() == Some(&VERSION)))?;
    Some(SubjectPublicKeyInfoDer::from(key.clone()))
}

/// Whether it is one of version 1, which has no extensions: no names, and nobody says what it is for.
pub(crate) fn is_version_1(der: &[u8]) -> bool {
    fields(der).is_ok_and(|fields| fields.first().and_then(|field| field.first()) != Some(&VERSION))
}

/// The fields of what is signed, up to the key.
fn fields(der: &[u8]) -> x509_cert::der::Result<Vec<Vec<u8>>> {
    let mut reader = SliceReader::new(der)?;
    reader.sequence(|certificate| {
        let signed = certificate.sequence(|signed| {
            let mut fields = Vec::new();
            while fields.len() < BEFORE_KEY + 2 && !signed.is_finished() {
                fields.push(signed.tlv_bytes()?.to_vec());
            }
            signed.read_slice(signed.remaining_len())?;
            Ok(fields)
        })?;
        certificate.read_slice(certificate.remaining_len())?;
        Ok(signed)
    })
}

/// What kind of key this is; `None` where it cannot be read.
pub fn kind(key: &SubjectPublicKeyInfoDer<'_>) -> Option<Kind> {
    let key = SubjectPublicKeyInfoOwned::from_der(key.as_ref()).ok()?;
    Some(match key.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => {
            let mut reader = SliceReader::new(key.subject_public_key.raw_bytes()).ok()?;
            let modulus = reader.sequence(|fields| {
                let modulus = Uint::decode(fields)?;
                fields.read_slice(fields.remaining_len())?;
                Ok(modulus)
            });
            Kind::Rsa(bits(modulus.ok()?.as_bytes()))
        }
        "1.2.840.10045.2.1" => {
            let named: ObjectIdentifier = key.algorithm.parameters?.decode_as().ok()?;
            Kind::Ecdsa(curve(&named.to_string()))
        }
        "1.3.101.112" => Kind::Other("Ed25519"),
        "1.3.101.113" => Kind::Other("Ed448"),
        _ => Kind::Other("of another kind"),
    })
}

/// The length of an RSA key that is too short to prove anything.
pub(crate) fn short_rsa(der: &[u8]) -> Option<usize> {
    match kind(&public_key(der)?)? {
        Kind::Rsa(bits) if bits < 2048 => Some(bits),
        _ => None,
    }
}

/// What a message names of a certificate.
#[derive(Debug, Default)]
pub struct Words {
    /// Who signed it.
    pub issuer: String,
    /// Whose it is.
    pub subject: String,
    /// The hosts that it names; never its common name.
    pub hosts: Vec<String>,
    /// From when until when it is valid, in seconds since 1970.
    pub valid: Option<(u64, u64)>,
}

/// Reads what a message names; what cannot be read is empty.
pub fn words(der: &[u8]) -> Words {
    let Ok(certificate) = Certificate::from_der(der) else { return Words::default() };
    let signed = certificate.tbs_certificate;
    let validity = [signed.validity.not_before, signed.validity.not_after];
    let [begins, ends] = validity.map(|time| time.to_unix_duration().as_secs());
    let names = signed.get::<SubjectAltName>().ok().flatten();
    let hosts = names.into_iter().flat_map(|(_, names)| names.0).filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            v4 if v4.len() == 4 => {
                Some(<[u8; 4]>::try_from(v4).ok().map(std::net::Ipv4Addr::from)?.to_string())
            }
            v6 => Some(<[u8; 16]>::try_from(v6).ok().map(std::net::Ipv6Addr::from)?.to_string()),
        },
        _ => None,
    });
    Words {
        issuer: signed.issuer.to_string(),
        subject: signed.subject.to_string(),
        hosts: hosts.collect(),
        valid: Some((begins, ends)),
    }
}
