//! Certificates in files, and what a file is that holds none.

use std::borrow::Cow;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::host::small_file::{self, credential};
use crate::look::error::SourceError;

/// Most bytes of a PEM file: several times the bundle of a whole operating system.
pub(crate) const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// What to do about a file of which a part was lost.
pub(crate) const BROKEN: &str = "the text between the lines BEGIN and END is not base64, or one \
                                 of these lines is missing: copy the file again";

/// What to do about a file that an editor or a shell of Windows wrote.
pub(crate) const UTF16: &str = "iconv -f UTF-16 -t UTF-8";

/// Reads a file with certificates or a key, up to a bound.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    small_file::read(path, MAX_PEM_BYTES)
}

/// What a file looks like.
pub enum Form<'a> {
    /// Text with a line that begins a section; without a mark of its encoding before it.
    Pem(Cow<'a, [u8]>),
    /// Binary, as ASN.1 begins.
    Der,
    /// Text of 16 bits a sign.
    Utf16,
    /// None of these.
    Nothing,
}

/// Looks at the bytes of a file.
pub fn form(bytes: &[u8]) -> Form<'_> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Form::Utf16;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.windows(11).any(|window| window == b"-----BEGIN ") {
        true => Form::Pem(Cow::Borrowed(text)),
        // SEQUENCE, with a length of its own.
        false if bytes.first() == Some(&0x30) => Form::Der,
        false => Form::Nothing,
    }
}

/// Whether a line of the text is this one.
pub(crate) fn has_line(text: &[u8], wanted: &str) -> bool {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
        .any(|line| line.trim_ascii_end() == wanted.as_bytes())
}

/// The certificates of a PEM file. [`crate::look::error::ErrorKind::Credential`] where there are none, with
/// what the file is and the command that makes of it what is read.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let bytes = read_file(path)?;
    let shown = path.display();
    let refused =
        |what: &str, hint: String| Err(credential(path, format_args!("{what}; hint: {hint}")));
    let text = match form(&bytes) {
        Form::Pem(text) => text,
        Form::Der if Certificate::from_der(&bytes).is_ok() => {
            return refused(
                "contains a certificate in DER form, expected PEM",
                format!("openssl x509 -inform DER -in {shown} -out {shown}.pem"),
            );
        }
        Form::Der => {
            return refused(
                "is binary (DER), expected certificates in PEM form",
                format!(
                    "if it is a PKCS#12 file: openssl pkcs12 -in {shown} -nokeys -out \
                     {shown}.pem; if it is PKCS#7: openssl pkcs7 -inform DER -in {shown} \
                     -print_certs -out {shown}.pem"
                ),
            );
        }
        Form::Utf16 => {
            return refused(
                "is UTF-16 text, expected PEM",
                format!("{UTF16} {shown} > {shown}.pem"),
            );
        }
        Form::Nothing => {
            return refused(
                "contains no certificate in PEM form",
                "choose the file that contains the certificate".to_owned(),
            );
        }
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let Ok(found) = found else {
        return refused("is not a complete PEM file", BROKEN.to_owned());
    };
    if !found.is_empty() {
        return Ok(found);
    }
    for (label, what, hint) in [
        (
            "TRUSTED CERTIFICATE",
            "contains a certificate in OpenSSL's own form, expected a plain one",
            format!("openssl x509 -in {shown} -out {shown}.pem"),
        ),
        (
            "PKCS7",
            "contains certificates as PKCS#7, expected plain ones",
            format!("openssl pkcs7 -in {shown} -print_certs -out {shown}.pem"),
        ),
        (
            "CERTIFICATE REQUEST",
            "contains a certificate request and no certificate",
            "let an authority sign the request".to_owned(),
        ),
    ] {
        if has_line(&text, &format!("-----BEGIN {label}-----")) {
            return refused(what, hint);
        }
    }
    refused("contains no certificate", "choose the file that contains the certificate".to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// The same certificate as each tool and each system writes it.
    #[test]
    fn a_file_is_read_however_its_lines_end_or_said_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.crt");
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::default().self_signed(&key).unwrap();
        let text = cert.pem().replace("\r\n", "\n");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            certificates(&path).map(|found| found.len())
        };
        for (bytes, count) in [
            (text.clone().into_bytes(), 1),
            (text.replace('\n', "\r\n").into_bytes(), 1),
            ([b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat(), 1),
            (format!("Certificate:\n  Data\n{text}{text}").into_bytes(), 2),
            (format!("{}{text}", key.serialize_pem()).into_bytes(), 1),
            (text.trim_end().as_bytes().to_vec(), 1),
        ] {
            assert_eq!(read(&bytes), Ok(count), "{}", String::from_utf8_lossy(&bytes));
        }
        let utf16: Vec<u8> =
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for (bytes, said) in [
            (cert.der().to_vec(), "openssl x509 -inform DER -in"),
            (b"0\x03\x02\x01\x03".to_vec(), "openssl pkcs12"),
            (utf16, "iconv -f UTF-16"),
            (b"hello".to_vec(), "contains no certificate in PEM form"),
            (key.serialize_pem().into_bytes(), "contains no certificate"),
            (text.replace("CERTIFICATE", "TRUSTED CERTIFICATE").into_bytes(), "OpenSSL's own form"),
            (text.replace("CERTIFICATE", "PKCS7").into_bytes(), "-print_certs"),
            (
                text.replace("CERTIFICATE", "CERTIFICATE REQUEST").into_bytes(),
                "a certificate request",
            ),
            (text.replace("-----END", "----END").into_bytes(), "is not a complete PEM file"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.detail.contains(said), "{said}: {error}");
        }
    }
}
