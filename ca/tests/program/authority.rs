//! A throw-away authority, and clients for people and hosts.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ssh_key::private::{Ed25519Keypair, PrivateKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wire::api::{Challenge, ChallengeAsk, LoginAsk, Token};
use wire::frame::{Decoder, MAX_FRAME, encode};
use wire::hostlink::{Enrol, Enrolled, ToAuthority, ToHost};
use wire::identifier::{Fingerprint, Identity};
use wire::log::{KeyName, LogKey, Policy};
use wire::problem::Problem;
use wire::tls::PinnedRoot;

use crate::postgres::Database;

/// A running authority in a folder of its own; it is killed when this is dropped.
pub(crate) struct Authority {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fingerprint: Fingerprint,
    serving: Mutex<Serving>,
    pub(crate) database: Option<Database>,
    calls: Mutex<u32>,
}

/// The program, where it listens, and what it has logged.
struct Serving {
    child: Child,
    people: String,
    hosts: String,
    /// Where figures are, if it serves any.
    metrics: Option<String>,
    log: Arc<Mutex<String>>,
}

/// What a token for a host looks like on the command line.
#[derive(serde::Deserialize)]
pub(crate) struct TokenMade {
    pub(crate) token: String,
    pub(crate) fingerprint: Fingerprint,
}

/// A host with its TLS identity.
pub(crate) struct Host {
    pub(crate) enrolled: Enrolled,
    key: rcgen::KeyPair,
}

/// A connection that speaks frames.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
}

impl Authority {
    /// Set up, started and ready; with the ledger in a file, unless all tests are to run with one on a server.
    pub(crate) fn start() -> Self {
        let is_shared = std::env::var_os("CURFEW_TEST_LEDGER").is_some_and(|on| on == "postgres");
        Self::start_on(is_shared.then(Database::new))
    }

    /// The same with the ledger in this database.
    pub(crate) fn start_on(database: Option<Database>) -> Self {
        let table = database
            .as_ref()
            .map_or_else(String::new, |on| format!("ledger = {{ url = {:?} }}\n", on.url()));
        Self::start_with(&table, database)
    }

    /// The same with more in its settings.
    pub(crate) fn start_with(more: &str, database: Option<Database>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!("{}{more}", settings(dir.path()));
        std::fs::write(path("ca.toml"), config).unwrap();
        std::fs::write(path("roles.toml"), ROLES).unwrap();
        let init = run(dir.path(), &["init", "--unencrypted"]);
        assert!(init.status.success(), "{init:?}");
        let text = String::from_utf8(init.stdout).unwrap();
        let fingerprint = text.lines().find_map(|line| line.strip_prefix("Fingerprint: ")).unwrap();
        let fingerprint = fingerprint.parse().unwrap();
        let serving = Mutex::new(serve(dir.path()));
        Self { dir, fingerprint, serving, database, calls: Mutex::default() }
    }

    /// Killed without warning.
    pub(crate) fn kill(&self) {
        self.serving.lock().unwrap().child.kill().unwrap();
    }

    /// Told by a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.serving.lock().unwrap().child.id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Killed without warning and started again.
    pub(crate) fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Killed without warning and started again, with a log of this level.
    pub(crate) fn restart_at(&self, level: &str) {
        self.stop();
        *self.serving.lock().unwrap() = serve_at(self.dir.path(), level);
    }

