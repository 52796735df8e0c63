use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use proptest::prelude::{any, proptest};

use super::*;
use crate::key::Sign as _;
use crate::key::remote::RemoteKey;

/// A real ssh-agent that ends with its guard.
struct RealAgent {
    child: Child,
    dir: tempfile::TempDir,
}

impl RealAgent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = start(&dir.path().join("agent"));
        Self { child, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Makes a key and adds it.
    fn add(&self, kind: &str, bits: &str, more: &[&str]) -> PublicKey {
        let path = self.dir.path().join(format!("{kind}{bits}"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", kind, "-b", bits, "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        assert!(self.ssh_add(&[more, &["-q", path.to_str().unwrap()]].concat()));
        PublicKey::read_openssh_file(path.with_extension("pub")).unwrap()
    }

    fn ssh_add(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", self.path()).stderr(Stdio::null());
        command.stdout(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(path: &Path) -> Child {
    let mut child = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..500 {
        if UnixStream::connect(path).is_ok() {
            return child;
        }
        assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("the ssh-agent does not listen");
}

/// The key, as the authority uses it.
fn open(path: &Path, public: &PublicKey) -> Result<RemoteKey, AgentError> {
    let agent = Agent::open(path, public, PATIENCE)?;
    Ok(RemoteKey::start(public, PATIENCE, agent).unwrap())
}

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn an_agent_signs_with_every_type_that_it_knows() {
    let agent = RealAgent::start();
    for (kind, bits) in
        [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")]
    {
        let public = agent.add(kind, bits, &[]);
        let print = public.fingerprint(HashAlg::Sha256).to_string();
        let chosen = choose(&agent.path(), &print, PATIENCE).unwrap();
        assert_eq!(chosen.key_data(), public.key_data());
        let key = open(&agent.path(), &chosen).unwrap();
        let signature = key.sign(b"message").unwrap();
        wire::signature::verify(public.key_data(), b"message", &signature).unwrap();
    }
}

#[test]
fn an_agent_that_was_started_again_is_found_again() {
    let mut agent = RealAgent::start();
    let public = agent.add("ed25519", "256", &[]);
    let key = open(&agent.path(), &public).unwrap();
    key.sign(b"message").unwrap();
    agent.stop();
    let error = key.sign(b"message").unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    std::fs::remove_file(agent.path()).unwrap();
    agent.child = start(&agent.path());
    let error = key.sign(b"message").unwrap_err().to_string();
    assert!(error.contains("does not hold the key SHA256:"), "{error}");
    let path = agent.dir.path().join("ed25519256");
    assert!(agent.ssh_add(&["-q", path.to_str().unwrap()]));
    key.sign(b"message").unwrap();
}

#[test]
fn a_key_that_is_gone_and_one_that_nobody_confirms_are_told_apart() {
    let agent = RealAgent::start();
    let confirmed = agent.add("ed25519", "256", &["-c"]);
    let key = open(&agent.path(), &confirmed).unwrap();
    // Without a desktop nobody can confirm.
    let error = key.sign(b"message").unwrap_err().to_string();
    assert!(error.contains("refuses to sign"), "{error}");
    assert!(agent.ssh_add(&["-D"]));
    let error = key.sign(b"message").unwrap_err().to_string();
    assert!(error.contains("does not hold the key SHA256:") && error.contains("no key"), "{error}");
    let other = agent.add("ecdsa", "256", &[]);
    let error = open(&agent.path(), &confirmed).err().unwrap().to_string();
    assert!(error.contains(&other.fingerprint(HashAlg::Sha256).to_string()), "{error}");
    let error = choose(&agent.path(), "SHA256:none", PATIENCE).err().unwrap();
    assert!(matches!(error, AgentError::NotHeld { .. }), "{error}");
}

#[test]
fn a_key_with_a_lifetime_signs_until_it_is_over() {
    let agent = RealAgent::start();
    let public = agent.add("ed25519", "256", &["-t", "1"]);
    let key = open(&agent.path(), &public).unwrap();
    let (_silent, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..500 {
        if key.sign(b"message").is_err() {
            return;
        }
        assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
    }
    panic!("the key outlived its lifetime");
}

/// Answers each request with the next of these, and then nothing.
fn scripted(replies: Vec<Vec<u8>>) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 5];
            drop(stream.read_exact(&mut request));
            drop(stream.write_all(&reply));
        }
    });
    (dir, path, agent)
}

#[test]
fn an_agent_that_lies_is_not_believed() {
    let (right, wrong) = (crate::key::given::key(1), crate::key::given::key(2));
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let blob = wire::key::to_bytes(right.public().key_data()).unwrap();
    let mut held = vec![12, 0, 0, 0, 1, 0, 0, 0, 51];
    held.extend(blob);
    held.extend([0, 0, 0, 0]);
    let raw = wire::signature::to_bytes(&wrong.sign(b"message").unwrap()).unwrap();
    let mut signed = vec![14, 0, 0, 0, 83];
    signed.extend(raw);
    for (reply, complaint) in [
        (framed(&signed), "no signature by this key"),
        (framed(&held), "nonsense"),
        (u32::MAX.to_be_bytes().to_vec(), "broke off"),
        (framed(&[14]), "nonsense"),
        (framed(&[]), "nonsense"),
        (vec![0, 0], "broke off"),
    ] {
        let (_dir, path, agent) = scripted(vec![framed(&held), reply]);
        let key = open(&path, right.public()).unwrap();
        let error = key.sign(b"message").unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
        agent.join().unwrap();
    }
}

#[test]
fn an_agent_that_is_silent_or_drips_is_left_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let begun = clock::instant();
    let timeout = Duration::from_millis(300);
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[0, 1, 0, 0]).unwrap();
        let (_silent, never) = std::sync::mpsc::channel::<()>();
        while stream.write_all(&[12]).is_ok() {
            assert!(never.recv_timeout(Duration::from_millis(50)).is_err());
        }
    });
    let key = crate::key::given::key(1);
    let error = Agent::open(&path, key.public(), timeout).err().unwrap().to_string();
    assert!(error.contains("broke off"), "{error}");
    assert!(clock::instant().duration_since(begun) < timeout * 4);
    dripping.join().unwrap();
}

proptest! {
    #[test]
    fn no_reply_makes_it_panic(bytes: Vec<u8>, kind in any::<u8>()) {
        drop(Reply::read(&[&[kind], bytes.as_slice()].concat()));
    }
}
