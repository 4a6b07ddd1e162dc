//! A REST API as Patroni's own: Python's `http.server` behind Python's `ssl`, as `patroni/api.py` sets both
//! up.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// HTTP/1.0, no length, closed at the end; `manner` says how.
const SERVER: &str = r#"
import http.server, json, os, socket, ssl, sys
cert, key, clients, manner = sys.argv[1:5]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"state": "running", "role": "primary", "timeline": 3, "xlog": {"location": 1}}'
        if manner == "cut":
            body = body[:40]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def shutdown_request(self, request):
        try:
            if manner == "whole":
                request.unwrap()
            else:
                os.close(request.detach())
                return
        except OSError:
            pass
        try:
            request.close()
        except OSError:
            pass
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients or None)
# As a Python before 3.10 lets itself be told.
context.set_ciphers("DEFAULT@SECLEVEL=0")
context.load_cert_chain(cert, key)
if clients:
    context.verify_mode = ssl.CERT_REQUIRED
server = Server(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// The same page by Patroni's own server: its sockets, its TLS, its threads.
const PATRONI: &str = r#"
import sys, unittest.mock
from patroni.api import RestApiHandler, RestApiServer
cert, key, clients, verify_client = sys.argv[1:5]
def answer(self):
    self.send_response(200)
    self.send_header("Content-Type", "application/json")
    self.end_headers()
    self.wfile.write(b'{"state": "running", "role": "primary", "timeline": 3, "xlog": {"location": 1}}')
RestApiHandler.do_GET = answer
config = {"listen": "127.0.0.1:0", "certfile": cert, "keyfile": key, "cafile": clients, "verify_client": verify_client}
server = RestApiServer(unittest.mock.MagicMock(), config)
print(server.socket.getsockname()[1], flush=True)
server.serve_forever()
"#;

/// The version of each Patroni in target/patroni, and its Python.
pub fn patronis() -> Vec<(String, PathBuf)> {
    let dirs = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/target/patroni"));
    let found =
        dirs.into_iter().flatten().flatten().map(|dir| {
            (dir.file_name().to_string_lossy().into_owned(), dir.path().join("bin/python"))
        });
    let mut found: Vec<_> = found.filter(|(_, python)| python.exists()).collect();
    found.sort();
    found.reverse();
    found
}

/// How the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With TLS's own sign.
    Whole,
    /// By closing it, as Patroni up to 2.1.4 does.
    Plain,
    /// The same, in the middle of the body.
    Cut,
}

/// One server; ends with the value.
pub struct Rest {
    child: Child,
    pub port: u16,
}

impl Rest {
    /// `None` where Python cannot use the files.
    pub fn start(
        conf: &Path,
        cert: &Path,
        key: &Path,
        clients: Option<&Path>,
        manner: Manner,
    ) -> Option<Self> {
        let word = match manner {
            Manner::Whole => "whole",
            Manner::Plain => "plain",
            Manner::Cut => "cut",
        };
        let mut command = Command::new("python3");
        command.arg("-c").arg(SERVER).args([cert, key, clients.unwrap_or(Path::new(""))]).arg(word);
        command.env("OPENSSL_CONF", conf);
        Self::run(command)
    }

    /// Patroni's own, of this version.
    pub fn patroni(
        python: &Path,
        cert: &Path,
        key: &Path,
        clients: &Path,
        verify_client: &str,
    ) -> Self {
        let mut command = Command::new(python);
        command.arg("-c").arg(PATRONI).args([cert, key, clients]).arg(verify_client);
        Self::run(command).expect("Patroni takes the files")
    }

    fn run(mut command: Command) -> Option<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(port) = line.trim().parse() else {
            let _ = child.wait();
            return None;
        };
        Some(Self { child, port })
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