    /// Started again with these settings beside those that it has.
    pub(crate) fn configure(&self, more: &str) {
        let path = config(self.dir.path());
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, before + more).unwrap();
        self.restart();
    }

    /// Started again at every so-many-th call, with which whoever was refused often is forgotten.
    pub(crate) fn restart_if_braked(&self, every: u32) {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(every) {
            self.restart();
        }
    }

    /// Killed without warning, and gone.
    pub(crate) fn stop(&self) {
        self.kill();
        self.serving.lock().unwrap().child.wait().unwrap();
    }

    /// Started after it was stopped.
    pub(crate) fn start_again(&self) {
        *self.serving.lock().unwrap() = serve(self.dir.path());
    }

    /// Has its settings name this database, or none.
    pub(crate) fn settle_on(&mut self, database: Option<Database>) {
        let table = database
            .as_ref()
            .map_or_else(String::new, |on| format!("ledger = {{ url = {:?} }}\n", on.url()));
        let config = format!("{}{table}", settings(self.dir.path()));
        std::fs::write(self.dir.path().join("ca.toml"), config).unwrap();
        self.database = database;
    }

    /// Another node of this authority: the same keys and roles, and the same database.
    pub(crate) fn join(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = self.database.clone().unwrap();
        for name in ["state", "roles.toml"] {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(self.dir.path().join(name)).arg(dir.path());
            assert!(copy.status().unwrap().success());
        }
        let config = format!("{}ledger = {{ url = {:?} }}\n", settings(dir.path()), database.url());
        std::fs::write(dir.path().join("ca.toml"), config).unwrap();
        let serving = Mutex::new(serve(dir.path()));
        let (fingerprint, calls) = (self.fingerprint.clone(), Mutex::default());
        Self { dir, fingerprint, serving, database: Some(database), calls }
    }

    /// An operator's command that must work; what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = run(self.dir.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// An operator's command that must fail; its exit code and what it complained.
    pub(crate) fn refuse(&self, arguments: &[&str]) -> (i32, String) {
        let output = run(self.dir.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.serving.lock().unwrap().log.lock().unwrap().clone()
    }

    /// Adds an identity with the key of this seed.
    pub(crate) fn add(&self, name: &str, seed: u8, more: &[&str]) {
        let key = key(seed).public_key().to_openssh().unwrap();
        self.run(&[&["identity", "add", name, "--key", &key], more].concat());
    }

    /// Calls the people's interface.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        (method, path): (&str, &str),
        token: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = if method == "GET" { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match self.exchange(request.body(Full::new(Bytes::from(body))).unwrap()).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap()),
            Err(bytes) => Err(serde_json::from_slice(&bytes).unwrap()),
        }
    }

    /// `GET path` as anybody, and the bytes that come.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Bytes, Bytes> {
        let request = Request::get(path).header("host", "localhost");
        self.exchange(request.body(Full::default()).unwrap()).await
    }

    /// Calls the directories' interface: the status, and what came.
    pub(crate) async fn scim(
        &self,
        (method, path): (&str, &str),
        token: Option<&str>,
        body: &serde_json::Value,
    ) -> (u16, serde_json::Value) {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let path = format!("/scim/v2{path}");
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let stream = self.connect(&self.people(), None).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Where people are served.
    pub(crate) fn people(&self) -> String {
        self.serving.lock().unwrap().people.clone()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Bytes> {
        let people = self.serving.lock().unwrap().people.clone();
        let stream = self.connect(&people, None).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let is_good = response.status().is_success();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        if is_good { Ok(bytes) } else { Err(bytes) }
    }

    /// The key by which the log is believed, as a host or a monitor pins it.
    pub(crate) async fn log_policy(&self) -> Policy {
        let text = std::fs::read_to_string(self.dir.path().join("state/log")).unwrap();
        let key = PrivateKey::from_openssh(text).unwrap();
        let public = key.public_key().key_data().ed25519().unwrap().0;
        let note = self.fetch("/checkpoint").await.unwrap();
        let origin = std::str::from_utf8(&note).unwrap().lines().next().unwrap();
        let name = KeyName::try_new(origin).unwrap();
        Policy { logs: vec![LogKey::new(name, public)], ..Policy::default() }
    }

    /// `GET path`
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
    ) -> Result<T, Problem> {
        self.call(("GET", path), Some(token), &()).await
    }

    /// `POST path`
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        token: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        self.call(("POST", path), token, body).await
    }

    /// A signed challenge.
    pub(crate) async fn answer(&self, name: &str, seed: u8) -> LoginAsk {
        let identity: Identity = name.parse().unwrap();
        let ask = ChallengeAsk { identity: identity.clone() };
        let made: Challenge = self.send("/v1/login/challenge", None, &ask).await.unwrap();
        let message = wire::login::message(&self.fingerprint, &identity, &made.challenge);
        let signature = key(seed)
            .sign(wire::login::NAMESPACE, ssh_key::HashAlg::Sha512, message.as_bytes())
            .and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF))
            .unwrap();
        LoginAsk { identity, challenge: made.challenge, signature }
    }

    /// Logs in.
    pub(crate) async fn login(&self, name: &str, seed: u8) -> Result<String, Problem> {
        let answer = self.answer(name, seed).await;
        self.send("/v1/login", None, &answer).await.map(|token: Token| token.token)
    }

    /// A token for a host.
    pub(crate) fn token(&self, host: &str, more: &[&str]) -> TokenMade {
        let made = self.run(&[&["host", "token", host, "--json"], more].concat());
        serde_json::from_str(&made).unwrap()
    }

    /// Enrols with this token.
    pub(crate) async fn enrol(&self, token: &str) -> Result<Host, Problem> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let request = rcgen::CertificateParams::new(vec!["someone-else".to_owned()]).unwrap();
        let csr = request.serialize_request(&key).unwrap().pem().unwrap();
        let host_keys = vec![self::key(99).public_key().to_openssh().unwrap()];
        let agent_key = Some(self::key(98).public_key().to_openssh().unwrap());
        let enrol =
            Enrol { version: wire::VERSION, token: token.into(), csr, host_keys, agent_key };
        let mut frames = Frames::new(self.connect(&self.hosts(), None).await);
        frames.send(&ToAuthority::Enrol(enrol)).await;
        match frames.next().await.unwrap() {
            ToHost::Enrolled(enrolled) => Ok(Host { enrolled: *enrolled, key }),
            ToHost::Refused(problem) => Err(problem),
            other => panic!("{other:?}"),
        }
    }

    /// A host that has joined, with the labels of production.
    pub(crate) async fn host(&self, name: &str) -> Host {
        let made =
            self.token(name, &["--label", "env=prod", "--address", &format!("{name}.example.com")]);
        self.enrol(&made.token).await.unwrap()
    }

    /// Connects to where hosts are served.
    pub(crate) async fn link(&self, host: Option<&Host>) -> Frames {
        Frames::new(self.connect(&self.hosts(), host).await)
    }

    /// `GET path` where figures are served; the status and the text.
    pub(crate) async fn figures(&self, path: &str) -> (u16, String) {
        let address = self.serving.lock().unwrap().metrics.clone().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost");
        let asked = sender.send_request(request.body(Full::<Bytes>::default()).unwrap());
        let response = asked.await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn hosts(&self) -> String {
        self.serving.lock().unwrap().hosts.clone()
    }

    pub(crate) async fn connect(&self, address: &str, host: Option<&Host>) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pinned = PinnedRoot::new(self.fingerprint.clone(), Arc::clone(&provider));
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(pinned);
        let config = match host {
            None => config.with_no_client_auth(),
            Some(host) => {
                let pem = host.enrolled.certificate.as_bytes();
                let chain = vec![CertificateDer::from_pem_slice(pem).unwrap()];
                let key = PrivateKeyDer::Pkcs8(host.key.serialize_der().into());
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let mut serving = self.serving.lock().unwrap();
        drop(serving.child.kill());
        drop(serving.child.wait());
    }
}

impl Frames {
    fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, decoder: Decoder::new(MAX_FRAME) }
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: &ToAuthority) {
        self.stream.write_all(&encode(frame).unwrap()).await.unwrap();
    }

    /// The next frame; nothing when the authority has closed.
    pub(crate) async fn next(&mut self) -> Option<ToHost> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.take().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut buffer).await {
                Ok(length) if length > 0 => self.decoder.push(buffer.get(..length).unwrap()),
                _ => return None,
            }
        }
    }
}

