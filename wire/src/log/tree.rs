//! Hashes of the tree and the two proofs over them (RFC 6962 section 2.1, checked as RFC 9162 section 2.1 says).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{FormError, MAX_NUMBER, Unproved, form};

/// A SHA-256 hash; as text, standard base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The SHA-256 of `bytes`, as they are: no leaf and no node.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// A tree: how many entries, and the hash over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many entries; below 2^63.
    pub size: u64,
    /// The hash at the root.
    pub root: Hash,
}

impl Head {
    /// The tree without entries: its root is the hash of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { size: 0, root: Hash::of(b"") }
    }
}

/// The hash of an entry: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// Checks that the entry with hash `leaf` stands at `index` of the tree `head`; `path` leads from the leaf's sibling
/// to the root's child.
///
/// # Errors
/// When the path does not lead from this leaf, at this index, to this root, in exactly as many steps as it must.
pub fn verify_inclusion(leaf: Hash, index: u64, path: &[Hash], head: Head) -> Result<(), Unproved> {
    let refused = Unproved::Inclusion { index, size: head.size };
    if index >= head.size || head.size > MAX_NUMBER || path.len() > MAX_PATH {
        return Err(refused);
    }
    let mut place = Place::of(index, head.size);
    let mut root = leaf;
    for step in path {
        if place.is_root() {
            return Err(refused);
        }
        root = if place.is_right() { node_hash(*step, root) } else { node_hash(root, *step) };
        place.up();
    }
    if place.is_root() && root == head.root { Ok(()) } else { Err(refused) }
}

/// Checks that the tree `new` continues the tree `old`: that its first entries are those of `old`, unchanged.
///
/// # Errors
/// When the path does not prove it, or `new` is smaller; two trees of one size must be the same, with an empty path.
pub fn verify_consistency(old: Head, new: Head, path: &[Hash]) -> Result<(), Unproved> {
    let refused = Unproved::Consistency { old: old.size, new: new.size };
    if old.size > new.size || new.size > MAX_NUMBER || path.len() > MAX_PATH {
        return Err(refused);
    }
    if old.size == new.size || old.size == 0 {
        let same = if old.size == 0 { old == Head::empty() } else { old == new };
        let possible = new.size > 0 || new == Head::empty();
        return if same && possible && path.is_empty() { Ok(()) } else { Err(refused) };
    }
    if consistent(old, new, path) { Ok(()) } else { Err(refused) }
}

/// For 0 < old.size < new.size.
fn consistent(old: Head, new: Head, path: &[Hash]) -> bool {
    let mut place = Place::of(old.size.saturating_sub(1), new.size);
    while place.index & 1 == 1 {
        place.shift();
    }
    // An old tree that is a whole subtree of the new one is where the path begins, and is not sent.
    let (first, rest) = if old.size.is_power_of_two() {
        (old.root, path)
    } else {
        match path.split_first() {
            Some((first, rest)) => (*first, rest),
            None => return false,
        }
    };
    let (mut was, mut is) = (first, first);
    for step in rest {
        if place.is_root() {
            return false;
        }
        if place.is_right() {
            was = node_hash(*step, was);
            is = node_hash(*step, is);
        } else {
            is = node_hash(is, *step);
        }
        place.up();
    }
    place.is_root() && was == old.root && is == new.root
}

/// A node's place on one level of a tree: its index, and that of the level's last node.
struct Place {
    index: u64,
    last: u64,
}

impl Place {
    /// For a tree of at least one entry.
    const fn of(index: u64, size: u64) -> Self {
        Self { index, last: size.saturating_sub(1) }
    }

    const fn is_root(&self) -> bool {
        self.last == 0
    }

    /// Whether the sibling that the next step brings stands to the left.
    const fn is_right(&self) -> bool {
        self.index & 1 == 1 || self.index == self.last
    }

    /// To the level where the node just made stands: a last node without a right sibling rises as it is.
    const fn up(&mut self) {
        if self.index & 1 == 0 && self.index == self.last {
            while self.index & 1 == 0 && self.index != 0 {
                self.shift();
            }
        }
        self.shift();
    }

    const fn shift(&mut self) {
        self.index >>= 1;
        self.last >>= 1;
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Hash {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        let odd = form("hash", "is not 32 bytes in standard base64 with padding");
        let mut bytes = [0; 33];
        match STANDARD.decode_slice(text, &mut bytes) {
            Ok(32) => bytes.first_chunk().copied().map(Self).ok_or(odd),
            _ => Err(odd),
        }
    }
}

impl TryFrom<String> for Hash {
    type Error = FormError;
    fn try_from(text: String) -> Result<Self, FormError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

/// Most hashes in a proof: a tree of 2^63 entries has 63 levels, and tlog-witness allows no more.
pub const MAX_PATH: usize = 63;
