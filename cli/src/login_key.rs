//! The key that a person logs in with: a file, or a key that only the ssh-agent holds.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use wire::identifier::Fingerprint;
use wire::login;

use crate::exit::Fault;
use crate::prompt;
use crate::ssh_agent::SshAgent;

/// A key that can sign, and where its private half is.
#[derive(Debug)]
pub(crate) struct LoginKey {
    public: PublicKey,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Agent,
    File(PathBuf),
}

impl LoginKey {
    /// The keys to try, best first: the one at `chosen`, else those in the agent, then the usual files.
    pub(crate) fn candidates(
        chosen: Option<&Path>,
        agent: Option<&mut SshAgent>,
    ) -> Result<Vec<Self>> {
        let held = agent.map(SshAgent::keys).transpose()?.unwrap_or_default();
        let Some(chosen) = chosen else { return Self::usual(held) };
        let public = public_half(chosen)?;
        let place = if held.iter().any(|key| key.key_data() == public.key_data()) {
            Place::Agent
        } else {
            Place::File(private_path(chosen))
        };
        Ok(vec![Self { public, place }])
    }

    fn usual(held: Vec<PublicKey>) -> Result<Vec<Self>> {
        let mut keys: Vec<Self> =
            held.into_iter().map(|public| Self { public, place: Place::Agent }).collect();
        let dir = crate::home::user_home()?.join(".ssh");
        for path in USUAL_FILES.iter().map(|name| dir.join(name)).filter(|path| path.exists()) {
            let Ok(public) = public_half(&path) else { continue };
            if !keys.iter().any(|key| key.public.key_data() == public.key_data()) {
                keys.push(Self { public, place: Place::File(path) });
            }
        }
        if keys.is_empty() {
            let sentence = "there is no key to log in with: your ssh-agent holds none and ~/.ssh has none of the \
                            usual ones; name one with --key PATH";
            return Err(Fault::Config(sentence.into()).into());
        }
        keys.truncate(MAX_CANDIDATES);
        Ok(keys)
    }

    /// Its public half.
    pub(crate) const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// As the authority names it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        wire::certificate::fingerprint(self.public.key_data())
    }

    /// What to call it before people.
    pub(crate) fn describe(&self) -> String {
        let fingerprint = self.public.fingerprint(HashAlg::Sha256);
        match &self.place {
            Place::Agent => format!("{fingerprint} (in your ssh-agent)"),
            Place::File(path) => format!("{fingerprint} ({})", path.display()),
        }
    }

    /// Signs a login: an armoured SSHSIG over `message`.
    pub(crate) fn sign(&self, message: &str, agent: Option<&mut SshAgent>) -> Result<String> {
        self.sign_for(login::NAMESPACE, message, agent)
    }

    /// Signs `message` for another purpose, and for that one alone.
    pub(crate) fn sign_for(
        &self,
        namespace: &str,
        message: &str,
        agent: Option<&mut SshAgent>,
    ) -> Result<String> {
        let signature = match &self.place {
            Place::Agent => agent.context("the ssh-agent is gone")?.sign(
                self.public.key_data(),
                namespace,
                message.as_bytes(),
            )?,
            Place::File(path) => sign_by_file(path, namespace, message)?,
        };
        signature.to_pem(LineEnding::LF).context("cannot write the signature")
    }
}

fn sign_by_file(path: &Path, namespace: &str, message: &str) -> Result<SshSig> {
    let shown = path.display();
    let key = PrivateKey::read_openssh_file(path).with_context(|| {
        format!("cannot read the private key {shown}; is it in OpenSSH's form, or only in an ssh-agent that is not running?")
    })?;
    if !signs_here(&key) {
        return sign_by_keygen(path, namespace, message);
    }
    let key = if key.is_encrypted() { unlock(&key, path)? } else { key };
    key.sign(namespace, HashAlg::Sha512, message.as_bytes()).with_context(|| {
        format!("cannot sign with {shown}, a key of kind {}; put it into your ssh-agent (ssh-add {shown})", key.algorithm())
    })
}

/// The kinds that this program signs with by itself.
fn signs_here(key: &PrivateKey) -> bool {
    match key.algorithm() {
        Algorithm::Ed25519 => true,
        Algorithm::Ecdsa { curve } => curve != EcdsaCurve::NistP521,
        _ => false,
    }
}

