//! The authority's own keys: one for each purpose, each behind [`Sign`], wherever its private half lies.
//!
//! Made once by `init`, opened by `serve`, never made because one was missing. A purpose can hold several keys, each in
//! a [`Slot`] of its own: [`Store`] makes and opens them, [`Keyring`] holds those that have proved that they sign.
//!
//! Who can change what is stored: root and the authority's user. Gains: is the authority.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ssh_key::{PublicKey, Signature};
use wire::identifier::Fingerprint;

mod agent;
mod ecdsa;
mod fault;
mod file;
#[cfg(test)]
pub(crate) mod given;
pub(crate) mod guard;
mod make;
mod pinned;
mod proof;
mod remote;
pub(crate) mod secret;
mod software;
mod store;
mod token;

pub(crate) use fault::{KeyError, SignError};
pub(crate) use file::{create_private, read_private};
pub(crate) use store::{Kept, Protection, Store};

/// A key of the authority that signs.
pub(crate) trait Sign: Send + Sync {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// Whether a signature may have to wait for a device or another process: such a call stays off the async threads.
    fn waits(&self) -> bool {
        true
    }

    /// Why it did not sign the last time, while that lasts.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Signs the message, as OpenSSH would with this type of key.
    ///
    /// # Errors
    /// When whoever holds the private half does not sign.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// What a key is for; each has its own.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
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

/// The keys of an authority, by slot; no two are the same, and each has proved that it signs.
#[derive(Clone, Default)]
pub(crate) struct Keyring {
    keys: BTreeMap<Slot, Arc<dyn Sign>>,
}

/// The keys of an authority that serves: a key that is made meanwhile is there for whoever looks next.
#[derive(Debug)]
pub(crate) struct Ring(RwLock<Arc<Keyring>>);

impl Ring {
    /// With these keys.
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(keyring)))
    }

    /// The keys of now.
    pub(crate) fn now(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Other keys from now on.
    pub(crate) fn replace(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
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

    /// What it is called in `ca.toml` and on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
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
    #[cfg(test)]
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
    /// Takes in a key that [`Store`] made or opened; one that lies in another slot already is refused.
    pub(crate) fn add(&mut self, slot: Slot, key: Arc<dyn Sign>) -> Result<(), KeyError> {
        let same = |(_, other): &(&Slot, &Arc<dyn Sign>)| {
            other.public().key_data() == key.public().key_data()
        };
        match self.keys.iter().find(same) {
            Some((other, _)) => Err(KeyError::Shared(*other, slot)),
            None => {
                self.keys.insert(slot, key);
                Ok(())
            }
        }
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

    /// The key with this fingerprint, if there is one.
    pub(crate) fn find(&self, fingerprint: &Fingerprint) -> Option<Arc<dyn Sign>> {
        let is_it = |key: &&Arc<dyn Sign>| {
            wire::certificate::fingerprint(key.public().key_data()) == *fingerprint
        };
        self.keys.values().find(is_it).map(Arc::clone)
    }

    /// The keys that did not sign the last time, and why.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (Slot, String)> {
        self.keys.iter().filter_map(|(slot, key)| Some((*slot, key.trouble()?)))
    }

    /// The purpose's oldest key.
    #[cfg(test)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_two_slots_is_refused() {
        let mut keyring = Keyring::default();
        keyring.add(Purpose::User.first(), given::key(1)).unwrap();
        for slot in [Purpose::Host.first(), Purpose::User.first().next()] {
            let error = keyring.add(slot, given::key(1)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("user_ca and {slot} are the same key")), "{error}");
        }
        keyring.add(Purpose::Host.first(), given::key(2)).unwrap();
    }

    #[test]
    fn a_slot_is_called_after_its_purpose() {
        let first = Purpose::User.first();
        assert_eq!([first, first.next()].map(|slot| slot.to_string()), ["user_ca", "user_ca.2"]);
    }
}
