//! Certificates and keys as people have them, at a real PostgreSQL and at a REST API made as Patroni's: each
//! works as for `psql` and `curl`, or is refused in words. The tables in docs/tls.md are made here
//! (`ROLECALL_WRITE_TLS=1`), and compared.

mod making;
mod rest;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::fixtures::{lacks, lacks_postgres, missing};
use crate::server::{PORT, Server};
use making::{HOST, Making, names};
use rest::{Manner, Rest};
use rolecall::config::conninfo::ClientCertificate;
use rolecall::config::{self, PasswordFrom, PatroniTls};
use rolecall::look::error::SourceError;
use rolecall::source::patroni::Patroni;
use rolecall::source::postgres::Postgres;
use rolecall::source::resolve::Resolver;
use rolecall::watch::poller;

/// What judges beside rolecall, and what makes the certificates.
const PROGRAMS: &[&str] = &["psql", "curl", "openssl", "python3"];

/// No look may take longer.
const SOON: Duration = Duration::from_secs(20);

/// Old keys are loaded by the servers, as an older OpenSSL does.
const OLD_OPENSSL: &str = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n\
                           CipherString = DEFAULT@SECLEVEL=0\n";

/// What became of one way to connect.
type Outcome = Result<(), String>;

/// psql's or curl's, and rolecall's.
struct Cell {
    who: &'static str,
    theirs: Outcome,
    ours: Outcome,
}

impl Cell {
    fn shown(&self) -> String {
        let who = self.who;
        match (&self.theirs, &self.ours) {
            (Ok(()), Ok(())) => "yes".to_owned(),
            (Err(_), Err(_)) => "no".to_owned(),
            (Ok(()), Err(_)) => format!("**{who} alone**"),
            (Err(_), Ok(())) => "rolecall alone".to_owned(),
        }
    }
}

/// What stands in the way, as rolecall says it, without what differs from run to run.
fn plain(error: &str, made: &Making, address: &str) -> String {
    let text = error.replace(&made.dir().display().to_string(), "");
    let text = text.replace(address, "ADDRESS");
    let text =
        regex::Regex::new(r"^.*?error performing TLS handshake: ").unwrap().replace(&text, "");
    let text = regex::Regex::new(r"https://[^ ]*: ").unwrap().replace_all(&text, "").into_owned();
    let text = regex::Regex::new("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]*Z")
        .unwrap()
        .replace_all(&text, "DATE")
        .into_owned();
    text.split("; hint: ").next().unwrap().to_owned()
}

/// No message ends in a name from a library's source.
fn is_in_words(error: &str) {
    let known = ["PostgreSQL", "OpenSSL", "TLSv1", "GetAddrInfo", "OpenSSH"];
    let named = regex::Regex::new(r"(?-u)\b[A-Z][a-z]+[A-Z][A-Za-z]+\b|[A-Za-z]+\(|\{").unwrap();
    let found: Vec<_> = named
        .find_iter(error)
        .map(|found| found.as_str())
        .filter(|word| !known.contains(word))
        .collect();
    assert!(found.is_empty(), "{found:?}: {error}");
}

/// A row of the table: what it is called, the server's file, the file that is trusted, the host.
struct Shown {
    what: &'static str,
    file: &'static str,
    root: &'static str,
    host: String,
}

/// A table, and what is said of each that is refused.
struct Page {
    table: String,
    messages: String,
}

impl Page {
    fn new(head: &[&str]) -> Self {
        let table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        Self { table, messages: String::new() }
    }

    /// A line of the table, and the messages that are new. What others take is refused with a hint.
    fn row(&mut self, what: &str, cells: &[Cell], ground: &Ground) {
        let shown: Vec<_> = cells.iter().map(Cell::shown).collect();
        writeln!(self.table, "| {what} | {} |", shown.join(" | ")).unwrap();
        let refused = cells.iter().filter_map(|cell| cell.ours.as_ref().err());
        let mut said: Vec<_> = refused.map(|e| plain(e, &ground.made, &ground.address())).collect();
        said.sort();
        said.dedup();
        for said in said {
            writeln!(self.messages, "* {what}: {said}").unwrap();
        }
        for cell in cells {
            if let (Ok(()), Err(ours)) = (&cell.theirs, &cell.ours) {
                assert!(ours.contains("hint: "), "{what}, {} takes it: {ours}", cell.who);
            }
        }
    }
}