/// RSA, P-521 and security keys: by ssh-keygen, which speaks to tokens and asks for a touch, a PIN or a passphrase.
fn sign_by_keygen(path: &Path, namespace: &str, message: &str) -> Result<SshSig> {
    let shown = path.display();
    let mut keygen = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start ssh-keygen, which signs with this kind of key; is it installed?")?;
    let written = keygen.stdin.take().map(|mut pipe| pipe.write_all(message.as_bytes()));
    let output = keygen.wait_with_output().context("cannot wait for ssh-keygen")?;
    if !output.status.success() {
        return Err(anyhow!("ssh-keygen did not sign with {shown}; its complaint is above"));
    }
    written.transpose().context("ssh-keygen did not read what it was to sign")?;
    let pem = String::from_utf8(output.stdout).context("ssh-keygen's signature is no text")?;
    pem.parse().with_context(|| format!("ssh-keygen's signature by {shown} cannot be read"))
}

fn unlock(key: &PrivateKey, path: &Path) -> Result<PrivateKey> {
    let shown = path.display();
    for _ in 0..PASSPHRASE_TRIES {
        let answer = prompt::passphrase(&format!("Passphrase for {shown}: "))?;
        let Some(passphrase) = answer else {
            return Err(anyhow!(
                "{shown} needs a passphrase and there is no terminal to ask on; run: ssh-add {shown}"
            ));
        };
        if let Ok(key) = key.decrypt(passphrase.as_bytes()) {
            return Ok(key);
        }
    }
    Err(anyhow!("that is not the passphrase of {shown}"))
}

/// The public half of the key at `path`, which is either half's file.
pub(crate) fn public_half(path: &Path) -> Result<PublicKey> {
    let private = PrivateKey::read_openssh_file(path).map(|key| key.public_key().clone());
    let beside = || PublicKey::read_openssh_file(public_path(path));
    let key = private
        .or_else(|_not_private| PublicKey::read_openssh_file(path))
        .or_else(|_neither| beside());
    key.map_err(|error| {
        Fault::Config(format!(
            "{} is no SSH key that can be read ({error}); name another with --key",
            path.display()
        ))
        .into()
    })
}

fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// The private half's file, by either half's name.
pub(crate) fn private_path(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "pub") {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

/// ssh's own usual names (`ssh(1)`, `-i`).
const USUAL_FILES: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa"];
/// Each candidate costs the authority a challenge; more than sshd's own `MaxAuthTries` would look like guessing.
const MAX_CANDIDATES: usize = 6;
const PASSPHRASE_TRIES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_agent::tests::RealAgent;

    fn keygen(path: &Path, passphrase: &str) -> PublicKey {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .arg(path)
            .status();
        assert!(made.unwrap().success());
        PublicKey::read_openssh_file(public_path(path)).unwrap()
    }

    fn verifies(key: &PublicKey, pem: &str) -> bool {
        let signature: SshSig = pem.parse().unwrap();
        key.verify(login::NAMESPACE, b"message", &signature).is_ok()
    }

    #[test]
    fn a_key_file_signs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = keygen(&path, "");
        for named in [path.clone(), public_path(&path)] {
            let keys = LoginKey::candidates(Some(&named), None).unwrap();
            assert!(verifies(&public, &keys[0].sign("message", None).unwrap()));
        }
    }

    #[test]
    fn every_kind_of_file_signs_what_the_authority_verifies() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, bits) in [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")]
        {
            let path = dir.path().join(format!("{kind}{bits}"));
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f"])
                .arg(&path)
                .status();
            assert!(made.unwrap().success());
            let keys = LoginKey::candidates(Some(&path), None).unwrap();
            let seal = wire::sshsig::parse(&keys[0].sign("message", None).unwrap()).unwrap();
            let key = keys[0].public.key_data();
            let verdict = wire::sshsig::verify(&seal, key, login::NAMESPACE, b"message");
            assert_eq!(verdict, Ok(None), "{kind} {bits}");
            assert!(wire::sshsig::verify(&seal, key, login::NAMESPACE, b"messagE").is_err());
        }
    }

    #[test]
    fn a_key_that_only_the_agent_holds_signs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = keygen(&path, "");
        let agent = RealAgent::start();
        let mut connection = agent.connect();
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(&path)
            .env("SSH_AUTH_SOCK", agent.path())
            .status();
        assert!(added.unwrap().success());
        std::fs::remove_file(&path).unwrap();
        for named in [path.clone(), public_path(&path)] {
            let keys = LoginKey::candidates(Some(&named), Some(&mut connection)).unwrap();
            assert!(verifies(&public, &keys[0].sign("message", Some(&mut connection)).unwrap()));
        }
    }

    #[test]
    fn an_encrypted_key_tells_its_public_half_without_a_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = keygen(&path, "correct horse");
        let keys = LoginKey::candidates(Some(&path), None).unwrap();
        assert_eq!(keys[0].public.key_data(), public.key_data());
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "not a key").unwrap();
        let error = LoginKey::candidates(Some(&path), None).unwrap_err();
        assert!(error.to_string().contains("notes.txt is no SSH key"), "{error}");
    }
}
