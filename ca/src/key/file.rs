//! Keys as files in OpenSSH's own form, one for each slot, in the state folder: encrypted with a passphrase (bcrypt and
//! AES-256), or plain if that was asked for.
//!
//! Who can change these: root and the authority's user. Gains: is the authority, with the passphrase.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ssh_key::private::KeypairData;
use ssh_key::{Cipher, Kdf, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::make;
use super::secret::{Secret, SecretError};
use super::software::SoftwareKey;
use super::{KeyError, Slot};
use crate::config::keys::Kind;
use crate::random;

/// 32 random bytes, wiped when they are dropped.
pub(super) type Seed = Zeroizing<[u8; 32]>;

/// Makes a key of this kind in `dir`, where there must be none; without a passphrase it is not encrypted.
pub(super) fn create(
    dir: &Path,
    slot: Slot,
    kind: Kind,
    passphrase: Option<&Secret>,
) -> Result<SoftwareKey, KeyError> {
    write(dir, slot, make::pair(kind)?, passphrase)
}

/// Copies a key that was made elsewhere into `dir`, where there must be none: plain, or under the same passphrase.
pub(super) fn import(
    dir: &Path,
    slot: Slot,
    from: &Path,
    passphrase: Option<&Secret>,
) -> Result<SoftwareKey, KeyError> {
    let key = parse(from)?;
    let key = match passphrase {
        _ if !key.is_encrypted() => key,
        Some(passphrase) => opened(from, &key, passphrase)?,
        None => {
            let reason = "it is encrypted; take its passphrase off with `ssh-keygen -p`, or protect this authority's keys by the same one";
            return Err(KeyError::Unfit { path: from.into(), reason: reason.into() });
        }
    };
    write(dir, slot, key.key_data().clone(), passphrase)
}

/// Reads a key from `dir`. `ask` gives the passphrase if it is encrypted.
pub(super) fn read(
    dir: &Path,
    slot: Slot,
    ask: impl FnOnce() -> Result<Secret, SecretError>,
) -> Result<SoftwareKey, KeyError> {
    let path = path(dir, slot);
    usable(&path, &decrypted(&path, ask)?)
}

/// Makes a seed of 32 random bytes in `dir` under `name`, where there must be none, in the form of an Ed25519 key.
pub(super) fn create_seed(
    dir: &Path,
    name: &str,
    passphrase: Option<&Secret>,
) -> Result<Seed, KeyError> {
    let path = dir.join(name);
    seed_of(&path, &write_at(&path, name, make::pair(Kind::Ed25519)?, passphrase)?)
}

/// Reads a seed. `ask` gives the passphrase if it is encrypted.
pub(super) fn read_seed(
    path: &Path,
    ask: impl FnOnce() -> Result<Secret, SecretError>,
) -> Result<Seed, KeyError> {
    seed_of(path, &decrypted(path, ask)?)
}

/// Whether a seed's file is encrypted.
pub(super) fn is_seed_encrypted(path: &Path) -> Result<bool, KeyError> {
    parse(path).map(|key| key.is_encrypted())
}

fn seed_of(path: &Path, key: &PrivateKey) -> Result<Seed, KeyError> {
    let reason =
        || format!("a recording key is made of an ed25519 key, and it is {}", key.algorithm());
    let pair = key.key_data().ed25519();
    let pair = pair.ok_or_else(|| KeyError::Unfit { path: path.into(), reason: reason() })?;
    Ok(Zeroizing::new(pair.private.to_bytes()))
}

/// Whether the slot's file is there, and if so whether it is encrypted.
pub(super) fn is_encrypted(dir: &Path, slot: Slot) -> Result<bool, KeyError> {
    parse(&path(dir, slot)).map(|key| key.is_encrypted())
}

fn path(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(slot.to_string())
}

fn parse(path: &Path) -> Result<PrivateKey, KeyError> {
    let text = read_private(path)?;
    PrivateKey::from_openssh(text.as_bytes())
        .map_err(|source| KeyError::Form { path: path.into(), source })
}

fn decrypted(
    path: &Path,
    ask: impl FnOnce() -> Result<Secret, SecretError>,
) -> Result<PrivateKey, KeyError> {
    let key = parse(path)?;
    if !key.is_encrypted() {
        return Ok(key);
    }
    opened(path, &key, &ask()?)
}

fn opened(path: &Path, key: &PrivateKey, passphrase: &Secret) -> Result<PrivateKey, KeyError> {
    key.decrypt(passphrase.reveal()).map_err(|source| match source {
        ssh_key::Error::Crypto => KeyError::Passphrase(path.into()),
        source => KeyError::Form { path: path.into(), source },
    })
}

fn usable(path: &Path, key: &PrivateKey) -> Result<SoftwareKey, KeyError> {
    SoftwareKey::new(key)
        .map_err(|unusable| KeyError::Unfit { path: path.into(), reason: unusable.to_string() })
}

fn write(
    dir: &Path,
    slot: Slot,
    pair: KeypairData,
    passphrase: Option<&Secret>,
) -> Result<SoftwareKey, KeyError> {
    let path = path(dir, slot);
    usable(&path, &write_at(&path, &slot.to_string(), pair, passphrase)?)
}

/// Writes a new private key; it is what it comes back as.
fn write_at(
    path: &Path,
    name: &str,
    pair: KeypairData,
    passphrase: Option<&Secret>,
) -> Result<PrivateKey, KeyError> {
    let form = |source| KeyError::Form { path: path.into(), source };
    let key = PrivateKey::new(pair, format!("curfew {name}")).map_err(form)?;
    // One that this program cannot use is not written.
    usable(path, &key)?;
    let text = match passphrase {
        None => key.to_openssh(LineEnding::LF).map_err(form)?,
        Some(passphrase) => {
            let kdf = Kdf::Bcrypt { salt: random::bytes::<16>()?.into(), rounds: ROUNDS };
            let check = u32::from_be_bytes(random::bytes()?);
            let sealed = key.encrypt_with(Cipher::Aes256Ctr, kdf, check, passphrase.reveal());
            sealed.and_then(|sealed| sealed.to_openssh(LineEnding::LF)).map_err(form)?
        }
    };
    create_private(path, text.as_bytes())?;
    Ok(key)
}

/// Writes a new file that only its owner can read, durably.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
        _ => KeyError::File { path: path.into(), source },
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    // Under its name it is whole from the first moment on, and never takes the place of another.
    std::fs::hard_link(&beside, path).map_err(failed)?;
    std::fs::remove_file(&beside).map_err(failed)?;
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

/// Rounds of bcrypt: what ssh-keygen takes, about half a second for each key.
const ROUNDS: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Purpose, Sign as _};
    use std::os::unix::fs::PermissionsExt as _;

    const USER: Slot = Purpose::User.first();

    fn nobody() -> Result<Secret, SecretError> {
        Err(SecretError::Cancelled)
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), USER, Kind::Ed25519, None).unwrap();
        let path = dir.path().join("user_ca");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(dir.path(), USER, nobody);
        assert!(matches!(refused, Err(KeyError::Open { mode: 0o640, .. })));
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_alone_and_ssh_keygen_opens_it_too() {
        let dir = tempfile::tempdir().unwrap();
        let right = Secret::of("correct horse");
        let made = create(dir.path(), USER, Kind::Ed25519, Some(&right)).unwrap();
        assert!(is_encrypted(dir.path(), USER).unwrap());
        let read_with = |text: &str| read(dir.path(), USER, || Ok(Secret::of(text)));
        assert_eq!(read_with("correct horse").ok().unwrap().public(), made.public());
        assert!(matches!(read_with("correct hors"), Err(KeyError::Passphrase(_))));
        assert!(matches!(read(dir.path(), USER, nobody), Err(KeyError::Secret(_))));
        let said = std::process::Command::new("ssh-keygen")
            .args(["-y", "-P", "correct horse", "-f"])
            .arg(dir.path().join("user_ca"))
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.starts_with(&made.public().to_openssh().unwrap()), "{said}");
    }

    #[test]
    fn every_kind_is_made_signs_and_is_read_by_ssh_keygen() {
        for (kind, name) in [
            (Kind::Ed25519, "ssh-ed25519"),
            (Kind::EcdsaP256, "ecdsa-sha2-nistp256"),
            (Kind::EcdsaP384, "ecdsa-sha2-nistp384"),
            (Kind::EcdsaP521, "ecdsa-sha2-nistp521"),
            (Kind::Rsa3072, "ssh-rsa"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            create(dir.path(), USER, kind, None).unwrap();
            let key = read(dir.path(), USER, nobody).unwrap();
            let signature = key.sign(b"message").unwrap();
            wire::signature::verify(key.public().key_data(), b"message", &signature).unwrap();
            let said = std::process::Command::new("ssh-keygen")
                .args(["-y", "-f"])
                .arg(dir.path().join("user_ca"))
                .output()
                .unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(said.starts_with(name), "{said}");
            assert!(said.starts_with(&key.public().to_openssh().unwrap()), "{said}");
        }
    }

    #[test]
    fn keys_of_ssh_keygen_are_imported_and_weak_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let made = |kind: &str, bits: &str, passphrase: &str| {
            let path = dir.path().join(format!("{kind}{bits}{passphrase}"));
            let done = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-b", bits, "-N", passphrase, "-f"])
                .arg(&path)
                .status();
            assert!(done.unwrap().success());
            path
        };
        let ours = Secret::of("ours, and long");
        for (number, (kind, bits)) in [
            ("ed25519", "256"),
            ("ecdsa", "256"),
            ("ecdsa", "384"),
            ("ecdsa", "521"),
            ("rsa", "3072"),
        ]
        .into_iter()
        .enumerate()
        {
            let slot = Slot { purpose: Purpose::User, number: u32::try_from(number).unwrap() + 1 };
            let path = made(kind, bits, if number % 2 == 0 { "" } else { "ours, and long" });
            let key = import(dir.path(), slot, &path, Some(&ours)).unwrap();
            let signature = key.sign(b"message").unwrap();
            wire::signature::verify(key.public().key_data(), b"message", &signature).unwrap();
            let again = read(dir.path(), slot, || Ok(ours.clone())).unwrap();
            assert_eq!(again.public(), key.public());
        }
        let weak = made("rsa", "2048", "");
        let slot = Purpose::Host.first();
        let error = import(dir.path(), slot, &weak, None).err().unwrap().to_string();
        assert!(error.contains("RSA key of 2048 bits"), "{error}");
        assert!(!dir.path().join("host_ca").exists());
        let strange = made("ed25519", "256", "theirs");
        let error = import(dir.path(), slot, &strange, Some(&ours)).err().unwrap();
        assert!(matches!(error, KeyError::Passphrase(_)), "{error}");
        let error = import(dir.path(), slot, &strange, None).err().unwrap().to_string();
        assert!(error.contains("it is encrypted"), "{error}");
    }
}
