//! What a Patroni that wants client certificates and a rolecall that has one are given.

use std::path::PathBuf;

use crate::fixtures::Ground;
use crate::fixtures::authority::Authority;
use crate::fixtures::patroni::Tls;

/// The name in the certificate of both nodes, which is none of the addresses they are asked on.
const NAME: &str = "orders.db.example";

/// Makes an authority and all that it signs, readable for Patroni's user.
pub fn make(ground: &Ground) -> Tls {
    let authority = Authority::new();
    let ca = std::fs::read_to_string(authority.ca()).expect("the authority's certificate");
    let pair = |name: &str, to: &str| -> (PathBuf, PathBuf) {
        let (cert, key) = authority.sign(name);
        (ground.write(&format!("{to}.crt"), &cert), ground.write(&format!("{to}.key"), &key))
    };
    pair("rolecall", "rolecall");
    let (cert, key) = pair(NAME, "patroni");
    Tls { ca: ground.write("ca.crt", &ca), cert, key }
}

/// The keys of a source for which [`make`] was called.
pub fn keys(ground: &Ground) -> String {
    let dir = ground.dir().display();
    format!(
        "ca_file = \"{dir}/ca.crt\"\ncert_file = \"{dir}/rolecall.crt\"\n\
         key_file = \"{dir}/rolecall.key\"\nserver_name = \"{NAME}\"\n"
    )
}
