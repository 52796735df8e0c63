//! The host's SSH keys as sshd has them, its certificates, and the key by which the agent proves itself.
//!
//! The certificates lie in the agent's own folder and not beside their keys: the agent cannot write to `/etc/ssh`.
//! Who can change these files: root on the host. Gains: the agent's key asks the authority for certificates for any SSH
//! key under this host's name, which whoever reads the host's own keys does not need.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey, PublicKey};
use wire::certificate::Certificate;
use zeroize::Zeroizing;

use super::{Fitting, Held, HostKey};
use crate::store::{self, StoreError};

/// sshd's host keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The folder or a file cannot be read.
    #[error("reading the host keys in {path}: {source}")]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("{path} holds no public key: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ssh_key::Error,
    },
    /// There is none.
    #[error("no ssh_host_*_key.pub in {0}: run `ssh-keygen -A`")]
    None(PathBuf),
}

/// sshd's public host keys, in order of name.
///
/// # Errors
/// When they cannot be read, or there are none.
pub fn host_keys(ssh_dir: &Path) -> Result<Vec<HostKey>, KeysError> {
    let failed = |source| KeysError::Read { path: ssh_dir.into(), source };
    let mut keys = Vec::new();
    for entry in fs::read_dir(ssh_dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(name) = name.strip_suffix(".pub") else { continue };
        if name.starts_with("ssh_host_") && name.ends_with("_key") {
            let text = fs::read_to_string(&path).map_err(failed)?;
            let key = PublicKey::from_openssh(text.trim());
            let key = key.map_err(|source| KeysError::Form { path: path.clone(), source })?;
            keys.push(HostKey { name: name.to_owned(), key });
        }
    }
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    if keys.is_empty() { Err(KeysError::None(ssh_dir.into())) } else { Ok(keys) }
}

/// A folder of certificates.
#[derive(Debug, Clone)]
pub struct Certificates(PathBuf);

impl Certificates {
    /// The one in the agent's state folder.
    #[must_use]
    pub fn in_state(state_dir: &Path) -> Self {
        Self(state_dir.join(FOLDER))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where the certificate of the key in the file `name` is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}{SUFFIX}"))
    }

    /// Those that are there. One that cannot be read is left out: another is asked for then.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(&self) -> Result<Vec<Held>, StoreError> {
        let mut held = Vec::new();
        for name in self.names()? {
            let path = self.path(&name);
            let text = fs::read_to_string(&path)
                .map_err(|source| StoreError::Io { path: path.clone(), source })?;
            match Certificate::from_openssh(&text) {
                Ok(certificate) => held.push(Held::of(name, &certificate)),
                Err(flaw) => {
                    tracing::warn!(path = %path.display(), %flaw, "this is no certificate");
                }
            }
        }
        Ok(held)
    }

    /// Writes these, and removes all others: each is whole or as it was.
    ///
    /// # Errors
    /// When the system says no.
    pub fn replace(&self, fitting: &[Fitting]) -> Result<Vec<Held>, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.0);
        made.map_err(|source| StoreError::Io { path: self.0.clone(), source })?;
        for each in fitting {
            let line = format!("{}\n", each.certificate.to_openssh());
            store::write_bytes(&self.path(&each.name), line.as_bytes(), 0o644)?;
        }
        for name in self.names()? {
            if !fitting.iter().any(|each| each.name == name) {
                store::remove(&self.path(&name))?;
            }
        }
        let held = |each: &Fitting| Held::of(each.name.clone(), &each.certificate);
        Ok(fitting.iter().map(held).collect())
    }

    /// The names of the keys that have one.
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |source| StoreError::Io { path: self.0.clone(), source };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(SUFFIX).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }
}

/// Makes the key by which the agent proves itself; its public half goes to the authority.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make_agent_key() -> Result<PrivateKey, getrandom::Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(PrivateKey::from(Ed25519Keypair::from_seed(&seed)))
}

/// Keeps it for the agent alone.
///
/// # Errors
/// When it cannot be written.
pub fn keep_agent_key(state_dir: &Path, key: &PrivateKey) -> Result<(), StoreError> {
    let path = state_dir.join(AGENT_KEY);
    let text = key.to_openssh(LineEnding::LF);
    let text = text
        .map_err(|error| StoreError::Io { path: path.clone(), source: io::Error::other(error) })?;
    store::write_bytes(&path, text.as_bytes(), 0o600)
}

/// Reads it; none on a host that enrolled with an agent that made none.
///
/// # Errors
/// When it is there and cannot be read.
pub fn agent_key(state_dir: &Path) -> Result<Option<PrivateKey>, StoreError> {
    let path = state_dir.join(AGENT_KEY);
    let failed = |source| StoreError::Io { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => Zeroizing::new(other.map_err(failed)?),
    };
    let key = PrivateKey::from_openssh(text.as_bytes());
    key.map(Some).map_err(|error| failed(io::Error::other(error)))
}

/// The certificates' folder in the agent's state folder.
const FOLDER: &str = "hostcert";
const SUFFIX: &str = "-cert.pub";
const AGENT_KEY: &str = "agent_key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_s_key_reads_back_and_is_the_agent_s_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        assert!(agent_key(folder.path()).unwrap().is_none());
        let key = make_agent_key().unwrap();
        keep_agent_key(folder.path(), &key).unwrap();
        let read = agent_key(folder.path()).unwrap().unwrap();
        assert_eq!(read.public_key().key_data(), key.public_key().key_data());
        let mode = fs::metadata(folder.path().join(AGENT_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.path().join(AGENT_KEY), "junk").unwrap();
        assert!(agent_key(folder.path()).is_err());
    }

    #[test]
    fn host_keys_are_found_by_name_and_certificates_among_them_are_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(host_keys(folder.path()), Err(KeysError::None(_))));
        let key = make_agent_key().unwrap().public_key().to_openssh().unwrap();
        for name in ["ssh_host_b_key.pub", "ssh_host_a_key.pub", "id_a_key.pub", "ssh_host_a_key"] {
            fs::write(folder.path().join(name), &key).unwrap();
        }
        fs::write(folder.path().join("ssh_host_a_key-cert.pub"), "junk").unwrap();
        let found = host_keys(folder.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["ssh_host_a_key", "ssh_host_b_key"]);
        fs::write(folder.path().join("ssh_host_c_key.pub"), "junk").unwrap();
        assert!(matches!(host_keys(folder.path()), Err(KeysError::Form { .. })));
    }

    #[test]
    fn what_is_no_certificate_is_as_good_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::in_state(folder.path());
        assert_eq!(certificates.read().unwrap(), []);
        assert_eq!(certificates.replace(&[]).unwrap(), []);
        fs::write(certificates.path("ssh_host_a_key"), "junk").unwrap();
        assert_eq!(certificates.read().unwrap(), []);
        certificates.replace(&[]).unwrap();
        assert!(!certificates.path("ssh_host_a_key").exists());
    }
}
