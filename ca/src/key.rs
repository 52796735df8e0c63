//! The authority's own keys as files: made once by `init`, read by `serve`, never made because one was missing.
//!
//! Who can change these: root and the authority's user. Gains: is the authority.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

/// What a key is for; each has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signs user certificates.
    User,
    /// Signs host certificates.
    Host,
    /// Signs orders.
    Order,
    /// Signs the ledger's checkpoints.
    Log,
}

/// Why a key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file is there already; nothing is overwritten.
    #[error("{0} exists already; this authority has been set up, and nothing was changed")]
    Exists(PathBuf),
    /// The file is not there.
    #[error("{0} is missing; set the authority up once with `curfew-ca init`")]
    Missing(PathBuf),
    /// Others can read it.
    #[error("{path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no key.
    #[error("{path} is not an OpenSSH private key: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ssh_key::Error,
    },
    /// Two purposes share one key.
    #[error("{0} and {1} are the same key; each purpose needs its own")]
    Shared(PathBuf, PathBuf),
    /// No key can be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl Purpose {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::User, Self::Host, Self::Order, Self::Log];

    /// Its file's name.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::User => "user_ca",
            Self::Host => "host_ca",
            Self::Order => "order",
            Self::Log => "log",
        }
    }

    /// Makes its key in `dir`, where there must be none.
    pub(crate) fn create(self, dir: &Path) -> Result<(), KeyError> {
        let path = dir.join(self.file());
        let seed = Zeroizing::new(random::bytes::<32>()?);
        let form = |source| KeyError::Form { path: path.clone(), source };
        let pair = Ed25519Keypair::from_seed(&seed);
        let key = PrivateKey::new(pair.into(), format!("curfew {}", self.file())).map_err(form)?;
        let text = key.to_openssh(LineEnding::LF).map_err(form)?;
        create_private(&path, text.as_bytes())
    }

    /// Reads its key from `dir`.
    pub(crate) fn read(self, dir: &Path) -> Result<PrivateKey, KeyError> {
        let path = dir.join(self.file());
        let text = read_private(&path)?;
        PrivateKey::from_openssh(text.as_bytes()).map_err(|source| KeyError::Form { path, source })
    }
}

/// Refuses keys that serve two purposes.
pub(crate) fn refuse_shared(dir: &Path, keys: &[(Purpose, &PrivateKey)]) -> Result<(), KeyError> {
    for (index, (purpose, key)) in keys.iter().enumerate() {
        let same = keys
            .iter()
            .take(index)
            .find(|(_, other)| other.public_key().key_data() == key.public_key().key_data());
        if let Some((other, _)) = same {
            return Err(KeyError::Shared(dir.join(other.file()), dir.join(purpose.file())));
        }
    }
    Ok(())
}

/// Writes a new file that only its owner can read, durably.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
        _ => KeyError::File { path: path.into(), source },
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    let dir = path.parent().unwrap_or(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// Reads a file that only its owner can read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing(path.into()),
        _ => KeyError::File { path: path.into(), source },
    };
    let mode = std::fs::metadata(path).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.into(), mode });
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_never_overwritten_and_never_made_by_reading() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Purpose::User.read(dir.path()), Err(KeyError::Missing(_))));
        Purpose::User.create(dir.path()).unwrap();
        let key = Purpose::User.read(dir.path()).unwrap();
        assert!(matches!(Purpose::User.create(dir.path()), Err(KeyError::Exists(_))));
        assert_eq!(Purpose::User.read(dir.path()).unwrap().public_key(), key.public_key());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Purpose::Order.create(dir.path()).unwrap();
        let path = dir.path().join("order");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Purpose::Order.read(dir.path()), Err(KeyError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn one_key_for_two_purposes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Purpose::User.create(dir.path()).unwrap();
        let key = Purpose::User.read(dir.path()).unwrap();
        let keys = [(Purpose::User, &key), (Purpose::Host, &key)];
        assert!(matches!(refuse_shared(dir.path(), &keys), Err(KeyError::Shared(..))));
    }
}
