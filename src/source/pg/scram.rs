//! SCRAM-SHA-256 as PostgreSQL speaks it (RFC 5802, RFC 7677; manual, "SASL Authentication").
//!
//! Both sides prove that they know the password, and neither tells it. The keys that follow from
//! password, salt and iterations are worth keeping, see [`super::keys`]; the rest is cheap.

use std::borrow::Cow;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// Most iterations that are done for a server; PostgreSQL's default is 4,096, and each costs about a
/// third of a microsecond.
pub const MAX_ITERATIONS: u32 = 100_000;

/// Whether the exchange is bound to the TLS connection it is made over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// To the server's certificate, by its hash (`tls-server-end-point`, RFC 5929).
    To(Vec<u8>),
    /// It could be, and the server did not offer it.
    NotOffered,
    /// It cannot be, or shall not.
    Not,
}

impl Bound {
    fn header(&self) -> &'static str {
        match self {
            Self::To(_) => "p=tls-server-end-point,,",
            Self::NotOffered => "y,,",
            Self::Not => "n,,",
        }
    }

    /// The word for the mechanism.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self {
            Self::To(_) => "SCRAM-SHA-256-PLUS",
            Self::NotOffered | Self::Not => "SCRAM-SHA-256",
        }
    }
}

/// What a server asks the keys to be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub salt: Vec<u8>,
    /// From 1 to [`MAX_ITERATIONS`].
    pub iterations: u32,
}

/// What both sides prove that they have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    client: [u8; 32],
    server: [u8; 32],
}

impl Keys {
    /// Makes them: this is what takes time.
    pub fn of(password: &str, asked: &Parameters) -> Self {
        // A password that SASLprep forbids is taken as it is, as libpq and the server do.
        let password = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let iterations = NonZeroU32::new(asked.iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, &asked.salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        Self { client: sign(&salted, &[b"Client Key"]), server: sign(&salted, &[b"Server Key"]) }
    }
}

fn sign(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut signing = hmac::Context::with_key(key);
    for part in parts {
        signing.update(part);
    }
    let mut signed = [0; 32];
    // The length is that of SHA-256.
    signed.copy_from_slice(signing.sign().as_ref());
    signed
}

/// What the client begins with.
pub(super) struct First {
    bound: Bound,
    nonce: String,
}

impl First {
    /// `nonce` is 18 random bytes.
    pub fn new(bound: Bound, nonce: &[u8]) -> Self {
        Self { bound, nonce: BASE64.encode(nonce) }
    }

    /// The message.
    pub fn message(&self) -> String {
        format!("{}{}", self.bound.header(), self.bare())
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads what the server answers; `Err` says what is wrong with it.
    pub fn answered(self, body: &[u8]) -> Result<Challenge, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "its challenge is not text")?;
        let mut parts = text.split(',');
        let mut part = |key| parts.next().and_then(|part| part.strip_prefix(key));
        let (nonce, salt, iterations) = (part("r="), part("s="), part("i="));
        let (Some(nonce), Some(salt), Some(iterations), None) =
            (nonce, salt, iterations, parts.next())
        else {
            return Err("its challenge does not follow SCRAM");
        };
        if !nonce.starts_with(&self.nonce) {
            return Err("its challenge is not for this client");
        }
        let salt = BASE64.decode(salt).map_err(|_| "its salt is not base64")?;
        let iterations = iterations.parse().ok().filter(|n| (1..=MAX_ITERATIONS).contains(n));
        let iterations = iterations.ok_or("it asks for no iterations, or for more than 100,000")?;
        let header = match &self.bound {
            Bound::To(hash) => [self.bound.header().as_bytes(), hash].concat(),
            bound => bound.header().as_bytes().to_vec(),
        };
        let last = format!("c={},r={nonce}", BASE64.encode(header));
        let signed = format!("{},{text},{last}", self.bare());
        Ok(Challenge { asked: Parameters { salt, iterations }, last, signed })
    }
}

/// What the server wants to be proven.
pub(super) struct Challenge {
    pub asked: Parameters,
    last: String,
    /// What both sides sign.
    signed: String,
}

impl Challenge {
    /// The client's proof.
    pub fn proof(&self, keys: &Keys) -> String {
        let stored = digest::digest(&digest::SHA256, &keys.client);
        let stored = hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref());
        let mut proof = sign(&stored, &[self.signed.as_bytes()]);
        proof.iter_mut().zip(keys.client).for_each(|(proof, key)| *proof ^= key);
        format!("{},p={}", self.last, BASE64.encode(proof))
    }

    /// Whether the server's last word proves that it knows the password, too.
    pub fn is_proven(&self, keys: &Keys, body: &[u8]) -> bool {
        let signature = body.strip_prefix(b"v=").and_then(|base64| BASE64.decode(base64).ok());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.server);
        signature.is_some_and(|tag| hmac::verify(&key, self.signed.as_bytes(), &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3, but for the user's name, which PostgreSQL leaves empty.
    fn exchange() -> (Challenge, Keys) {
        let first = First { bound: Bound::Not, nonce: "rOprNGfwEbeRWgbNEkqO".to_owned() };
        assert_eq!(first.message(), "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let server = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let mut challenge = first.answered(server).unwrap();
        challenge.signed = challenge.signed.replacen("n=,", "n=user,", 1);
        let keys = Keys::of("pencil", &challenge.asked);
        (challenge, keys)
    }

    #[test]
    fn both_sides_prove_what_the_standard_says() {
        let (challenge, keys) = exchange();
        let wanted = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                      p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(challenge.proof(&keys), wanted);
        assert!(challenge.is_proven(&keys, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", "v=x", "e=other", ""]
        {
            assert!(!challenge.is_proven(&keys, wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_challenge_that_cannot_be_is_refused() {
        let nonce = BASE64.encode([7; 18]);
        let answered = |said: &str| {
            let first = First::new(Bound::NotOffered, &[7; 18]);
            first.answered(said.replace("NONCE", &nonce).as_bytes()).map(|c| c.asked.iterations)
        };
        assert_eq!(answered("r=NONCEx,s=AA==,i=1"), Ok(1));
        assert_eq!(answered("r=NONCEx,s=AA==,i=100000"), Ok(100_000));
        for said in [
            "",
            "r=NONCEx,s=AA==,i=100001",
            "r=NONCEx,s=AA==,i=0",
            "r=NONCEx,s=AA==,i=-1",
            "r=NONCEx,s=AA==,i=2147483648",
            "r=NONCEx,s=AA==",
            "r=NONCEx,s=AA==,i=1,x=1",
            "r=NONCEx,s=A,i=1",
            "r=other,s=AA==,i=1",
            "m=ext,r=NONCEx,s=AA==,i=1",
        ] {
            assert!(answered(said).is_err(), "{said}");
        }
        assert!(First::new(Bound::Not, &[7; 18]).answered(b"r=\xff").is_err());
    }

    #[test]
    fn a_password_beyond_ascii_is_prepared_as_postgresql_does() {
        let asked = Parameters { salt: vec![1; 16], iterations: 2 };
        // A non-breaking space is a space, a soft hyphen is nothing (RFC 4013).
        assert!(Keys::of("a\u{a0}b", &asked) == Keys::of("a b", &asked));
        assert!(Keys::of("a\u{ad}b", &asked) == Keys::of("ab", &asked));
        // What is forbidden stays as it is.
        assert!(Keys::of("a\u{7}b", &asked) != Keys::of("ab", &asked));
    }
}
