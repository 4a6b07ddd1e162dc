//! A Patroni that answers over TLS, and can be made to refuse, to stall and to close too early.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

/// No connection is waited on for longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub const LEADER: &str = r#"{"state":"running","role":"primary","timeline":3}"#;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Signed {
    pub cert: String,
    pub key: String,
}

/// An authority that nobody knew before.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name` that ends as `year` begins.
    pub fn sign(&self, name: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { cert, key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

/// What the server does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Whole,
    /// Answers, and says nothing of the end of the connection.
    NoCloseNotify,
    /// Takes the connection and never says a word.
    Frozen,
    /// Shakes hands, and never answers.
    Mute,
}

/// A server on a port of its own. Its threads end with their connections.
pub struct Server {
    pub addr: SocketAddr,
}

impl Server {
    pub fn new(config: ServerConfig, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Arc::new(config);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let config = config.clone();
                let stream = stream.unwrap();
                thread::spawn(move || serve(stream, config, manner));
            }
        });
        Self { addr }
    }
}

/// A server's side of TLS; `clients`: who must have signed the certificate that a client must show.
pub fn tls(
    own: &Signed,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = match clients {
        Some(authority) => {
            let roots = Arc::new(authority.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let certificate = CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    builder.with_single_cert(vec![certificate], key).unwrap()
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, manner: Manner) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if manner == Manner::Frozen {
        until_closed(&mut stream);
        return;
    }
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            // The client has another opinion of the handshake.
            Ok(0) | Err(_) => return,
            Ok(_) => head.push(byte[0]),
        }
    }
    if manner == Manner::Mute {
        until_closed(&mut stream.sock);
        return;
    }
    // As Patroni's: no length, ended by the end of the connection.
    let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{LEADER}");
    let written = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    if written.is_ok() && manner == Manner::Whole {
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
    let _ = stream.sock.shutdown(std::net::Shutdown::Write);
    until_closed(&mut stream.sock);
}

/// Unread bytes would turn the end of the connection into a reset.
fn until_closed(stream: &mut TcpStream) {
    while !matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)) {}
}
