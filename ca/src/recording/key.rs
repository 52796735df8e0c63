//! The authority's recording keys: what hosts encrypt recordings to, and what opens them again.
//!
//! Each is a file in the state folder, `recording` for the first and `recording.2` for the one after it, in OpenSSH's own
//! form and protected like the ledger's key: an Ed25519 seed, from which the X25519 key is derived. The newest is the one
//! that hosts are told; all of them are kept, because what was recorded to one opens with no other.
//!
//! Who can change these: root and the authority's user. Gains: with the passphrase, reads what terminals showed; without
//! the files nobody does any more.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};
use wire::log::Hash;
use wire::recording::RecordingKey;
use wire::recording::block::Block;
use wire::recording::record::Record;
use wire::recording::seal::{OpenError, OpeningKey};
use wire::spool::cover::Cover;
use wire::spool::seal::Keys;
use zeroize::Zeroizing;

/// Every recording key there is.
#[derive(Default)]
pub(crate) struct OpeningKeys {
    keys: BTreeMap<Hash, OpeningKey>,
    newest: Option<RecordingKey>,
}

impl OpeningKeys {
    /// Takes in the next key.
    pub(crate) fn add(&mut self, key: OpeningKey) {
        self.newest = Some(key.public());
        self.keys.insert(key.public().name(), key);
    }

    /// The key that hosts are told; nothing where there is none.
    pub(crate) const fn newest(&self) -> Option<RecordingKey> {
        self.newest
    }

    /// Opens a block with the key that it names.
    ///
    /// # Errors
    /// When that key is not here, or the block is not what was recorded.
    pub(crate) fn open(&self, block: &Block) -> Result<Vec<Record>, OpenError> {
        let name = block.header().key;
        self.keys.get(&name).ok_or(OpenError::Key(name))?.open(block)
    }

    /// Opens the key of a segment of a host's spool with the key that it names.
    ///
    /// # Errors
    /// When that key is not here, or the segment's beginning is not what was written.
    pub(crate) fn segment(&self, cover: &Cover) -> Result<Keys, OpenError> {
        self.keys.get(&cover.key).ok_or(OpenError::Key(cover.key))?.segment(cover)
    }
}

impl fmt::Debug for OpeningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.values()).finish()
    }
}

/// The recording key of this seed.
pub(crate) fn derive(seed: &[u8; 32]) -> Result<OpeningKey, aws_lc_rs::error::Unspecified> {
    let secret = Sha256::new().chain_update(DERIVATION).chain_update(seed).finalize();
    OpeningKey::new(&Zeroizing::new(secret.into()))
}

/// Parts this use of a seed from every other.
const DERIVATION: &[u8] = b"curfew recording key v1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use wire::channel::ChannelId;
    use wire::identifier::SessionId;
    use wire::recording::BLOCK_AGE;
    use wire::recording::batch::Gatherer;
    use wire::recording::block::Chain;
    use wire::recording::record::{Begin, Size};
    use wire::recording::seal::Sealer;
    use wire::time::{Timestamp, Uptime};

    #[test]
    fn a_seed_is_always_the_same_key_and_another_seed_another() {
        let key = derive(&[1; 32]).unwrap().public();
        assert_eq!(key, derive(&[1; 32]).unwrap().public());
        assert_ne!(key, derive(&[2; 32]).unwrap().public());
        assert_eq!(key.to_string(), KNOWN);
    }

    #[test]
    fn every_key_there_was_opens_what_was_recorded_to_it() {
        let begin = Begin { at: Timestamp::from_secs(1), size: Size::default(), term: None };
        let of = (SessionId::new(NonZeroU64::new(7).unwrap()), ChannelId::new(8));
        let mut keys = OpeningKeys::default();
        let mut blocks = Vec::new();
        for seed in [1, 2] {
            let key = derive(&[seed; 32]).unwrap();
            let at = Uptime::from_nanos(1);
            let mut gatherer = Gatherer::new(begin.clone(), at);
            let batch = gatherer.take_due(at.after(BLOCK_AGE)).unwrap();
            blocks.push(Sealer::new(Chain::new(of.0, of.1), key.public()).seal(&batch).unwrap());
            if seed == 2 {
                assert!(matches!(keys.open(&blocks[1]), Err(OpenError::Key(_))));
            }
            keys.add(key);
        }
        assert_eq!(keys.newest(), Some(derive(&[2; 32]).unwrap().public()));
        assert!(blocks.iter().all(|block| keys.open(block).unwrap().len() == 1));
    }

    /// Computed by another program; kept here so that no change of the derivation makes recordings unreadable.
    const KNOWN: &str = "x25519:smOQ+t4p5TLz7zUtmE53kunEBFlrBJdhsv2ZYcQkMyA=";
}