/// The key of this seed.
pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// Runs the program with the settings in `dir`.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    program(dir).args(arguments).output().unwrap()
}

/// Begins to run the program with the settings in `dir`, and listens to nothing that it says.
pub(crate) fn spawn(dir: &Path, arguments: &[&str]) -> Child {
    program(dir).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A `ca.toml` for a throw-away authority in `dir`.
pub(crate) fn settings(dir: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    format!(
        "state_dir = {:?}\nlisten = \"127.0.0.1:0\"\nhosts_listen = \"127.0.0.1:0\"\nadmin_socket = {:?}\nroles_file = {:?}\npolicy_dir = {:?}\n",
        path("state"),
        path("admin.sock"),
        path("roles.toml"),
        path("policy")
    )
}

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew-ca"));
    command.arg("--config").arg(config(dir)).env("CURFEW_LOG", "debug").env_remove("NOTIFY_SOCKET");
    command
}

fn config(dir: &Path) -> PathBuf {
    dir.join("ca.toml")
}

/// Starts the program and waits until it says that it is ready; where it listens stands in its log.
fn serve(dir: &Path) -> Serving {
    serve_at(dir, "debug")
}

/// With a log of this level.
fn serve_at(dir: &Path, level: &str) -> Serving {
    let mut program = program(dir);
    let serving = program.arg("serve").env("CURFEW_LOG", level).stderr(Stdio::piped());
    let mut serving = serving.spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let log = Arc::new(Mutex::new(String::new()));
    let mut addresses = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some((_, address)) = line.split_once(" address=") {
            addresses.push(address.trim().to_owned());
        }
        let is_ready = line.contains("the authority is ready");
        log.lock().unwrap().push_str(&line);
        if is_ready {
            break;
        }
    }
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = kept.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    let mut addresses = addresses.into_iter();
    let (Some(people), Some(hosts)) = (addresses.next(), addresses.next()) else {
        panic!("{}", log.lock().unwrap())
    };
    Serving { child: serving, people, hosts, metrics: addresses.next(), log }
}

const ROLES: &str = r#"
[role.deploy]
members = ["ana", "bob"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "10m"
max_duration = "1h"
"#;
