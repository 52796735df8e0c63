//! A group: who holds shares of one key, how many of them sign, and the public half of it all.
//!
//! Who can change this: whoever can write the file. Gains: custodians refuse to sign for a group that is not the one of their
//! own share, which carries it sealed; a false file makes a ceremony fail and opens nothing.

use std::collections::BTreeMap;

use frost_ed25519::Identifier;
use frost_ed25519::VerifyingKey;
use frost_ed25519::keys::{PublicKeyPackage, VerifyingShare};
use sha2::{Digest as _, Sha256};
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};
use wire::breakglass::MAX_SIGNERS;
use wire::identifier::Custodian;
use wire::time::Timestamp;

use crate::bytes::{Malformed, Reader, Writer};
use crate::letter::{Kind, Letter, LetterFlaw};

/// The public half of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(crate) members: BTreeMap<u8, Custodian>,
    pub(crate) threshold: u8,
    /// How often its shares were made anew.
    pub(crate) generation: u32,
    pub(crate) expires: Timestamp,
    pub(crate) key: [u8; 32],
    pub(crate) shares: BTreeMap<u8, [u8; 32]>,
}

/// Why a text or a list is no group.
#[derive(Debug, thiserror::Error)]
pub enum GroupFlaw {
    /// It is no letter.
    #[error(transparent)]
    Letter(#[from] LetterFlaw),
    /// Its content.
    #[error(transparent)]
    Content(#[from] Malformed),
    /// Too few or too many.
    #[error("a group has 2 to {MAX_MEMBERS} custodians, and this has {0}")]
    Members(usize),
    /// One twice.
    #[error("the custodian {0} is there twice")]
    Twice(Custodian),
    /// Nobody could sign, or one alone could.
    #[error("of {members} custodians 2 to {most} can be asked to sign, and not {threshold}")]
    Threshold {
        /// How many there are.
        members: usize,
        /// How many may be asked for.
        most: usize,
        /// How many were asked for.
        threshold: u8,
    },
    /// What stands in it is no key, or they do not belong together.
    #[error("its keys are no keys of one group")]
    Keys,
}

impl Group {
    /// Reads a group from its letter.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(text: &str) -> Result<Self, GroupFlaw> {
        Self::decode(&Letter::read(text)?.expect(Kind::Group)?)
    }

    /// The group as a letter.
    #[must_use]
    pub fn letter(&self) -> Letter {
        Letter::new(Kind::Group, self.encode())
    }

    /// Its custodians, by number.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<u8, Custodian> {
        &self.members
    }

    /// How many of them sign.
    #[must_use]
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// How often its shares were made anew.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// From when on it is not to be used any more.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Its public key, as hosts believe it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(self.key_data(), "")
    }

    /// Its public key.
    #[must_use]
    pub fn key_data(&self) -> KeyData {
        KeyData::Ed25519(Ed25519PublicKey(self.key))
    }

    /// What names it, members and generation included.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update("curfew break-glass group\0")
            .chain_update(self.encode())
            .finalize()
            .into()
    }

    /// The number of a custodian.
    #[must_use]
    pub fn number(&self, name: &Custodian) -> Option<u8> {
        self.members.iter().find(|(_, member)| *member == name).map(|(number, _)| *number)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(self.threshold).u32(self.generation).u64(self.expires.secs()).raw(&self.key);
        to.count(self.members.len());
        for (number, name) in &self.members {
            let share = self.shares.get(number).copied().unwrap_or_default();
            to.u8(*number).text(name.as_str().as_bytes()).raw(&share);
        }
        to.done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, GroupFlaw> {
        let mut from = Reader::new(bytes);
        let (threshold, generation) = (from.u8()?, from.u32()?);
        let (expires, key) = (Timestamp::from_secs(from.u64()?), from.array()?);
        let (mut members, mut shares) = (BTreeMap::new(), BTreeMap::new());
        let mut last = 0;
        for _ in 0..from.u8()? {
            let number = from.u8()?;
            if number <= last {
                return Err(Malformed("members out of order").into());
            }
            last = number;
            members.insert(number, from.name("a member's name")?);
            shares.insert(number, from.array()?);
        }
        from.end()?;
        check_members(&members, threshold)?;
        let group = Self { members, threshold, generation, expires, key, shares };
        group.package()?;
        Ok(group)
    }

    /// The group as FROST has it.
    pub(crate) fn package(&self) -> Result<PublicKeyPackage, GroupFlaw> {
        let wrong = |_error: frost_ed25519::Error| GroupFlaw::Keys;
        let mut shares = BTreeMap::new();
        for (number, share) in &self.shares {
            let share = VerifyingShare::deserialize(share).map_err(wrong)?;
            shares.insert(identifier(*number).ok_or(GroupFlaw::Keys)?, share);
        }
        let key = VerifyingKey::deserialize(&self.key).map_err(wrong)?;
        Ok(PublicKeyPackage::new(shares, key, Some(u16::from(self.threshold))))
    }

    pub(crate) fn of(
        plan: (&BTreeMap<u8, Custodian>, u8, u32, Timestamp),
        package: &PublicKeyPackage,
    ) -> Result<Self, GroupFlaw> {
        let (members, threshold, generation, expires) = plan;
        let wrong = |_error: frost_ed25519::Error| GroupFlaw::Keys;
        let key = fixed(&package.verifying_key().serialize().map_err(wrong)?)?;
        let mut shares = BTreeMap::new();
        for number in members.keys() {
            let found = identifier(*number).and_then(|name| package.verifying_shares().get(&name));
            let share = found.ok_or(GroupFlaw::Keys)?.serialize().map_err(wrong)?;
            shares.insert(*number, fixed(&share)?);
        }
        Ok(Self { members: members.clone(), threshold, generation, expires, key, shares })
    }
}

/// Whether these can be the members of a group.
pub(crate) fn check_members(
    members: &BTreeMap<u8, Custodian>,
    threshold: u8,
) -> Result<(), GroupFlaw> {
    if !(2..=MAX_MEMBERS).contains(&members.len()) {
        return Err(GroupFlaw::Members(members.len()));
    }
    let mut names = std::collections::BTreeSet::new();
    if let Some(twice) = members.values().find(|name| !names.insert(*name)) {
        return Err(GroupFlaw::Twice(twice.clone()));
    }
    let most = members.len().min(MAX_SIGNERS);
    if (2..=most).contains(&usize::from(threshold)) && !members.contains_key(&0) {
        Ok(())
    } else {
        Err(GroupFlaw::Threshold { members: members.len(), most, threshold })
    }
}

/// A member's number as FROST has it; none for 0.
pub(crate) fn identifier(number: u8) -> Option<Identifier> {
    Identifier::try_from(u16::from(number)).ok()
}

pub(crate) fn fixed(bytes: &[u8]) -> Result<[u8; 32], GroupFlaw> {
    bytes.try_into().map_err(|_length| GroupFlaw::Keys)
}

/// Most custodians of a group.
pub const MAX_MEMBERS: usize = 10;
