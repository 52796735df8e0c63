//! A folder with keys of every kind, `ssh-keygen`, and an ssh-agent that signs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ssh_key::public::{KeyData, RsaPublicKey, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Mpint, PublicKey, Signature};
use wire::key::KeyKind;

/// A folder in which `ssh-keygen` works.
pub(crate) struct Desk {
    dir: tempfile::TempDir,
    agent: Option<Child>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), agent: None }
    }

    /// With an ssh-agent.
    pub(crate) fn with_agent() -> Self {
        let mut desk = Self::new();
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(desk.socket()).stdout(Stdio::null()).stderr(Stdio::null());
        desk.agent = Some(agent.spawn().unwrap());
        eventually(|| UnixStream::connect(desk.socket()).ok());
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("agent")
    }

    /// `ssh-keygen` with these arguments, in this folder.
    pub(crate) fn keygen(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ssh-keygen");
        command.current_dir(self.dir.path()).env("TZ", "UTC").args(arguments);
        command.env("SSH_AUTH_SOCK", self.socket()).stdin(Stdio::null()).output().unwrap()
    }

    /// A new pair of keys, `name` and `name.pub`.
    pub(crate) fn pair(&self, name: &str, kind: &str, bits: &str) -> KeyData {
        let made = self.keygen(&["-q", "-N", "", "-t", kind, "-b", bits, "-f", name]);
        assert!(made.status.success(), "{made:?}");
        self.public(name)
    }

    /// The public half of what is called `name`.
    pub(crate) fn public(&self, name: &str) -> KeyData {
        let text = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        wire::key::from_openssh(&text).unwrap().key_data().clone()
    }

    /// Puts a public key there as `name.pub`.
    pub(crate) fn put(&self, name: &str, key: &KeyData) {
        let text = PublicKey::new(key.clone(), "").to_openssh().unwrap();
        std::fs::write(self.path(&format!("{name}.pub")), text).unwrap();
    }

    /// A subject of every kind and edge, each as `name.pub`.
    pub(crate) fn subjects(&self) -> Vec<(&'static str, KeyData)> {
        let ed25519 = self.pair("ed25519", "ed25519", "256");
        let p256 = self.pair("p256", "ecdsa", "256");
        let sk_ed25519 = SkEd25519::new(*ed25519.ed25519().unwrap(), "ssh:");
        let ssh_key::public::EcdsaPublicKey::NistP256(point) = p256.ecdsa().unwrap() else {
            panic!("another curve")
        };
        let sk_ecdsa = SkEcdsaSha2NistP256::new(*point, "ssh:curfew ü");
        let subjects = vec![
            ("ed25519", ed25519),
            ("p384", self.pair("p384", "ecdsa", "384")),
            ("p521", self.pair("p521", "ecdsa", "521")),
            ("rsa2048", self.pair("rsa2048", "rsa", "2048")),
            ("rsa3071", rsa(3071)),
            ("rsa8192", rsa(8192)),
            ("rsa16384", rsa(16_384)),
            ("sk-ed25519", sk_ed25519.into()),
            ("sk-ecdsa", sk_ecdsa.into()),
            ("p256", p256),
        ];
        for (name, key) in &subjects {
            self.put(name, key);
        }
        subjects
    }

    /// A key of every kind that certifies, in the ssh-agent too.
    pub(crate) fn authorities(&self) -> Vec<Authority> {
        let kinds = [
            ("ca-ed25519", "ed25519", "256", None),
            ("ca-p256", "ecdsa", "256", None),
            ("ca-p384", "ecdsa", "384", None),
            ("ca-p521", "ecdsa", "521", None),
            ("ca-rsa", "rsa", "2048", Some("rsa-sha2-256")),
            ("ca-rsa", "rsa", "2048", Some("rsa-sha2-512")),
        ];
        let make = |(name, kind, bits, algorithm): (&'static str, &str, &str, _)| {
            if !self.path(name).exists() {
                self.pair(name, kind, bits);
                let added = Command::new("ssh-add")
                    .arg("-q")
                    .arg(self.path(name))
                    .env("SSH_AUTH_SOCK", self.socket())
                    .output();
                assert!(added.unwrap().status.success());
            }
            Authority { name, key: self.public(name), algorithm }
        };
        kinds.into_iter().map(make).collect()
    }

    /// What the ssh-agent signs with the key of `authority`.
    pub(crate) fn sign(&self, authority: &Authority, message: &[u8]) -> Signature {
        let flags: u32 = match authority.algorithm {
            Some("rsa-sha2-256") => 2,
            Some(_) => 4,
            None => 0,
        };
        let mut request = vec![13];
        string(&mut request, &wire::key::to_bytes(&authority.key).unwrap());
        string(&mut request, message);
        request.extend(flags.to_be_bytes());
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let mut framed = Vec::new();
        string(&mut framed, &request);
        stream.write_all(&framed).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[0], 14, "the ssh-agent did not sign");
        wire::signature::from_bytes(&reply[5..]).unwrap()
    }

    /// `ssh-keygen -L` of a certificate as a line.
    pub(crate) fn list(&self, line: &str) -> Output {
        std::fs::write(self.path("listed-cert.pub"), line).unwrap();
        self.keygen(&["-L", "-f", "listed-cert.pub"])
    }
}

/// A key that certifies, and how it signs.
pub(crate) struct Authority {
    pub(crate) name: &'static str,
    pub(crate) key: KeyData,
    pub(crate) algorithm: Option<&'static str>,
}

impl Authority {
    /// The name of its signatures.
    pub(crate) fn signs_as(&self) -> &'static str {
        self.algorithm.unwrap_or_else(|| KeyKind::of(&self.key).unwrap().name())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }
}

/// An RSA key of as many bits, which nobody holds.
pub(crate) fn rsa(bits: usize) -> KeyData {
    let mut modulus = vec![0xa5; bits.div_ceil(8)];
    modulus[0] = if bits.is_multiple_of(8) { 0x80 } else { 1 << (bits % 8 - 1) };
    let (e, n) = (Mpint::from_positive_bytes(&[1, 0, 1]), Mpint::from_positive_bytes(&modulus));
    RsaPublicKey::new(e, n).unwrap().into()
}

/// A string of RFC 4251.
pub(crate) fn string(to: &mut Vec<u8>, text: &[u8]) {
    to.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    to.extend(text);
}

pub(crate) fn eventually<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..500 {
        if let Some(value) = ready() {
            return value;
        }
        assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
    }
    panic!("not within ten seconds");
}
