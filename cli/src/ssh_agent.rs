//! The person's ssh-agent: list, sign, and add a key that leaves by itself.
//!
//! Source: draft-ietf-sshm-ssh-agent, and `PROTOCOL.certkeys` for the form of a certificate's private key. One message
//! each way; a reply is at most [`MAX_REPLY`] bytes.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ssh_encoding::{Decode as _, Encode as _};
use ssh_key::private::Ed25519Keypair;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, Signature, SshSig};
use wire::certificate::Certificate;
use zeroize::Zeroizing;

/// A connection to an ssh-agent.
pub(crate) struct SshAgent {
    stream: UnixStream,
}

/// What every added key ends with.
struct Ending<'a> {
    comment: &'a str,
    lifetime_secs: u32,
}

/// What an agent holds: the bytes it goes by, and what it is called.
struct Held {
    blob: Vec<u8>,
    comment: Vec<u8>,
}

/// Why an agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The socket does not answer.
    #[error("the ssh-agent at {} does not answer", path.display())]
    Connect {
        /// `SSH_AUTH_SOCK`.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the conversation with the ssh-agent broke off")]
    Conversation(#[from] std::io::Error),
    /// A message cannot be written or read.
    #[error("the ssh-agent's message cannot be understood")]
    Form(#[from] ssh_encoding::Error),
    /// A key or signature cannot be written or read.
    #[error("the ssh-agent's key or signature cannot be understood")]
    Key(#[from] ssh_key::Error),
    /// The agent said no.
    #[error("the ssh-agent refused {0}")]
    Refused(&'static str),
    /// The agent said yes and did not do it.
    #[error("the ssh-agent said it took the certificate, but does not list it")]
    NotListed,
    /// Too long for the protocol.
    #[error("a message of {0} bytes is longer than the {MAX_REPLY} that are allowed")]
    Length(usize),
}

impl SshAgent {
    /// The agent that `SSH_AUTH_SOCK` names; none when it names none.
    pub(crate) fn of_environment() -> Result<Option<Self>, AgentError> {
        match std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
            Some(path) => Self::at(PathBuf::from(path)).map(Some),
            None => Ok(None),
        }
    }

    /// The agent that listens at `path`.
    pub(crate) fn at(path: PathBuf) -> Result<Self, AgentError> {
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(source) => return Err(AgentError::Connect { path, source }),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// The public keys and certificates that it holds, each as the bytes it goes by.
    pub(crate) fn list(&mut self) -> Result<Vec<Vec<u8>>, AgentError> {
        Ok(self.list_named()?.into_iter().map(|held| held.blob).collect())
    }

    fn list_named(&mut self) -> Result<Vec<Held>, AgentError> {
        let reply = self.ask(&[REQUEST_IDENTITIES], "to list its keys")?;
        let mut body = expect(&reply, IDENTITIES_ANSWER, "to list its keys")?;
        let count = u32::decode(&mut body)?;
        let mut held = Vec::new();
        for _ in 0..count {
            let blob = Vec::<u8>::decode(&mut body)?;
            held.push(Held { blob, comment: Vec::<u8>::decode(&mut body)? });
        }
        Ok(held)
    }

    /// The public keys that it holds, certificates and unknown kinds left out.
    pub(crate) fn keys(&mut self) -> Result<Vec<PublicKey>, AgentError> {
        let blobs = self.list()?;
        let known = blobs.iter().filter_map(|blob| PublicKey::from_bytes(blob).ok());
        Ok(known.filter(|key| !key.key_data().is_certificate()).collect())
    }

    /// Whether it holds exactly this certificate and its key.
    pub(crate) fn holds(&mut self, certificate: &Certificate) -> Result<bool, AgentError> {
        let wanted = [certificate.to_bytes(), encode_key(certificate.subject())?];
        let held = self.list()?;
        Ok(wanted.iter().all(|blob| held.contains(blob)))
    }

    /// Whether it holds the key of this certificate: ssh finds the certificate in its file, and signs with the plain key.
    pub(crate) fn holds_key_of(&mut self, certificate: &Certificate) -> Result<bool, AgentError> {
        Ok(self.list()?.contains(&encode_key(certificate.subject())?))
    }

    /// Signs `message` with `key`, which it holds, as `ssh-keygen -Y sign` would.
    pub(crate) fn sign(
        &mut self,
        key: &KeyData,
        namespace: &str,
        message: &[u8],
    ) -> Result<SshSig, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        encode_key(key)?.encode(&mut request)?;
        SshSig::signed_data(namespace, HashAlg::Sha512, message)?.encode(&mut request)?;
        let flags = if key.is_rsa() { RSA_SHA2_512 } else { 0 };
        flags.encode(&mut request)?;
        let reply = self.ask(&request, "to sign")?;
        let mut body = expect(&reply, SIGN_RESPONSE, "to sign")?;
        let signature = Signature::try_from(Vec::<u8>::decode(&mut body)?.as_slice())?;
        Ok(SshSig::new(key.clone(), namespace, HashAlg::Sha512, signature)?)
    }

    /// Adds `pair`, alone and with its `certificate`, both to be forgotten by the agent after `lifetime_secs`; then looks
    /// whether they are there. Alone too, as `ssh-add` does, because ssh signs for a certificate with the plain key.
    pub(crate) fn add(
        &mut self,
        pair: &Ed25519Keypair,
        certificate: &Certificate,
        comment: &str,
        lifetime_secs: u32,
    ) -> Result<(), AgentError> {
        let end = Ending { comment, lifetime_secs };
        let mut plain = Zeroizing::new(vec![ADD_ID_CONSTRAINED]);
        "ssh-ed25519".encode(&mut *plain)?;
        self.add_one(plain, pair, &end)?;
        let mut certified = Zeroizing::new(vec![ADD_ID_CONSTRAINED]);
        "ssh-ed25519-cert-v01@openssh.com".encode(&mut *certified)?;
        certificate.as_bytes().encode(&mut *certified)?;
        self.add_one(certified, pair, &end)?;
        // Agents are known to answer yes and keep nothing, so the answer alone is not believed.
        if self.holds(certificate)? { Ok(()) } else { Err(AgentError::NotListed) }
    }

    /// Removes each certificate that goes by `comment`, is not `current` and began before `before`, with its key. What
    /// goes by another name, or has no certificate beside it, is not ours and stays.
    pub(crate) fn forget_former(
        &mut self,
        comment: &str,
        current: &Certificate,
        before: u64,
    ) -> Result<(), AgentError> {
        let ours: Vec<Vec<u8>> = self
            .list_named()?
            .into_iter()
            .filter(|held| held.comment == comment.as_bytes())
            .map(|held| held.blob)
            .collect();
        for certificate in ours.iter().filter_map(|blob| Certificate::from_bytes(blob).ok()) {
            if certificate.subject() == current.subject() || certificate.valid_after() >= before {
                continue;
            }
            self.remove(certificate.as_bytes())?;
            let key = encode_key(certificate.subject())?;
            if ours.contains(&key) {
                self.remove(&key)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, blob: &[u8]) -> Result<(), AgentError> {
        let mut request = vec![REMOVE_IDENTITY];
        blob.encode(&mut request)?;
        let what = "to remove a key";
        let reply = self.ask(&request, what)?;
        expect(&reply, SUCCESS, what).map(|_empty| ())
    }

    fn add_one(
        &mut self,
        mut request: Zeroizing<Vec<u8>>,
        pair: &Ed25519Keypair,
        end: &Ending<'_>,
    ) -> Result<(), AgentError> {
        let private = Zeroizing::new(pair.to_bytes());
        // Room first, so that growing leaves no copy of the key behind.
        request.reserve(private.len().saturating_add(end.comment.len()).saturating_add(64));
        pair.public.as_ref().as_slice().encode(&mut *request)?;
        private.as_slice().encode(&mut *request)?;
        end.comment.encode(&mut *request)?;
        CONSTRAIN_LIFETIME.encode(&mut *request)?;
        end.lifetime_secs.encode(&mut *request)?;
        let what = "to take the key for a limited time";
        let reply = self.ask(&request, what)?;
        expect(&reply, SUCCESS, what).map(|_empty| ())
    }

    fn ask(&mut self, request: &[u8], what: &'static str) -> Result<Vec<u8>, AgentError> {
        let length =
            u32::try_from(request.len()).map_err(|_too_long| AgentError::Length(request.len()))?;
        let mut message = Zeroizing::new(Vec::with_capacity(request.len().saturating_add(4)));
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(request);
        self.stream.write_all(&message)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_REPLY {
            return Err(AgentError::Length(length));
        }
        let mut reply = vec![0; length];
        self.stream.read_exact(&mut reply)?;
        if reply.is_empty() { Err(AgentError::Refused(what)) } else { Ok(reply) }
    }
}

impl fmt::Debug for SshAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SshAgent")
    }
}

fn expect<'a>(reply: &'a [u8], kind: u8, what: &'static str) -> Result<&'a [u8], AgentError> {
    match reply.split_first() {
        Some((first, body)) if *first == kind => Ok(body),
        _ => Err(AgentError::Refused(what)),
    }
}

fn encode_key(key: &KeyData) -> Result<Vec<u8>, AgentError> {
    Ok(PublicKey::from(key.clone()).to_bytes()?)
}

const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const REMOVE_IDENTITY: u8 = 18;
const ADD_ID_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;
/// Else an agent signs with SHA-1.
const RSA_SHA2_512: u32 = 4;
/// The limit that OpenSSH's own agent keeps.
const MAX_REPLY: usize = 256 * 1024;
/// A person may have to touch a key or answer a dialogue.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::certificate::{Builder, CertType};
    use std::process::{Child, Command, Stdio};

    /// A real ssh-agent that ends with its guard.
    pub(crate) struct RealAgent {
        child: Child,
        dir: tempfile::TempDir,
    }

    impl RealAgent {
        pub(crate) fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let child = Command::new("ssh-agent")
                .arg("-D")
                .arg("-a")
                .arg(dir.path().join("agent"))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            Self { child, dir }
        }

        pub(crate) fn path(&self) -> PathBuf {
            self.dir.path().join("agent")
        }

        pub(crate) fn connect(&self) -> SshAgent {
            eventually(|| SshAgent::at(self.path()).ok())
        }

        fn ssh_add(&self, arguments: &[&str]) -> String {
            let output =
                Command::new("ssh-add").args(arguments).env("SSH_AUTH_SOCK", self.path()).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        }
    }

    impl Drop for RealAgent {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    fn eventually<T>(mut ready: impl FnMut() -> Option<T>) -> T {
        let (_silent, never) = std::sync::mpsc::channel::<()>();
        for _ in 0..500 {
            if let Some(value) = ready() {
                return value;
            }
            assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
        }
        panic!("not within ten seconds");
    }

    /// A key and a certificate for it that ends at `until`.
    pub(crate) fn certified(seed: u8, until: u64) -> (Ed25519Keypair, Certificate) {
        certified_from(seed, 0, until)
    }

    /// The authority of these certificates.
    pub(crate) fn authority() -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[200; 32]))
    }

    fn certified_from(seed: u8, from: u64, until: u64) -> (Ed25519Keypair, Certificate) {
        let pair = Ed25519Keypair::from_seed(&[seed; 32]);
        let mut builder = Builder::new([1; 16], KeyData::from(pair.public), from, until).unwrap();
        builder.serial(7).unwrap().key_id("ana@example.com/g1/7").unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.valid_principal("app@db1").unwrap();
        let made = builder.sign(&authority()).unwrap().to_bytes().unwrap();
        let certificate = Certificate::from_bytes(&made).unwrap();
        (pair, certificate)
    }

    #[test]
    fn a_certificate_is_taken_listed_and_forgotten_after_its_lifetime() {
        let agent = RealAgent::start();
        let mut connection = agent.connect();
        let (pair, certificate) = certified(5, u64::MAX);
        connection.add(&pair, &certificate, "curfew app@db1", 1).unwrap();
        assert!(agent.ssh_add(&["-l"]).contains("curfew app@db1 (ED25519-CERT)"));
        assert!(agent.ssh_add(&["-L"]).contains("ssh-ed25519-cert-v01@openssh.com "));
        eventually(|| connection.list().unwrap().is_empty().then_some(()));
        assert_eq!(agent.ssh_add(&["-L"]), "The agent has no identities.\n");
    }

    #[test]
    fn what_a_certificate_replaces_is_forgotten_and_nothing_else() {
        let agent = RealAgent::start();
        let mut connection = agent.connect();
        let (name, hour) = ("curfew app@db1", 3_600);
        let [former, recent, current, elsewhere] =
            [(1, 100), (2, 900), (3, 950), (4, 100)].map(|(seed, from)| {
                let (pair, certificate) = certified_from(seed, from, u64::MAX);
                let name = if seed == 4 { "curfew app@db10" } else { name };
                connection.add(&pair, &certificate, name, hour).unwrap();
                certificate
            });
        let own = Ed25519Keypair::from_seed(&[5; 32]);
        let mut plain = Zeroizing::new(vec![ADD_ID_CONSTRAINED]);
        "ssh-ed25519".encode(&mut *plain).unwrap();
        let end = Ending { comment: name, lifetime_secs: hour };
        connection.add_one(plain, &own, &end).unwrap();
        connection.forget_former(name, &current, 900).unwrap();
        let held = connection.list().unwrap();
        assert!(!held.contains(&former.to_bytes()));
        assert!(!held.contains(&encode_key(former.subject()).unwrap()));
        for kept in [&recent, &current, &elsewhere] {
            assert!(connection.holds(kept).unwrap());
        }
        assert!(held.contains(&encode_key(&KeyData::from(own.public)).unwrap()));
        assert_eq!(held.len(), 7);
    }

    #[test]
    fn a_signature_by_the_agent_verifies_as_one_by_ssh_keygen_would() {
        let agent = RealAgent::start();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("rsa", "2048")] {
            let key = path.with_extension(kind);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-b", bits, "-f"])
                .arg(&key)
                .status();
            assert!(made.unwrap().success());
            agent.connect();
            agent.ssh_add(&["-q", key.to_str().unwrap()]);
            let public =
                PublicKey::read_openssh_file(key.with_extension(format!("{kind}.pub"))).unwrap();
            let mut connection = agent.connect();
            assert!(
                connection.keys().unwrap().iter().any(|held| held.key_data() == public.key_data())
            );
            let signature =
                connection.sign(public.key_data(), "login@curfew.internal", b"hello").unwrap();
            let signature = signature.to_pem(ssh_key::LineEnding::LF).unwrap();
            assert!(ssh_keygen_believes(dir.path(), &public, &signature), "{kind}");
        }
    }

    fn ssh_keygen_believes(dir: &std::path::Path, key: &PublicKey, signature: &str) -> bool {
        let (signers, sealed) = (dir.join("signers"), dir.join("sealed"));
        std::fs::write(&signers, format!("ana {}", key.to_openssh().unwrap())).unwrap();
        std::fs::write(&sealed, signature).unwrap();
        let mut child = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-n", "login@curfew.internal", "-I", "ana", "-f"])
            .arg(signers)
            .arg("-s")
            .arg(sealed)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn a_key_that_the_agent_does_not_hold_is_refused() {
        let agent = RealAgent::start();
        let (pair, _) = certified(5, u64::MAX);
        let error = agent.connect().sign(&KeyData::from(pair.public), "n", b"m").unwrap_err();
        assert_eq!(error.to_string(), "the ssh-agent refused to sign");
    }

    #[test]
    fn an_agent_that_answers_with_a_giant_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let liar = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 5];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        });
        let error = SshAgent::at(path).unwrap().list().unwrap_err();
        assert!(matches!(error, AgentError::Length(_)), "{error}");
        liar.join().unwrap();
    }
}
