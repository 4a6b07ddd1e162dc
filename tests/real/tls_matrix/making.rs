//! Keys and certificates, made by the commands that people use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The name that the certificates of servers have.
pub const HOST: &str = "db1.test";

/// The host's name and the address of the server of the tests.
pub fn names(address: &str) -> String {
    format!("subjectAltName=DNS:{HOST},IP:127.0.0.1,IP:{address}")
}

/// A folder of keys and certificates, each made once.
pub struct Making {
    dir: TempDir,
}

impl Making {
    pub fn new() -> Self {
        let made = Self { dir: TempDir::new().unwrap() };
        made.authority("root", "rsa2048", &[]);
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs openssl here.
    pub fn openssl(&self, words: &[&str]) {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir()).args(words);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// The file of a key of this kind, such as `rsa2048`, `p256` or `ed25519`, for this use.
    pub fn key(&self, kind: &str, of: &str) -> String {
        let file = format!("{of}.key");
        if self.path(&file).exists() {
            return file;
        }
        let made = format!("{kind}.made.key");
        if !self.path(&made).exists() {
            let curve = match kind {
                "p256" => "P-256",
                "p384" => "P-384",
                "p521" => "P-521",
                other => other,
            };
            let (rsa, ec);
            let options: &[&str] = if let Some(bits) = kind.strip_prefix("rsa") {
                rsa = format!("rsa_keygen_bits:{bits}");
                &["-algorithm", "RSA", "-pkeyopt", &rsa]
            } else if kind.starts_with("ed") {
                &["-algorithm", kind]
            } else {
                ec = format!("ec_paramgen_curve:{curve}");
                &["-algorithm", "EC", "-pkeyopt", &ec]
            };
            self.openssl(&[&["genpkey", "-quiet", "-out", &made], options].concat());
        }
        fs::copy(self.path(&made), self.path(&file)).unwrap();
        file
    }

    /// A self-signed authority; more options for `openssl req`.
    pub fn authority(&self, name: &str, kind: &str, more: &[&str]) {
        let (key, out, subject) =
            (self.key(kind, name), format!("{name}.crt"), format!("/CN={name}"));
        let own = [
            "req", "-x509", "-new", "-key", &key, "-subj", &subject, "-days", "3650", "-out", &out,
        ];
        self.openssl(&[&own, more].concat());
    }

    /// A certificate of `kind` with this extension, where it has one, signed by `by`.
    pub fn signed(&self, name: &str, kind: &str, by: &str, extension: Option<&str>, more: &[&str]) {
        self.signed_as(name, name, kind, by, extension, more);
    }

    /// The same, with this common name.
    pub fn signed_as(
        &self,
        name: &str,
        common: &str,
        kind: &str,
        by: &str,
        extension: Option<&str>,
        more: &[&str],
    ) {
        let key = self.key(kind, name);
        let [request, out, ext] = ["csr", "crt", "ext"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={common}");
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        let (ca, ca_key) = (format!("{by}.crt"), format!("{by}.key"));
        let mut words = vec![
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-out",
            &out,
        ];
        if let Some(extension) = extension {
            self.write(&ext, extension.replace(';', "\n"));
            words.extend(["-extfile", &ext]);
        }
        if !more.contains(&"-days") && !more.contains(&"-not_after") {
            words.extend(["-days", "365"]);
        }
        words.extend(more);
        self.openssl(&words);
    }

    /// A certificate whose time is over, or has not begun; `openssl ca` is the one that is told.
    pub fn at(&self, name: &str, begins: &str, ends: &str, extension: &str) {
        let key = self.key("p256", name);
        let [request, out, ext] = ["csr", "crt", "ext"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        self.write(&ext, extension);
        self.write("index", "");
        self.write("serial", "1000\n");
        self.write(
            "ca.cnf",
            "[ca]\ndefault_ca = it\n[it]\ndatabase = index\nserial = serial\nnew_certs_dir = .\n\
             default_md = sha256\npolicy = any\nunique_subject = no\n[any]\ncommonName = supplied\n",
        );
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-cert",
            "root.crt",
            "-keyfile",
            "root.key",
            "-in",
            &request,
            "-out",
            &out,
            "-startdate",
            begins,
            "-enddate",
            ends,
            "-extfile",
            &ext,
        ]);
    }
}
