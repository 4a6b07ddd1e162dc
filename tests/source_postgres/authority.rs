//! A certificate authority of the test's own.

#![allow(dead_code, reason = "each target uses its own part")]

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority and what it signed, as PEM files in a directory.
pub struct Authority {
    pub dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// An authority that nobody knew before.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.crt"), ca.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// Certificate and key, as PEM.
    pub fn sign(&self, name: &str) -> (String, String) {
        self.sign_until(name, 2099)
    }

    /// The same, with a certificate that ends as `year` begins.
    pub fn sign_until(&self, name: &str, year: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}
