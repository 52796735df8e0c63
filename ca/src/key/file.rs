//! Keys as files in OpenSSH's own form, one for each slot, in the state folder.
//!
//! Who can change these: root and the authority's user. Gains: is the authority.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::software::SoftwareKey;
use super::{KeyError, Slot};
use crate::random;

/// Makes a key in `dir`, where there must be none.
pub(super) fn create(dir: &Path, slot: Slot) -> Result<(), KeyError> {
    let path = dir.join(slot.to_string());
    let seed = Zeroizing::new(random::bytes::<32>()?);
    let form = |source| KeyError::Form { path: path.clone(), source };
    let pair = Ed25519Keypair::from_seed(&seed);
    let key = PrivateKey::new(pair.into(), format!("curfew {slot}")).map_err(form)?;
    let text = key.to_openssh(LineEnding::LF).map_err(form)?;
    create_private(&path, text.as_bytes())
}

/// Reads a key from `dir`.
pub(super) fn read(dir: &Path, slot: Slot) -> Result<SoftwareKey, KeyError> {
    let path = dir.join(slot.to_string());
    let text = read_private(&path)?;
    let form = |source| KeyError::Form { path: path.clone(), source };
    let key = PrivateKey::from_openssh(text.as_bytes()).map_err(form)?;
    SoftwareKey::new(&key)
        .map_err(|unfit| KeyError::Unfit { path: path.clone(), reason: unfit.to_string() })
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
    use crate::key::Purpose;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let order = Purpose::Order.first();
        create(dir.path(), order).unwrap();
        let path = dir.path().join("order");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(dir.path(), order);
        assert!(matches!(refused, Err(KeyError::Open { mode: 0o640, .. })));
    }
}