struct Ground {
    made: Making,
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Ground {
    fn new() -> Self {
        let made = Making::new();
        let mut server = Server::init(
            "hostssl all certified samehost cert\nhostssl all encrypted samehost trust\n\
             host all bare samehost trust",
            "ssl = on\nssl_ca_file = 'root.crt'",
        );
        server.env.push(("OPENSSL_CONF", server.data().join("old.cnf")));
        server.put_secret("data/old.cnf", OLD_OPENSSL);
        made.write("old.cnf", OLD_OPENSSL);
        server.put_secret("data/root.crt", &made.read("root.crt"));
        made.signed("plain", "p256", "root", Some(&names(&server.addr.to_string())), &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { made, server, runtime }
    }

    fn address(&self) -> String {
        self.server.addr.to_string()
    }

    /// PostgreSQL with these files, started anew.
    fn serve(&mut self, file: &str, running: bool) {
        if running {
            self.server.stop();
        }
        self.server.put_secret("data/server.crt", &self.made.read(&format!("{file}.crt")));
        self.server.put_secret("data/server.key", &self.made.read(&format!("{file}.key")));
        self.server.start();
    }

    fn psql(&self, words: &str) -> Outcome {
        let mut psql = Command::new("psql");
        psql.arg("-XAtqw")
            .arg("-d")
            .arg(words)
            .args(["-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]);
        psql.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.made.dir());
        let output = psql.output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn look(&self, words: &str) -> Outcome {
        let conninfo = words.parse().unwrap_or_else(|e| panic!("{words}: {e}"));
        let settings = config::Postgres { conninfo, password: PasswordFrom::Nowhere };
        let looked = Postgres::new(&settings, SOON, Resolver::system());
        let looked =
            looked.and_then(|mut source| self.runtime.block_on(poller::look(&mut source, SOON)));
        self.said(looked.map(|_| ()))
    }

    fn said(&self, looked: Result<(), SourceError>) -> Outcome {
        looked.map_err(|error| {
            is_in_words(&error.detail.replace(&self.made.dir().display().to_string(), ""));
            error.detail.to_string()
        })
    }

    fn both(&self, words: &str) -> Cell {
        Cell { who: "psql", theirs: self.psql(words), ours: self.look(words) }
    }

    fn rest(&self, rest: &Rest, host: &str, tls: PatroniTls) -> Cell {
        let client =
            tls.client.iter().flat_map(|own| [("--cert", &*own.cert), ("--key", &*own.key)]);
        let root = tls.ca_file.iter().map(|root| ("--cacert", &**root));
        let options: Vec<_> = root.chain(client).collect();
        let theirs = Self::curl(rest, host, &options);
        Cell { who: "curl", theirs, ours: self.patroni(rest, host, tls) }
    }

    fn curl(rest: &Rest, host: &str, more: &[(&str, &Path)]) -> Outcome {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--noproxy", "*"]);
        if host != "127.0.0.1" {
            curl.arg("--resolve").arg(format!("{host}:{}:127.0.0.1", rest.port));
        }
        for (option, path) in more {
            curl.arg(option).arg(path);
        }
        let output = curl.arg(format!("https://{host}:{}/primary", rest.port)).output().unwrap();
        let body = String::from_utf8_lossy(&output.stdout);
        // What is cut is for curl as whole as anything without a length.
        if output.status.success() && serde_json::from_str::<serde_json::Value>(&body).is_ok() {
            return Ok(());
        }
        Err(format!("{}{body}", String::from_utf8_lossy(&output.stderr)))
    }

    fn patroni(&self, rest: &Rest, host: &str, tls: PatroniTls) -> Outcome {
        let server_name = (host != "127.0.0.1").then(|| host.to_owned());
        let at = config::Patroni::at(&format!("https://127.0.0.1:{}", rest.port));
        let settings = config::Patroni { tls: PatroniTls { server_name, ..tls }, ..at };
        let looked = Patroni::new(&settings, Resolver::system());
        let mut source = looked.map_err(|error| {
            is_in_words(&error.to_string().replace(&self.made.dir().display().to_string(), ""));
            error.to_string()
        })?;
        let looked = self.runtime.block_on(poller::look(&mut source, SOON));
        self.said(looked.map(|seen| assert_eq!(seen.leader, Some(true))))
    }
}

/// The certificates of servers.
#[allow(clippy::too_many_lines, reason = "one line or two for each kind")]
fn servers(ground: &Ground) -> Vec<Shown> {
    let made = &ground.made;
    let address = ground.address();
    let names = names(&address);
    let mut rows = Vec::new();
    let mut row = |what, file, root| {
        rows.push(Shown { what, file, root, host: HOST.to_owned() });
    };
    for (what, kind) in [
        ("RSA 1024", "rsa1024"),
        ("RSA 2048", "rsa2048"),
        ("RSA 3072", "rsa3072"),
        ("RSA 4096", "rsa4096"),
        ("ECDSA P-256", "p256"),
        ("ECDSA P-384", "p384"),
        ("ECDSA P-521", "p521"),
        ("ECDSA secp256k1", "secp256k1"),
        ("Ed25519", "ed25519"),
        ("Ed448", "ed448"),
    ] {
        made.signed(kind, kind, "root", Some(&names), &[]);
        row(what, kind, "root.crt");
    }
    for (what, file, more) in [
        ("signed with SHA-1", "sha1", &["-sha1"][..]),
        ("signed with SHA-384", "sha384", &["-sha384"]),
        ("signed with SHA-512", "sha512", &["-sha512"]),
        (
            "signed with RSA-PSS",
            "pss",
            &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
        ),
    ] {
        made.signed(file, "p256", "root", Some(&names), more);
        row(what, file, "root.crt");
    }
    for (what, authority, kind, more) in [
        ("signed by P-521", "root521", "p521", &["-sha512"][..]),
        ("signed by P-384 with SHA-256", "root384", "p384", &[]),
        ("signed by P-256 with SHA-512", "root256", "p256", &[]),
        ("signed by Ed25519", "rooted", "ed25519", &[]),
        ("signed by RSA 1024", "root1024", "rsa1024", &[]),
        ("signed by an authority that signed itself with SHA-1", "rootsha1", "rsa2048", &["-sha1"]),
    ] {
        made.authority(authority, kind, more);
        let file = authority.replace("root", "by");
        let sign: &[&str] = if authority == "root256" { &["-sha512"] } else { &[] };
        made.signed(&file, "p256", authority, Some(&names), sign);
        row(
            what,
            Box::leak(file.into_boxed_str()),
            Box::leak(format!("{authority}.crt").into_boxed_str()),
        );
    }
    made.signed_as("v1", HOST, "rsa2048", "root", None, &[]);
    row("version 1, as PostgreSQL's manual makes it", "v1", "root.crt");
    made.key("rsa2048", "rootv1");
    made.openssl(&[
        "req",
        "-new",
        "-key",
        "rootv1.key",
        "-subj",
        "/CN=rootv1",
        "-out",
        "rootv1.csr",
    ]);
    made.openssl(&[
        "x509",
        "-req",
        "-in",
        "rootv1.csr",
        "-signkey",
        "rootv1.key",
        "-days",
        "365",
        "-out",
        "rootv1.crt",
    ]);
    made.signed("byv1", "p256", "rootv1", Some(&names), &[]);
    row("signed by an authority of version 1", "byv1", "rootv1.crt");
    for (what, file, more) in [
        ("self-signed, CA:TRUE, trusted itself", "selfca", "basicConstraints=critical,CA:TRUE"),
        ("self-signed, CA:FALSE, trusted itself", "selfno", "basicConstraints=critical,CA:FALSE"),
    ] {
        made.authority(file, "p256", &["-addext", &names, "-addext", more]);
        row(what, file, Box::leak(format!("{file}.crt").into_boxed_str()));
    }
    row("self-signed of version 1, trusted itself", "rootv1", "rootv1.crt");
    row("self-signed, another is trusted", "selfca", "root.crt");
    row("signed, trusted itself and its authority not", "p256", "p256.crt");
    made.signed("middle", "p256", "root", Some("basicConstraints=critical,CA:TRUE"), &[]);
    made.signed("leaf", "p256", "middle", Some(&names), &[]);
    row("a chain that is not sent, the root is trusted", "leaf", "root.crt");
    made.write("both.crt", made.read("root.crt") + &made.read("middle.crt"));
    row("a chain that is not sent, both are trusted", "leaf", "both.crt");
    row("a chain that is not sent, the middle alone is trusted", "leaf", "middle.crt");
    fs::copy(made.path("leaf.key"), made.path("chain.key")).unwrap();
    made.write("chain.crt", made.read("leaf.crt") + &made.read("middle.crt"));
    row("a chain that is sent", "chain", "root.crt");
    made.at("expired", "20200101000000Z", "20210101000000Z", &names);
    row("expired", "expired", "root.crt");
    made.at("future", "20400101000000Z", "20410101000000Z", &names);
    row("not valid yet", "future", "root.crt");
    made.signed("other", "p256", "root", Some("subjectAltName=DNS:db2.test"), &[]);
    row("another host's name", "other", "root.crt");
    made.signed_as("common", HOST, "p256", "root", Some("basicConstraints=CA:FALSE"), &[]);
    row("a name in the subject alone", "common", "root.crt");
    made.signed("wild", "p256", "root", Some("subjectAltName=DNS:*.test"), &[]);
    row("a wildcard below a single label", "wild", "root.crt");
    made.signed("pool", "p256", "root", Some("subjectAltName=DNS:*.pool.test"), &[]);
    made.signed(
        "client",
        "p256",
        "root",
        Some(&format!("{names};extendedKeyUsage=clientAuth")),
        &[],
    );
    row("meant for clients (extendedKeyUsage)", "client", "root.crt");
    made.write("crlf.crt", made.read("root.crt").replace('\n', "\r\n"));
    row("the trusted file with CRLF", "plain", "crlf.crt");
    made.write("bom.crt", format!("\u{feff}{}", made.read("root.crt")));
    row("the trusted file with a BOM", "plain", "bom.crt");
    made.write(
        "several.crt",
        format!("a comment\n{}{}", made.read("selfca.crt"), made.read("root.crt")),
    );
    row("the trusted file with a comment and several certificates", "plain", "several.crt");
    made.openssl(&["x509", "-in", "root.crt", "-outform", "DER", "-out", "root.der"]);
    row("the trusted file in DER", "plain", "root.der");
    made.signed(
        "address",
        "p256",
        "root",
        Some(&format!("subjectAltName=IP:{address},IP:127.0.0.1")),
        &[],
    );
    let host = "db1.pool.test".to_owned();
    rows.push(Shown { what: "a wildcard", file: "pool", root: "root.crt", host });
    rows.push(Shown {
        what: "an address, asked by it",
        file: "address",
        root: "root.crt",
        host: address,
    });
    rows
}

#[test]
fn certificates_of_servers_are_judged_as_psql_and_curl_do_or_refused_in_words() {
    if lacks_postgres() || lacks(PROGRAMS) {
        return;
    }
    let mut ground = Ground::new();
    let rows = servers(&ground);
    let address = ground.address();
    let mut page = Page::new(&[
        "the server's certificate",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
        "Patroni by https",
    ]);
    let mut running = false;
    for row in &rows {
        ground.serve(row.file, running);
        running = true;
        ground.server.sql(
            "DO $$BEGIN CREATE ROLE bare LOGIN; CREATE ROLE encrypted LOGIN; \
             EXCEPTION WHEN duplicate_object THEN END$$",
        );
        let root = ground.made.path(row.root);
        let to = |user: &str| {
            let host = &row.host;
            format!("host={host} hostaddr={address} port={PORT} user={user} dbname=postgres")
        };
        let trusted = format!("sslrootcert={}", root.display());
        let mut cells = Vec::new();
        for words in [
            // By whom TLS is needed: otherwise it is not asked for.
            format!("{} sslmode=allow", to("encrypted")),
            format!("{} sslmode=prefer", to("bare")),
            format!("{} sslmode=require", to("bare")),
            format!("{} sslmode=verify-ca {trusted}", to("bare")),
            format!("{} sslmode=verify-full {trusted}", to("bare")),
        ] {
            cells.push(ground.both(&words));
        }
        let files = [".crt", ".key"].map(|end| ground.made.path(&format!("{}{end}", row.file)));
        let rest =
            Rest::start(&ground.made.path("old.cnf"), &files[0], &files[1], None, Manner::Whole);
        let rest = rest.unwrap_or_else(|| panic!("{}: Python does not take it", row.what));
        let host = if row.host == address { "127.0.0.1" } else { &row.host };
        let tls = PatroniTls { ca_file: Some(root.clone()), ..PatroniTls::default() };
        cells.push(ground.rest(&rest, host, tls));
        page.row(row.what, &cells, &ground);
    }
    compare("servers", &page.table);
    compare("messages", &page.messages);
}

/// A file with its name, and what is done to it.
struct Own {
    what: &'static str,
    cert: PathBuf,
    key: PathBuf,
}

impl Own {
    fn tls(&self, root: &Path) -> PatroniTls {
        let client = Some(ClientCertificate { cert: self.cert.clone(), key: self.key.clone() });
        PatroniTls { ca_file: Some(root.to_owned()), client, ..PatroniTls::default() }
    }
}

/// Keys with a passphrase: what they are called, their certificates and their files.
fn encrypted(made: &Making) -> [(&'static str, &'static str, &'static str); 4] {
    let with = ["-passout", "pass:x", "-out"];
    let run = |words: &[&str], out| made.openssl(&[words, &with, &[out]].concat());
    run(&["pkey", "-in", "c-p256.key", "-aes256"], "encrypted.key");
    run(&["pkey", "-in", "c-rsa2048.key", "-traditional", "-aes256"], "old.key");
    run(&["pkey", "-in", "c-p256.key", "-traditional", "-aes256"], "old-ec.key");
    run(&["pkcs8", "-topk8", "-in", "c-p256.key", "-outform", "DER"], "encrypted.der");
    [
        ("an encrypted key", "c-p256.crt", "encrypted.key"),
        ("a key encrypted in the old way", "c-rsa2048.crt", "old.key"),
        ("an EC key encrypted in the old way", "c-p256.crt", "old-ec.key"),
        ("an encrypted key in DER", "c-p256.crt", "encrypted.der"),
    ]
}

fn clients(made: &Making) -> Vec<Own> {
    let mut rows = Vec::new();
    let mut row = |what, cert: &str, key: &str| {
        let key = made.path(key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        rows.push(Own { what, cert: made.path(cert), key });
    };
    let sign = |name: &str, kind: &str, more: &[&str]| {
        made.signed_as(name, "certified", kind, "root", Some("basicConstraints=CA:FALSE"), more);
    };
    for (what, kind) in [
        ("RSA 1024", "rsa1024"),
        ("RSA 2048", "rsa2048"),
        ("RSA 3072", "rsa3072"),
        ("RSA 4096", "rsa4096"),
        ("ECDSA P-256", "p256"),
        ("ECDSA P-384", "p384"),
        ("ECDSA P-521", "p521"),
        ("ECDSA secp256k1", "secp256k1"),
        ("Ed25519", "ed25519"),
        ("Ed448", "ed448"),
    ] {
        let name = format!("c-{kind}");
        sign(&name, kind, &[]);
        row(what, &format!("{name}.crt"), &format!("{name}.key"));
    }
    made.signed_as("c-v1", "certified", "rsa2048", "root", None, &[]);
    row("version 1", "c-v1.crt", "c-v1.key");
    sign("c-sha1", "p256", &["-sha1"]);
    row("signed with SHA-1", "c-sha1.crt", "c-sha1.key");
    let convert = |from: &str, to: &str, more: &[&str]| {
        made.openssl(&[&["pkey", "-in", from, "-out", to], more].concat());
    };
    convert("c-rsa2048.key", "pkcs1.key", &["-traditional"]);
    row("an RSA key in PKCS#1", "c-rsa2048.crt", "pkcs1.key");
    convert("c-p256.key", "sec1.key", &["-traditional"]);
    row("an EC key in SEC 1", "c-p256.crt", "sec1.key");
    made.openssl(&["ecparam", "-name", "prime256v1", "-out", "params"]);
    made.write("params.key", made.read("params") + &made.read("sec1.key"));
    row("an EC key with its parameters before it", "c-p256.crt", "params.key");
    convert("c-p521.key", "sec521.key", &["-traditional"]);
    row("a P-521 key in SEC 1", "c-p521.crt", "sec521.key");
    convert("c-p256.key", "der.key", &["-outform", "DER"]);
    row("a key in DER", "c-p256.crt", "der.key");
    convert("c-rsa2048.key", "der1.key", &["-traditional", "-outform", "DER"]);
    row("an RSA key in PKCS#1 and DER", "c-rsa2048.crt", "der1.key");
    for (what, cert, key) in encrypted(made) {
        row(what, cert, key);
    }
    made.write("crlf.key", made.read("c-p256.key").replace('\n', "\r\n"));
    made.write("crlf-own.crt", made.read("c-p256.crt").replace('\n', "\r\n"));
    row("both with CRLF", "crlf-own.crt", "crlf.key");
    made.write("bom.key", format!("\u{feff}{}", made.read("c-p256.key")));
    made.write("bom-own.crt", format!("\u{feff}{}", made.read("c-p256.crt")));
    row("both with a BOM", "bom-own.crt", "bom.key");
    made.write("one.pem", made.read("c-p256.key") + &made.read("c-p256.crt"));
    row("both in one file", "one.pem", "one.pem");
    made.signed("c-middle", "p256", "root", Some("basicConstraints=critical,CA:TRUE"), &[]);
    made.signed_as(
        "c-leaf",
        "certified",
        "p256",
        "c-middle",
        Some("basicConstraints=CA:FALSE"),
        &[],
    );
    made.write("c-chain.crt", made.read("c-leaf.crt") + &made.read("c-middle.crt"));
    row("with its chain", "c-chain.crt", "c-leaf.key");
    row("without its chain", "c-leaf.crt", "c-leaf.key");
    made.openssl(&["x509", "-in", "c-p256.crt", "-outform", "DER", "-out", "own.der"]);
    row("the certificate in DER", "own.der", "c-p256.key");
    row("another one's key", "c-p256.crt", "c-p384.key");
    made.openssl(&[
        "pkcs12",
        "-export",
        "-inkey",
        "c-p256.key",
        "-in",
        "c-p256.crt",
        "-passout",
        "pass:",
        "-out",
        "own.p12",
    ]);
    row("PKCS#12", "own.p12", "own.p12");
    rows
}

#[test]
fn certificates_of_rolecall_are_shown_as_psql_and_curl_do_or_refused_in_words() {
    if lacks_postgres() || lacks(PROGRAMS) {
        return;
    }
    let mut ground = Ground::new();
    ground.serve("plain", false);
    ground.server.sql("CREATE ROLE certified LOGIN; CREATE ROLE bare LOGIN");
    let rows = clients(&ground.made);
    let address = ground.address();
    let plain_files = ["plain.crt", "plain.key"].map(|name| ground.made.path(name));
    let root = ground.made.path("root.crt");
    let conf = ground.made.path("old.cnf");
    let rest =
        Rest::start(&conf, &plain_files[0], &plain_files[1], Some(&root), Manner::Whole).unwrap();
    let mut page = Page::new(&["rolecall's certificate and key", "PostgreSQL", "Patroni"]);
    for row in &rows {
        let to = format!(
            "host={HOST} hostaddr={address} port={PORT} user=certified dbname=postgres sslmode=require sslcert={} \
             sslkey={}",
            row.cert.display(),
            row.key.display()
        );
        let postgres = ground.both(&to);
        let patroni = ground.rest(&rest, HOST, row.tls(&root));
        mends(&postgres, row, &ground, &to);
        page.row(row.what, &[postgres, patroni], &ground);
    }
    compare("clients", &page.table);
    compare("messages of own", &page.messages);
}

/// What is said of an encrypted key names the command that makes one which is read; with the passphrase it does.
fn mends(refused: &Cell, row: &Own, ground: &Ground, to: &str) {
    let Some(said) = refused.ours.as_ref().err().filter(|said| said.contains("encrypted")) else {
        return;
    };
    let command = said.rsplit(": ").next().unwrap();
    assert!(command.starts_with("openssl pkey "), "{said}");
    let shell = command.replacen("openssl pkey", "openssl pkey -passin pass:x", 1);
    let done = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(done.status.success(), "{shell}: {}", String::from_utf8_lossy(&done.stderr));
    let (key, plain) = (row.key.display().to_string(), format!("{}.plain", row.key.display()));
    let mended = to.replace(&format!("sslkey={key}"), &format!("sslkey={plain}"));
    assert_eq!(ground.look(&mended), Ok(()), "{command}");
}

/// Patroni's own server of its REST API, as each version sets it up by `verify_client`, asked with and without
/// a certificate.
#[test]
fn patroni_is_shown_what_its_verify_client_wants_or_says_so() {
    if lacks_postgres() || lacks(PROGRAMS) {
        return;
    }
    let versions = rest::patronis();
    if versions.is_empty() {
        missing("Patroni in target/patroni");
        return;
    }
    let ground = Ground::new();
    let made = &ground.made;
    let root = made.path("root.crt");
    let extension = Some("basicConstraints=CA:FALSE");
    made.signed_as("c-own", "rolecall", "p256", "root", extension, &[]);
    made.signed("c-middle", "p256", "root", Some("basicConstraints=critical,CA:TRUE"), &[]);
    made.signed_as("c-leaf", "rolecall", "p256", "c-middle", extension, &[]);
    made.write("c-chain.crt", made.read("c-leaf.crt") + &made.read("c-middle.crt"));
    made.authority("stranger", "p256", &[]);
    made.signed_as("c-strange", "rolecall", "p256", "stranger", extension, &[]);
    let own = |what, cert: &str, key: &str| {
        let key = made.path(key);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        (what, Some(ClientCertificate { cert: made.path(cert), key }))
    };
    let shown = [
        ("none", None),
        own("one that its cafile signed", "c-own.crt", "c-own.key"),
        own("one with its chain", "c-chain.crt", "c-leaf.key"),
        own("one without its chain", "c-leaf.crt", "c-leaf.key"),
        own("one that another signed", "c-strange.crt", "c-strange.key"),
    ];
    let mut head = vec!["rolecall's certificate"];
    let asks = ["none", "optional", "required"];
    let titles = asks.map(|ask| format!("`verify_client: {ask}`"));
    head.extend(titles.iter().map(String::as_str));
    let files = ["plain.crt", "plain.key"].map(|name| made.path(name));
    let mut first: Option<Page> = None;
    for (version, python) in &versions {
        let mut page = Page::new(&head);
        let servers = asks.map(|ask| Rest::patroni(python, &files[0], &files[1], &root, ask));
        for (what, client) in &shown {
            let tls = PatroniTls {
                ca_file: Some(root.clone()),
                client: client.clone(),
                ..PatroniTls::default()
            };
            let cells: Vec<_> =
                servers.iter().map(|rest| ground.rest(rest, HOST, tls.clone())).collect();
            page.row(what, &cells, &ground);
        }
        match &first {
            None => {
                compare("verify_client", &page.table);
                compare("messages of verify_client", &page.messages);
                first = Some(page);
            }
            Some(first) => assert_eq!(page.table, first.table, "Patroni {version}"),
        }
    }
}

/// The body has no length: what ends it is the end of the connection, which anybody could forge. JSON has an
/// end of its own.
#[test]
fn an_answer_whose_end_was_not_sealed_counts_where_it_is_whole() {
    if lacks_postgres() || lacks(PROGRAMS) {
        return;
    }
    let ground = Ground::new();
    let files = ["plain.crt", "plain.key"].map(|name| ground.made.path(name));
    let root = ground.made.path("root.crt");
    let tls = PatroniTls { ca_file: Some(root.clone()), ..PatroniTls::default() };
    for (manner, whole) in [(Manner::Whole, true), (Manner::Plain, true), (Manner::Cut, false)] {
        let rest =
            Rest::start(&ground.made.path("old.cnf"), &files[0], &files[1], None, manner).unwrap();
        let theirs = Ground::curl(&rest, HOST, &[("--cacert", &root)]);
        let ours = ground.patroni(&rest, HOST, tls.clone());
        assert_eq!(ours.is_ok(), whole, "{manner:?}: {ours:?}; curl: {theirs:?}");
        if let Err(error) = ours {
            assert!(error.contains("JSON"), "{error}");
        }
    }
}

/// Compares a part of docs/tls.md, which stands between two marks, with what was found; or writes it.
fn compare(part: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- {mark} {part} -->\n"));
    let at = text.find(&begin).map(|at| at + begin.len());
    let to = text.find(&end);
    let (at, to) =
        at.zip(to).unwrap_or_else(|| panic!("docs/tls.md has no part {part:?}:\n{found}"));
    if std::env::var_os("ROLECALL_WRITE_TLS").is_some() {
        fs::write(&path, format!("{}{found}{}", &text[..at], &text[to..])).unwrap();
        return;
    }
    assert_eq!(&text[at..to], found, "docs/tls.md; ROLECALL_WRITE_TLS=1 writes it");
}
