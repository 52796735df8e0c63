//! A small authority that speaks the interface: enough to log in, be certified and lock.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{PrivateKey, PublicKey, SshSig};
use wire::api::{CertificateAsk, ChallengeAsk, LoginAsk};
use wire::identifier::Fingerprint;
use wire::time::Timestamp;

/// An authority on loopback.
pub(crate) struct Authority {
    pub(crate) url: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) user_key: PrivateKey,
    pub(crate) host_key: PrivateKey,
    state: Arc<Mutex<State>>,
}

/// What the test decides and what it saw.
pub(crate) struct State {
    /// The key that may log in.
    pub(crate) enrolled: Option<PublicKey>,
    /// `GET /v1/hosts`.
    pub(crate) hosts: Value,
    /// Other answers, by path.
    pub(crate) answers: Vec<(String, Value)>,
    /// How long certificates are.
    pub(crate) life: Duration,
    /// How long before now certificates begin.
    pub(crate) backdate: Duration,
    /// Signs certificates and is the one authority for logins; `user_key`, when absent.
    pub(crate) signer: Option<PrivateKey>,
    /// How long logins are.
    pub(crate) login: Duration,
    /// Method and path of each call.
    pub(crate) calls: Vec<String>,
    /// What was sent with the last call that sent something.
    pub(crate) body: Vec<u8>,
}

impl Authority {
    pub(crate) fn start() -> Self {
        let (chain, key, fingerprint) = x509();
        let config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State {
            enrolled: None,
            hosts: json!([]),
            answers: vec![],
            life: Duration::from_secs(900),
            backdate: Duration::from_secs(30),
            signer: None,
            login: Duration::from_secs(3_600),
            calls: vec![],
            body: vec![],
        }));
        let key = |seed| PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
        let authority = Self { url, fingerprint, user_key: key(101), host_key: key(102), state };
        let room = Room {
            fingerprint: authority.fingerprint.clone(),
            user_key: authority.user_key.clone(),
            host_key: authority.host_key.clone(),
            state: Arc::clone(&authority.state),
        };
        let (room, config) = (Arc::new(room), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (room, config) = (Arc::clone(&room), Arc::clone(&config));
                std::thread::spawn(move || room.serve(stream.unwrap(), config));
            }
        });
        authority
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn answer(&self, path: &str, value: Value) {
        self.set(|state| state.answers.push((path.to_owned(), value)));
    }

    /// What was sent last.
    pub(crate) fn body(&self) -> Vec<u8> {
        self.state.lock().unwrap().body.clone()
    }

    /// The calls since the last time this was asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }
}

struct Room {
    fingerprint: Fingerprint,
    user_key: PrivateKey,
    host_key: PrivateKey,
    state: Arc<Mutex<State>>,
}

impl Room {
    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut reader = BufReader::new(tls);
        while let Some((call, token, body)) = read(&mut reader) {
            self.state.lock().unwrap().calls.push(call.clone());
            if !body.is_empty() {
                self.state.lock().unwrap().body.clone_from(&body);
            }
            let (status, value) = self.answer(&call, token, &body);
            let text = value.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
            reader.get_mut().write_all((head + &text).as_bytes()).unwrap();
        }
    }

    fn answer(&self, call: &str, token: bool, body: &[u8]) -> (u16, Value) {
        match call {
            "GET /v1/authority" => (200, self.authority()),
            "POST /v1/login/challenge" => {
                let _ask: ChallengeAsk = serde_json::from_slice(body).unwrap();
                (
                    200,
                    json!({"challenge": "Y2hhbGxlbmdl", "expires": now().after(Duration::from_secs(60))}),
                )
            }
            "POST /v1/login" => self.login(body),
            _ if !token => (401, json!({"code": "unauthenticated", "message": "log in first"})),
            "GET /v1/hosts" => (200, self.state.lock().unwrap().hosts.clone()),
            "POST /v1/certificates" => self.certify(body),
            _ => {
                let state = self.state.lock().unwrap();
                let known = state.answers.iter().find(|(path, _)| is_asked(path, call));
                known.map_or_else(
                    || (404, json!({"code": "not-found", "message": "there is nothing of that name"})),
                    |(_, value)| (200, value.clone()),
                )
            }
        }
    }

    fn authority(&self) -> Value {
        let line = |key: &PrivateKey| key.public_key().to_openssh().unwrap();
        json!({
            "version": wire::VERSION,
            "fingerprint": self.fingerprint,
            "user_authorities": [line(&self.signer())],
            "host_authorities": [line(&self.host_key)],
            "at": now(),
        })
    }

    fn signer(&self) -> PrivateKey {
        self.state.lock().unwrap().signer.clone().unwrap_or_else(|| self.user_key.clone())
    }

    fn login(&self, body: &[u8]) -> (u16, Value) {
        let ask: LoginAsk = serde_json::from_slice(body).unwrap();
        let text = wire::login::message(&self.fingerprint, &ask.identity, &ask.challenge);
        let signature: SshSig = ask.signature.parse().unwrap();
        let state = self.state.lock().unwrap();
        let believed = state.enrolled.as_ref().is_some_and(|key| {
            let ours = key.key_data() == signature.public_key();
            ours && key.verify(wire::login::NAMESPACE, text.as_bytes(), &signature).is_ok()
        });
        if believed {
            let expires = now().after(state.login);
            (200, json!({"token": "planted-token", "expires": expires}))
        } else {
            (
                401,
                json!({"code": "unauthenticated", "message": "the signature is by no key of theirs"}),
            )
        }
    }

    fn certify(&self, body: &[u8]) -> (u16, Value) {
        let ask: CertificateAsk = serde_json::from_slice(body).unwrap();
        if ask.login.as_str() == "forbidden" {
            return (
                403,
                json!({"code": "denied", "message": "no role lets you be forbidden@db1"}),
            );
        }
        let life = ask.duration_secs.map_or(self.state.lock().unwrap().life, Duration::from_secs);
        let backdate = self.state.lock().unwrap().backdate;
        let (from, until) = (now().before(backdate), now().after(life));
        let subject = PublicKey::from_openssh(&ask.public_key).unwrap();
        let mut builder = Builder::new([1; 16], subject, from.secs(), until.secs()).unwrap();
        builder.serial(7).unwrap().key_id("ana@example.com/g1/7").unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.valid_principal(format!("{}@db1", ask.login)).unwrap();
        builder.extension("permit-pty", "").unwrap();
        let certificate = builder.sign(&self.signer()).unwrap().to_openssh().unwrap();
        let until = Timestamp::from_secs(until.secs());
        let reply = json!({"certificate": certificate, "serial": 7, "grant": 1, "host": "db1",
            "valid_before": until, "grant_until": until});
        (200, reply)
    }
}

/// A path that ends in `=` stands for every value.
fn is_asked(path: &str, call: &str) -> bool {
    path == call || (path.ends_with('=') && call.starts_with(path))
}

fn read(
    reader: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
) -> Option<(String, bool, Vec<u8>)> {
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return None;
    }
    let (mut length, mut token) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        token |= line == "authorization: Bearer planted-token";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let call = first.trim_end().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    Some((call, token, body))
}

fn x509() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Fingerprint) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let chain = vec![leaf.der().clone(), root_certificate.der().clone()];
    let fingerprint = Fingerprint::of(root_certificate.der());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    (chain, key, fingerprint)
}

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates in these tests are for the real ssh, now"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(0).after(since)
}
