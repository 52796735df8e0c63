//! A custodian's share, under a passphrase; it is whole in memory only while something is signed.
//!
//! Shape: the group in the clear, then the share under ChaCha20-Poly1305 with a key that Argon2id (RFC 9106) makes of the
//! passphrase; everything before it is bound to it. Who can change this: the custodian. Gains: nothing; another group or number
//! does not open. Who reads it without the passphrase learns the group; with it, one share, which alone signs nothing.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use frost_ed25519::VerifyingKey;
use frost_ed25519::keys::{KeyPackage, SigningShare, VerifyingShare};
use rand_core::{CryptoRng, RngCore};
use wire::identifier::Custodian;
use zeroize::Zeroizing;

use crate::bytes::{Malformed, Reader, Writer};
use crate::group::{Group, GroupFlaw, fixed, identifier};
use crate::letter::{Kind, Letter, LetterFlaw};

/// A share as it is kept: locked.
#[derive(Clone, PartialEq, Eq)]
pub struct Locked {
    group: Group,
    number: u8,
    cost: Cost,
    salt: [u8; SALT],
    sealed: Vec<u8>,
}

/// A share that is open: wiped when it is dropped, and shown by nothing.
pub struct Share {
    pub(crate) group: Group,
    pub(crate) number: u8,
    pub(crate) name: Custodian,
    pub(crate) package: KeyPackage,
}

/// What it costs to try one passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

/// Why a share cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShareFlaw {
    /// It is no letter.
    #[error(transparent)]
    Letter(#[from] LetterFlaw),
    /// Its content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// Its group.
    #[error("the group in it: {0}")]
    Group(#[from] GroupFlaw),
    /// The passphrase is another, or somebody changed the file.
    #[error("it does not open: the passphrase is wrong, or the file was changed")]
    Locked,
    /// It would cost nothing, or more than there is, to try a passphrase.
    #[error(
        "it asks for {0} KiB and {1} passes to try a passphrase, which is not what was ever written"
    )]
    Cost(u32, u32),
    /// Too short to keep anything.
    #[error("a passphrase has at least {MIN_PASSPHRASE} characters; several words are good")]
    Passphrase,
    /// The system's cryptography failed.
    #[error("it could not be sealed")]
    Unsealed,
}

impl Cost {
    /// What is written today.
    pub const TODAY: Self = Self { memory_kib: 64 * 1024, passes: 3 };

    fn params(self) -> Result<Params, ShareFlaw> {
        let wrong = ShareFlaw::Cost(self.memory_kib, self.passes);
        let fits =
            (MIN_MEMORY..=MAX_MEMORY).contains(&self.memory_kib) && (1..=10).contains(&self.passes);
        if !fits {
            return Err(wrong);
        }
        Params::new(self.memory_kib, self.passes, 1, Some(32)).map_err(|_odd| wrong)
    }

    /// The least that is read: for tests, which open many.
    #[must_use]
    pub const fn least() -> Self {
        Self { memory_kib: MIN_MEMORY, passes: 1 }
    }
}

