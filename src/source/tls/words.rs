//! What went wrong with TLS, in words: what it is, and the command that mends it. No message ends in a
//! name that the library's authors gave to their error.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InconsistentKeys, PeerIncompatible};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, SliceReader};

/// How to have a certificate anew that names its host, as version 3.
pub(crate) const REISSUE: &str = "reissue it: echo subjectAltName=DNS:HOST > ext; openssl x509 \
                                  -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
                                  -days 365 -extfile ext -out server.crt";

/// The algorithms of signatures that people have and that are not taken, by their object identifiers.
const SIGNATURES: [(&str, &str); 12] = [
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.113549.1.1.10", "RSA-PSS with unusual parameters"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
    ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
    ("1.3.101.113", "Ed448"),
];

/// An error of the library, for a person.
pub fn said(error: &Error) -> String {
    match error {
        // Our own words, or those of a provider.
        Error::General(words) => words.clone(),
        Error::Other(words) => words.to_string(),
        Error::InvalidCertificate(why) => of_certificate(why),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(why) => of_peer(why),
        Error::NoCertificatesPresented => "the server sent no certificate".to_owned(),
        Error::InvalidMessage(_) => {
            "the server answered something that is not TLS, or the connection corrupts TLS"
                .to_owned()
        }
        Error::DecryptError => {
            "a message cannot be decrypted: something changed it on the way".to_owned()
        }
        Error::PeerSentOversizedRecord => {
            "the server sent a record longer than TLS allows".to_owned()
        }
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the server violates the TLS protocol: check that PostgreSQL or Patroni itself \
             answers there, not a proxy"
                .to_owned()
        }
        Error::FailedToGetCurrentTime => "this host does not know the time".to_owned(),
        Error::FailedToGetRandomBytes => {
            "the operating system returns no random numbers".to_owned()
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the certificate and the key do not belong together".to_owned()
        }
        _ => "TLS failed for a reason that has no common name".to_owned(),
    }
}

fn of_certificate(why: &CertificateError) -> String {
    let what = match why {
        CertificateError::BadEncoding => "it cannot be read".to_owned(),
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it expired {}", date(*not_after))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "it is not valid before {}; hint: check the clock of this host with timedatectl",
            date(*not_before)
        ),
        CertificateError::UnknownIssuer => "no trusted authority signed it".to_owned(),
        CertificateError::BadSignature => {
            "the authority that it names did not make its signature".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id, ..
        } => {
            let signature = signature(signature_algorithm_id);
            format!(
                "it, or a certificate above it, is signed with {signature}; hint: sign it with \
                 -sha256"
            )
        }
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id,
            ..
        } => {
            let signature = signature(signature_algorithm_id);
            format!(
                "it is signed with {signature}, which does not fit the key of its authority; \
                 hint: sign it with -sha256"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not valid for this host name".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not meant for servers (extendedKeyUsage); hint: issue one with \
             extendedKeyUsage=serverAuth, or without that extension"
                .to_owned()
        }
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that rolecall does not know; hint: openssl x509 -noout \
             -text shows it"
                .to_owned()
        }
        CertificateError::Revoked => "it is revoked".to_owned(),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::UnsupportedCertVersion) => {
                format!("it has version 1, which contains no names; hint: {REISSUE}")
            }
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "it belongs to an authority (CA:TRUE) and is not the trusted certificate; hint: \
                 add exactly this certificate to the file of trusted certificates, or issue one \
                 with CA:FALSE"
                    .to_owned()
            }
            Some(webpki::Error::PathLenConstraintViolated | webpki::Error::EndEntityUsedAsCa) => {
                "a certificate that signed it does not belong to an authority, or not to one that \
                 may sign others; hint: openssl verify -CAfile CA SERVER shows which"
                    .to_owned()
            }
            Some(webpki::Error::NameConstraintViolation) => {
                "the authority above it may not sign for this name (nameConstraints)".to_owned()
            }
            Some(webpki::Error::InvalidSerialNumber) => {
                "its serial number is not allowed by RFC 5280; hint: reissue it".to_owned()
            }
            _ => "it does not follow RFC 5280; hint: openssl x509 -noout -text shows it".to_owned(),
        },
        _ => "it is not accepted".to_owned(),
    };
    format!("invalid peer certificate: {what}")
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            "the server and rolecall have no TLS cipher in common; hint: the key of its \
             certificate must be RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519, and \
             its ssl_ciphers must allow ECDHE with AES-GCM"
        }
        Alert::ProtocolVersion => {
            "the server and rolecall have no TLS version in common; rolecall supports 1.2 and \
             1.3; hint: raise ssl_max_protocol_version, or update the server's OpenSSL"
        }
        Alert::CertificateRequired | Alert::NoCertificate => {
            "the server requires a client certificate from rolecall, but none is configured"
        }
        Alert::UnknownCA => {
            "the server does not trust the authority that signed rolecall's certificate"
        }
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
            "the server does not accept rolecall's certificate; its log says why"
        }
        Alert::CertificateExpired => "the server says that rolecall's certificate has expired",
        Alert::CertificateRevoked => "the server says that rolecall's certificate is revoked",
        Alert::DecryptError | Alert::BadRecordMac | Alert::DecryptionFailed => {
            "the server could not verify rolecall's signature; if rolecall has a certificate, its \
             key may not belong to it"
        }
        Alert::AccessDenied => "the server refuses rolecall's certificate",
        Alert::UnrecognisedName => "the server has no certificate for the requested name",
        Alert::InternalError => "the server had an internal error; its log says why",
        _ => "the server ended the handshake; its log says why",
    }
    .to_owned()
}

fn of_peer(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            of_alert(AlertDescription::ProtocolVersion)
        }
        PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "the server accepts no signature that the key of rolecall's certificate can make"
                .to_owned()
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the TLS of the server does not support the extended master secret (RFC 7627)"
                .to_owned()
        }
        _ => of_alert(AlertDescription::HandshakeFailure),
    }
}

/// What an algorithm of a signature is called.
fn signature(id: &[u8]) -> String {
    let oid = SliceReader::new(id).and_then(|mut id| ObjectIdentifier::decode(&mut id));
    let Ok(oid) = oid else { return "an unknown algorithm".to_owned() };
    let oid = oid.to_string();
    let known = SIGNATURES.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| format!("the algorithm {oid}"), |(_, name)| (*name).to_owned())
}

fn date(at: UnixTime) -> String {
    day(at.as_secs())
}

/// A moment, in seconds since 1970, as a person reads it.
pub fn day(seconds: u64) -> String {
    // What no calendar of this library has is shown as its end.
    let seconds = seconds.min(253_402_300_799);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}
