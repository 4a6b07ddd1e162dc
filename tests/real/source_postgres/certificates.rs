//! When the certificates of a look end, on the way from the handshake to the page of metrics.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rolecall::look::observation::{Expiry, Observation};
use rolecall::source::RoleSource;
use serde_json::Value;

use super::{look, source};
use crate::fixtures::authority::Authority;
use crate::fixtures::process::run;
use crate::fixtures::web::request;
use crate::fixtures::{AGENT_PORT, Ground, HTTP_PORT, Rolecall, eventually, lacks_postgres};
use crate::server::{PATIENCE, Server, put_private};

const ROLECALL: &str = env!("CARGO_BIN_EXE_rolecall");

/// The beginnings of 2100, 2101 and 2102, in seconds since 1970.
const AT_2100: Option<i64> = Some(4_102_444_800);
const AT_2101: Option<i64> = Some(4_133_980_800);
const AT_2102: Option<i64> = Some(4_165_516_800);

/// A server with a certificate until 2100, and a client certificate until 2101.
struct Secured {
    server: Server,
    authority: Authority,
}

impl Secured {
    fn new() -> Self {
        let hba = "hostssl all certified samehost cert\nhostssl all bare samehost trust\n\
                   hostnossl all plain samehost trust";
        let server = Server::init(hba, "ssl = on\nssl_ca_file = 'root.crt'");
        let mut secured = Self { server, authority: Authority::new() };
        let ca = fs::read_to_string(secured.authority.ca()).unwrap();
        secured.server.put_secret("data/root.crt", &ca);
        secured.put_server(2100);
        secured.put_client(2101);
        secured.server.start();
        secured
            .server
            .sql("CREATE ROLE certified LOGIN; CREATE ROLE bare LOGIN; CREATE ROLE plain LOGIN");
        secured
    }

    fn put_server(&self, year: i32) {
        let (cert, key) = self.authority.sign_until("db1.test", year);
        self.server.put_secret("data/server.crt", &cert);
        self.server.put_secret("data/server.key", &key);
    }

    /// Each file in one step, as a tool that rotates certificates does.
    fn put_client(&self, year: i32) {
        let (cert, key) = self.authority.sign_until("certified", year);
        for (name, text) in [("client.crt", cert), ("client.key", key)] {
            put_private(&self.path("new"), &text);
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.authority.dir.path().join(name)
    }

    /// How the server is reached over TCP.
    fn to(&self, rest: &str) -> String {
        format!("host=db1.test hostaddr={} dbname=postgres {rest}", self.server.addr)
    }

    fn ca(&self) -> String {
        format!("sslrootcert={}", self.authority.ca().display())
    }

    fn client(&self) -> String {
        let (cert, key) = (self.path("client.crt"), self.path("client.key"));
        format!("sslcert={} sslkey={}", cert.display(), key.display())
    }
}

#[tokio::test]
async fn a_look_says_when_both_certificates_end() {
    if lacks_postgres() {
        return;
    }
    let secured = Secured::new();
    let (ca, client) = (secured.ca(), secured.client());
    let socket = secured.server.socket_dir().display().to_string();
    let none = Expiry::default();
    let peer = Expiry { peer: AT_2100, ..none };
    let both = Expiry { own: AT_2101, peer: AT_2100 };
    for (conninfo, expected) in [
        (secured.to(&format!("user=certified sslmode=verify-full {ca} {client}")), both),
        (secured.to(&format!("user=certified sslmode=require {client}")), both),
        (secured.to(&format!("user=bare sslmode=verify-full {ca}")), peer),
        (secured.to(&format!("user=bare sslmode=verify-ca {ca}")), peer),
        (secured.to("user=bare sslmode=require"), peer),
        (secured.to("user=bare sslmode=prefer"), peer),
        // By TLS first, which shows a certificate and is refused; then without.
        (secured.to("user=plain sslmode=prefer"), none),
        (secured.to(&format!("user=plain sslmode=disable {client}")), none),
        (format!("host={socket} dbname=postgres user=postgres sslmode=require {client}"), none),
    ] {
        let seen = look(&conninfo).await.unwrap();
        assert_eq!(seen.expiry, expected, "{conninfo}");
    }

    // New ones are seen by the source that has seen the old ones.
    let conninfo = secured.to(&format!("user=certified sslmode=verify-full {ca} {client}"));
    let mut watched = source(&conninfo);
    assert_eq!(watched.observe().await.unwrap().expiry, both);
    secured.put_client(2102);
    assert_eq!(watched.observe().await.unwrap().expiry, Expiry { own: AT_2102, ..both });
    secured.put_server(2101);
    secured.server.sql("SELECT pg_reload_conf()");
    let renewed = Expiry { own: AT_2102, peer: AT_2101 };
    let seen =
        |seen: &Result<Observation, _>| seen.as_ref().is_ok_and(|seen| seen.expiry == renewed);
    super::eventually(&mut watched, seen).await.unwrap();
}

#[test]
fn metrics_and_ask_say_when_certificates_end() {
    if lacks_postgres() {
        return;
    }
    let secured = Secured::new();
    let ground = Ground::new();
    let http = ground.addr(1, HTTP_PORT);
    let words = format!("user=certified sslmode=verify-full {} {}", secured.ca(), secured.client());
    let config = format!(
        "[source]\nkind = \"postgres\"\nconninfo = \"{}\"\n\
         [[service]]\nname = \"primary\"\nroles = [\"primary\"]\nlisten = \"{}\"\n\
         [http]\nlisten = \"{http}\"\n",
        secured.to(&words),
        ground.addr(1, AGENT_PORT),
    );
    let mut rolecall = Rolecall::new(&ground, "rolecall", ROLECALL, &config);
    rolecall.start();
    let metric = "rolecall_certificate_expiry_timestamp_seconds{node=\"local\",source=\"postgres\"";
    for (whose, end) in [("peer", AT_2100), ("own", AT_2101)] {
        let line = format!("\n{metric},whose=\"{whose}\"}} {}\n", end.unwrap());
        eventually(PATIENCE, &line, || {
            let page = request(http, "GET /metrics", "", Some(PATIENCE))?.body;
            if page.contains(&line) { Ok(()) } else { Err(std::io::Error::other(page)) }
        });
    }

    let file = ground.write("asking.toml", &config);
    let ask = |words: &[&str]| {
        let mut command = Command::new(ROLECALL);
        command.arg("--config").arg(&file).arg("ask").args(words);
        run(command)
    };
    let text = ask(&[]);
    for said in ["its certificate expires in ", "our certificate expires in "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let told: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    let told = told.to_string();
    for said in ["\"certificate_ends\":4102444800", "\"own_certificate_ends\":4133980800"] {
        assert!(told.contains(said), "{said}: {told}");
    }
}
