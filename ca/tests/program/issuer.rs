//! An issuer of tokens by hand: what it publishes and what it signs is what a test wants, lies included.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A server on this machine that publishes a description and keys.
pub(crate) struct Issuer {
    /// What it is called.
    pub(crate) name: String,
    said: Arc<Mutex<Said>>,
}

struct Said {
    keys: Vec<Value>,
    is_up: bool,
}

impl Issuer {
    /// With the key `one`, of the seed 1.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Mutex::new(Said { keys: vec![published("one", 1)], is_up: true }));
        let (kept, own) = (Arc::clone(&said), name.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(&stream, &own, &kept.lock().unwrap());
            }
        });
        Self { name, said }
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[(&str, u8)]) {
        let keys = keys.iter().map(|(id, seed)| published(id, *seed)).collect();
        self.said.lock().unwrap().keys = keys;
    }

    /// Answers nobody any more, or again.
    pub(crate) fn set_up(&self, is_up: bool) {
        self.said.lock().unwrap().is_up = is_up;
    }

    /// What a good token of a job says now.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.name, "aud": "curfew", "sub": "repo:acme/app", "repository": "acme/app",
            "ref": "refs/heads/main", "iat": now(), "exp": now() + 300, "jti": unique(),
        })
    }

    /// A good token.
    pub(crate) fn token(&self) -> String {
        token(&json!({"alg": "EdDSA", "kid": "one", "typ": "JWT"}), &self.claims(), 1)
    }

    /// The same with other claims; `null` leaves one out.
    pub(crate) fn token_with(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        token(&json!({"alg": "EdDSA", "kid": "one"}), &claims, 1)
    }
}

/// A token with this header, signed with the key of this seed.
pub(crate) fn token(header: &Value, claims: &Value, seed: u8) -> String {
    raw(&header.to_string(), &claims.to_string(), seed)
}

/// The same from texts, which may be no good JSON.
pub(crate) fn raw(header: &str, claims: &str, seed: u8) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = pair(seed).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// The key of this seed.
pub(crate) fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// This second.
#[expect(clippy::disallowed_methods, reason = "tokens are of this moment, and a test has no clock")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn unique() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn published(id: &str, seed: u8) -> Value {
    let x = URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": x})
}

fn answer(mut stream: &TcpStream, own: &str, said: &Said) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(asked) = lines.next() else { return };
    for line in lines {
        if line.is_empty() {
            break;
        }
    }
    let body = if asked.contains("openid-configuration") {
        json!({"issuer": own, "jwks_uri": format!("{own}/keys")})
    } else {
        json!({"keys": said.keys})
    };
    let (status, body) =
        if said.is_up { ("200 OK", body.to_string()) } else { ("503 Gone", String::new()) };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}