impl Locked {
    /// Reads a share from its letter.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &str) -> Result<Self, ShareFlaw> {
        let body = Letter::read(text)?.expect(Kind::Share)?;
        let mut from = Reader::new(&body);
        let group = Group::decode(from.bytes()?)?;
        let number = from.u8()?;
        let cost = Cost { memory_kib: from.u32()?, passes: from.u32()? };
        let (salt, sealed) = (from.array()?, from.take(SEALED)?.to_vec());
        from.end()?;
        cost.params()?;
        if group.members.contains_key(&number) {
            Ok(Self { group, number, cost, salt, sealed })
        } else {
            Err(Malformed("a share of nobody").into())
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> Option<&Custodian> {
        self.group.members.get(&self.number)
    }

    /// Of which group.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// The share as a letter.
    #[must_use]
    pub fn letter(&self) -> Letter {
        let mut to = Writer::default();
        to.raw(&self.head()).raw(&self.sealed);
        Letter::new(Kind::Share, to.done())
    }

    /// Opens it. Takes about a second: that is what it costs whoever guesses, too.
    ///
    /// # Errors
    /// When the passphrase is wrong, or what is inside does not belong to the group.
    pub fn open(&self, passphrase: &str) -> Result<Share, ShareFlaw> {
        let key = key(passphrase, &self.salt, self.cost)?;
        let mut bytes = Zeroizing::new(self.sealed.clone());
        let opened = key.open_in_place(nonce(), Aad::from(self.head()), &mut bytes);
        let opened = opened.map_err(|_wrong| ShareFlaw::Locked)?;
        let name = self.name().cloned().ok_or(ShareFlaw::Locked)?;
        let wrong = |_odd: frost_ed25519::Error| ShareFlaw::Locked;
        let share = SigningShare::deserialize(opened).map_err(wrong)?;
        let public = VerifyingShare::from(share);
        let known = self.group.shares.get(&self.number).ok_or(ShareFlaw::Locked)?;
        if public.serialize().map_err(wrong)? != known {
            return Err(ShareFlaw::Locked);
        }
        let package = KeyPackage::new(
            identifier(self.number).ok_or(ShareFlaw::Locked)?,
            share,
            public,
            VerifyingKey::deserialize(&self.group.key).map_err(wrong)?,
            u16::from(self.group.threshold),
        );
        Ok(Share { group: self.group.clone(), number: self.number, name, package })
    }

    fn head(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.text(&self.group.encode()).u8(self.number);
        to.u32(self.cost.memory_kib).u32(self.cost.passes).raw(&self.salt);
        to.done()
    }
}

/// The share itself is not shown.
impl std::fmt::Debug for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Locked({})", self.name().map_or("nobody", Custodian::as_str))
    }
}

impl Share {
    pub(crate) fn of(group: Group, number: u8, package: KeyPackage) -> Result<Self, GroupFlaw> {
        let name = group.members.get(&number).cloned().ok_or(GroupFlaw::Keys)?;
        let public =
            fixed(&package.verifying_share().serialize().map_err(|_odd| GroupFlaw::Keys)?)?;
        if group.shares.get(&number) != Some(&public) {
            return Err(GroupFlaw::Keys);
        }
        Ok(Self { group, number, name, package })
    }

    /// Whose it is.
    #[must_use]
    pub const fn name(&self) -> &Custodian {
        &self.name
    }

    /// Of which group.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// Locks it under `passphrase`.
    ///
    /// # Errors
    /// When the passphrase is too short, or the cryptography fails.
    pub fn lock(
        &self,
        passphrase: &str,
        cost: Cost,
        random: &mut (impl RngCore + CryptoRng),
    ) -> Result<Locked, ShareFlaw> {
        if passphrase.chars().count() < MIN_PASSPHRASE {
            return Err(ShareFlaw::Passphrase);
        }
        let mut salt = [0; SALT];
        random.fill_bytes(&mut salt);
        let (group, number) = (self.group.clone(), self.number);
        let mut locked = Locked { group, number, cost, salt, sealed: Vec::new() };
        let key = key(passphrase, &salt, cost)?;
        let mut bytes = Zeroizing::new(self.package.signing_share().serialize());
        let mut sealed = Vec::with_capacity(SEALED);
        let tag =
            key.seal_in_place_separate_tag(nonce(), Aad::from(locked.head()), bytes.as_mut_slice());
        let tag = tag.map_err(|_failed| ShareFlaw::Unsealed)?;
        sealed.extend_from_slice(&bytes);
        sealed.extend_from_slice(tag.as_ref());
        locked.sealed = sealed;
        Ok(locked)
    }
}

/// The share itself is not shown.
impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.name)
    }
}

fn key(passphrase: &str, salt: &[u8], cost: Cost) -> Result<LessSafeKey, ShareFlaw> {
    let mut key = Zeroizing::new([0; 32]);
    let maker = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()?);
    maker
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(|_odd| ShareFlaw::Unsealed)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice());
    key.map(LessSafeKey::new).map_err(|_odd| ShareFlaw::Unsealed)
}

/// Each key seals one thing: the salt is fresh each time.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Fewest characters of a passphrase.
pub const MIN_PASSPHRASE: usize = 12;
const SALT: usize = 16;
/// A scalar and a tag.
const SEALED: usize = 32 + 16;
/// The least and the most memory for trying a passphrase, in KiB: less is guessed too easily, more is no laptop's.
const MIN_MEMORY: u32 = 8 * 1024;
const MAX_MEMORY: u32 = 1024 * 1024;
