//! The authority's own keys: one for each purpose, each behind [`Sign`], wherever its private half lies.
//!
//! Made once by `init`, opened by `serve`, never made because one was missing. A purpose can hold several keys, each in
//! a [`Slot`] of its own; [`Keyring`] finds them.
//!
//! Who can change what is stored: root and the authority's user. Gains: is the authority.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ssh_key::{PublicKey, Signature};

use crate::random::NoRandomness;

mod ecdsa;
mod file;
#[cfg(test)]
pub(crate) mod given;
mod software;

pub(crate) use file::{create_private, read_private};

/// A key of the authority that signs. A call may wait for a device or another process: keep it off the async threads.
pub(crate) trait Sign: Send + Sync {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// Signs the message, as OpenSSH would with this type of key.
    ///
    /// # Errors
    /// When whoever holds the private half does not sign.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// Why a key did not sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The computation failed.
    #[error("the key did not sign: the computation failed")]
    Computation,
    /// What came out is no signature.
    #[error("the key made no signature of its type: {0}")]
    Form(#[from] ssh_key::Error),
}

/// What a key is for; each has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Where one key of a purpose belongs: the first when the authority is set up, the next ones when it is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// What its key is for.
    pub(crate) purpose: Purpose,
    /// Counted from 1; never used twice.
    pub(crate) number: u32,
}

/// The keys of an authority, by slot; no two are the same.
#[derive(Clone)]
pub(crate) struct Keyring {
    keys: BTreeMap<Slot, Arc<dyn Sign>>,
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
    /// The key cannot sign what it is for.
    #[error("{path}: {reason}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Two purposes share one key.
    #[error("{0} and {1} are the same key; each purpose needs its own")]
    Shared(Slot, Slot),
    /// No key can be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl Purpose {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::User, Self::Host, Self::Order, Self::Log];

    /// What its slots are called after.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user_ca",
            Self::Host => "host_ca",
            Self::Order => "order",
            Self::Log => "log",
        }
    }

    /// The slot of its first key.
    pub(crate) const fn first(self) -> Slot {
        Slot { purpose: self, number: 1 }
    }
}

impl Slot {
    /// The slot of the key that comes after this one.
    #[cfg_attr(not(test), expect(dead_code, reason = "there is no successor yet"))]
    pub(crate) const fn next(self) -> Self {
        Self { purpose: self.purpose, number: self.number.saturating_add(1) }
    }
}

/// `user_ca` for the first, `user_ca.2` for the second.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.purpose.name())?;
        if self.number == 1 { Ok(()) } else { write!(f, ".{}", self.number) }
    }
}

impl Keyring {
    /// Opens every key in `dir`; makes none. Each purpose has at least its first or a later one.
    pub(crate) fn open(dir: &Path) -> Result<Self, KeyError> {
        let mut keys: BTreeMap<Slot, Arc<dyn Sign>> = BTreeMap::new();
        for purpose in Purpose::ALL {
            for slot in slots(dir, purpose)? {
                keys.insert(slot, Arc::new(file::read(dir, slot)?));
            }
        }
        refuse_shared(&keys)?;
        Ok(Self { keys })
    }

    /// Makes a key for the slot in `dir`, where there must be none.
    pub(crate) fn create(dir: &Path, slot: Slot) -> Result<(), KeyError> {
        file::create(dir, slot)
    }

    /// The key in this slot, if there is one.
    pub(crate) fn key(&self, slot: Slot) -> Option<Arc<dyn Sign>> {
        self.keys.get(&slot).map(Arc::clone)
    }

    /// The slots of this purpose that hold a key, lowest number first.
    pub(crate) fn slots(&self, purpose: Purpose) -> impl Iterator<Item = (Slot, &PublicKey)> {
        let range = Slot { purpose, number: 0 }..=Slot { purpose, number: u32::MAX };
        self.keys.range(range).map(|(slot, key)| (*slot, key.public()))
    }

    /// The purpose's oldest key.
    pub(crate) fn oldest(&self, purpose: Purpose) -> Result<Arc<dyn Sign>, KeyError> {
        let slot = self.slots(purpose).map(|(slot, _)| slot).next();
        slot.and_then(|slot| self.key(slot)).ok_or_else(|| KeyError::Missing(purpose.name().into()))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys().map(ToString::to_string)).finish()
    }
}

/// The slots of this purpose that have a file in `dir`; the first one if there is none, so that what is missing has a name.
fn slots(dir: &Path, purpose: Purpose) -> Result<Vec<Slot>, KeyError> {
    let failed = |source| KeyError::File { path: dir.into(), source };
    let mut slots = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| match name.strip_prefix(purpose.name())? {
            "" => Some(1),
            rest => rest.strip_prefix('.')?.parse().ok().filter(|number| *number > 1),
        });
        let slot = number.map(|number| Slot { purpose, number });
        slots.extend(slot.filter(|slot| name.to_str() == Some(&slot.to_string())));
    }
    slots.sort_unstable();
    if slots.is_empty() {
        slots.push(purpose.first());
    }
    Ok(slots)
}

/// Refuses a key that lies in two slots.
fn refuse_shared(keys: &BTreeMap<Slot, Arc<dyn Sign>>) -> Result<(), KeyError> {
    let mut seen = BTreeMap::new();
    for (slot, key) in keys {
        if let Some(other) = seen.insert(key.public().key_data(), slot) {
            return Err(KeyError::Shared(*other, *slot));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_up() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for purpose in Purpose::ALL {
            Keyring::create(dir.path(), purpose.first()).unwrap();
        }
        dir
    }

    #[test]
    fn a_key_is_never_overwritten_and_never_made_by_opening() {
        let dir = set_up();
        let order = Purpose::Order.first();
        std::fs::remove_file(dir.path().join("order")).unwrap();
        assert!(matches!(Keyring::open(dir.path()), Err(KeyError::Missing(_))));
        Keyring::create(dir.path(), order).unwrap();
        let public = Keyring::open(dir.path()).unwrap().key(order).unwrap().public().clone();
        assert!(matches!(Keyring::create(dir.path(), order), Err(KeyError::Exists(_))));
        assert_eq!(Keyring::open(dir.path()).unwrap().key(order).unwrap().public(), &public);
    }

    #[test]
    fn one_key_in_two_slots_is_refused() {
        let dir = set_up();
        for (from, to) in [("user_ca", "host_ca"), ("log", "log.2")] {
            let kept = std::fs::read(dir.path().join(to)).ok();
            std::fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
            let error = Keyring::open(dir.path()).unwrap_err();
            assert!(matches!(error, KeyError::Shared(..)), "{error}");
            match kept {
                Some(kept) => std::fs::write(dir.path().join(to), kept).unwrap(),
                None => std::fs::remove_file(dir.path().join(to)).unwrap(),
            }
        }
        Keyring::open(dir.path()).unwrap();
    }

    #[test]
    fn a_purpose_can_hold_several_keys() {
        let dir = set_up();
        let second = Purpose::User.first().next();
        Keyring::create(dir.path(), second).unwrap();
        for odd in ["user_ca.1", "user_ca.02", "user_ca.pub", "user_ca2"] {
            std::fs::write(dir.path().join(odd), "").unwrap();
        }
        let keyring = Keyring::open(dir.path()).unwrap();
        let slots: Vec<String> =
            keyring.slots(Purpose::User).map(|(slot, _)| slot.to_string()).collect();
        assert_eq!(slots, ["user_ca", "user_ca.2"]);
        let first = keyring.key(Purpose::User.first()).unwrap();
        assert_eq!(keyring.oldest(Purpose::User).unwrap().public(), first.public());
    }
}
