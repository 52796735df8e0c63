//! What a segment begins with: where it stands, the key that its records are sealed with, and the host's word on both.
//!
//! ```text
//!   0  magic "CRFWSPL", then the version, 1
//!   8  first u64            the number of its first record
//!  16  previous, 32 bytes   the hash of the frame before it; zeros where none is known
//!  48  key, 32 bytes        SHA-256 of the recording key that the segment's key is encrypted to
//!  80  80 bytes             the segment's key, by HPKE: an ephemeral key, 32 bytes of ciphertext, a tag
//! 160  u32 length | statement | u32 length | its signature     both empty on a host whose agent has no key
//! ```

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;

use crate::VERSION;
use crate::blob::{Blob, put};
use crate::identifier::HostName;
use crate::log::Hash;
use crate::recording::statement::{MAX_SAID, SaidError, Sentence, Signed};
use crate::sshsig::MAX_SEAL;

/// Where a segment stands, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// The number of its first record.
    pub first: u64,
    /// The hash of the frame before it; [`NOTHING`] where none is known.
    pub previous: Hash,
    /// The name of the recording key that the segment's key is encrypted to.
    pub key: Hash,
    /// The segment's key, encrypted.
    pub sealed: [u8; SEALED],
}

/// A cover and the host's word on it, which is not believed by being here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCover {
    /// The cover.
    pub cover: Cover,
    /// A [`Begun`], from a host whose agent has a key.
    pub said: Option<Signed>,
}

/// What a host says of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// The version of this format.
    pub version: u32,
    /// The host.
    pub host: HostName,
    /// The number of the segment's first record.
    pub first: u64,
    /// The cover's hash, which holds that of the last frame before it, and so all frames before it.
    pub head: Hash,
}

/// Why bytes are no cover, or one is not believed.
#[derive(Debug, thiserror::Error)]
pub enum CoverFlaw {
    /// They end too early.
    #[error("the segment's beginning is cut off")]
    Short,
    /// They begin otherwise, or say what no cover says.
    #[error("the segment does not begin as one of version 1 does")]
    Form,
    /// The host's agent has a key, and did not sign.
    #[error("the segment's beginning is not signed by the host's agent")]
    Unsigned,
    /// The signature is not the agent's.
    #[error("the segment's beginning was changed: {0}")]
    Said(#[from] SaidError),
    /// The host signed something else.
    #[error("the segment's beginning was changed: the host signed another")]
    Other,
}

impl Sentence for Begun {
    const NAMESPACE: &'static str = NAMESPACE;

    fn version(&self) -> u32 {
        self.version
    }
}

impl Cover {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = self.header();
        to.extend_from_slice(&self.sealed);
        to
    }

    /// What the encryption of the key is bound to.
    #[must_use]
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(COVER_BYTES);
        to.extend_from_slice(MAGIC);
        to.extend_from_slice(&self.first.to_be_bytes());
        to.extend_from_slice(&self.previous.0);
        to.extend_from_slice(&self.key.0);
        to
    }

    /// Reads the cover that `bytes` begin with.
    ///
    /// # Errors
    /// When they begin with none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CoverFlaw> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(CoverFlaw::Short)?;
        if magic != MAGIC {
            return Err(CoverFlaw::Form);
        }
        let (first, rest) = rest.split_first_chunk::<8>().ok_or(CoverFlaw::Short)?;
        let (previous, rest) = rest.split_first_chunk::<32>().ok_or(CoverFlaw::Short)?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(CoverFlaw::Short)?;
        let (sealed, _) = rest.split_first_chunk::<SEALED>().ok_or(CoverFlaw::Short)?;
        let first = u64::from_be_bytes(*first);
        if first == 0 || first > u64::MAX.saturating_sub(super::MAX_FRAMES) {
            return Err(CoverFlaw::Form);
        }
        Ok(Self { first, previous: Hash(*previous), key: Hash(*key), sealed: *sealed })
    }

    /// Its hash, to which the first frame refers.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.encode())
    }

    /// What `host` says of it.
    #[must_use]
    pub fn said_by(&self, host: &HostName) -> Begun {
        Begun { version: VERSION, host: host.clone(), first: self.first, head: self.hash() }
    }
}

impl SignedCover {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = self.cover.encode();
        let (text, signature) = match &self.said {
            Some(said) => (said.text.as_str(), said.signature.as_str()),
            None => ("", ""),
        };
        put(&mut to, text.as_bytes());
        put(&mut to, signature.as_bytes());
        to
    }

    /// Reads the signed cover that `bytes` begin with; says what follows it.
    ///
    /// # Errors
    /// When they begin with none.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), CoverFlaw> {
        let cover = Cover::decode(bytes)?;
        let mut rest = Blob::new(bytes.get(COVER_BYTES..).ok_or(CoverFlaw::Short)?);
        let mut text = |most: usize| {
            let length = rest.rest().first_chunk::<4>().ok_or(CoverFlaw::Short)?;
            if usize::try_from(u32::from_be_bytes(*length)).map_or(true, |length| length > most) {
                return Err(CoverFlaw::Form);
            }
            let string = rest.string().map_err(|_short| CoverFlaw::Short)?;
            std::str::from_utf8(string).map(str::to_owned).map_err(|_odd| CoverFlaw::Form)
        };
        let (text, signature) = (text(MAX_SAID)?, text(MAX_SEAL)?);
        let said = match (text.is_empty(), signature.is_empty()) {
            (true, true) => None,
            (false, false) => Some(Signed { text, signature }),
            _ => return Err(CoverFlaw::Form),
        };
        Ok((Self { cover, said }, rest.rest()))
    }

    /// Whether it is of `host`, whose agent has this key. A host whose agent has none is believed without.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(&self, host: &HostName, key: Option<&KeyData>) -> Result<(), CoverFlaw> {
        let Some(key) = key else { return Ok(()) };
        let said = self.said.as_ref().ok_or(CoverFlaw::Unsigned)?;
        let begun: Begun = said.read(std::iter::once(key))?;
        if begun == self.cover.said_by(host) { Ok(()) } else { Err(CoverFlaw::Other) }
    }
}

/// The SSHSIG namespace of what hosts say of segments.
pub const NAMESPACE: &str = "spool@curfew.internal";
/// What stands for the hash of a frame before the first, or of one that is not known.
pub const NOTHING: Hash = Hash([0; 32]);
/// Length of a cover without the host's word, in bytes.
pub const COVER_BYTES: usize = 160;
/// Length of an encrypted key: an ephemeral key, the key, a tag.
pub const SEALED: usize = 32 + 32 + 16;
/// Most bytes of a cover with the host's word.
pub const MAX_COVER: usize = COVER_BYTES + 8 + MAX_SAID + MAX_SEAL;
const MAGIC: &[u8; 8] = b"CRFWSPL\x01";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, Signature, SigningKey};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn cover() -> Cover {
        Cover { first: 7, previous: Hash([1; 32]), key: Hash([2; 32]), sealed: [3; SEALED] }
    }

    fn signed(cover: Cover, host: &str) -> SignedCover {
        let key = key(1);
        let begun = cover.said_by(&host.parse().unwrap());
        let said = Signed::make(&begun, key.public_key(), |message| raw(&key, message)).unwrap();
        SignedCover { cover, said: Some(said) }
    }

    #[test]
    fn a_cover_reads_back_with_and_without_the_hosts_word_and_a_cut_one_does_not() {
        let unsigned = SignedCover { cover: cover(), said: None };
        for whole in [signed(cover(), "db1"), unsigned] {
            let bytes = [whole.encode(), b"rest".to_vec()].concat();
            assert!(whole.encode().len() <= MAX_COVER);
            let (read, rest) = SignedCover::decode(&bytes).unwrap();
            assert_eq!((read, rest), (whole.clone(), &b"rest"[..]));
            for cut in 0..whole.encode().len() {
                assert!(matches!(SignedCover::decode(&bytes[..cut]), Err(CoverFlaw::Short)));
            }
        }
    }

    #[test]
    fn another_form_is_refused() {
        let mut other = cover().encode();
        other[7] = 2;
        assert!(matches!(Cover::decode(&other), Err(CoverFlaw::Form)));
        for first in [0, u64::MAX] {
            let odd = Cover { first, ..cover() }.encode();
            assert!(matches!(Cover::decode(&odd), Err(CoverFlaw::Form)));
        }
        let long = [cover().encode(), u32::MAX.to_be_bytes().to_vec()].concat();
        assert!(matches!(SignedCover::decode(&long), Err(CoverFlaw::Form)));
        let half = [&cover().encode()[..], &[0, 0, 0, 1], b"x", &[0; 4]].concat();
        assert!(matches!(SignedCover::decode(&half), Err(CoverFlaw::Form)));
    }

    #[test]
    fn the_agents_word_on_this_cover_of_this_host_is_believed_and_nothing_else() {
        let host: HostName = "db1".parse().unwrap();
        let [ours, other] = [1, 2].map(|seed| key(seed).public_key().key_data().clone());
        let good = signed(cover(), "db1");
        assert!(good.check(&host, Some(&ours)).is_ok() && good.check(&host, None).is_ok());
        assert!(matches!(good.check(&host, Some(&other)), Err(CoverFlaw::Said(_))));
        assert!(matches!(signed(cover(), "db2").check(&host, Some(&ours)), Err(CoverFlaw::Other)));
        let unsigned = SignedCover { said: None, ..good.clone() };
        assert!(matches!(unsigned.check(&host, Some(&ours)), Err(CoverFlaw::Unsigned)));
        for at in 8..COVER_BYTES {
            let mut bytes = good.encode();
            bytes[at] ^= 1;
            let (changed, _) = SignedCover::decode(&bytes).unwrap();
            assert!(matches!(changed.check(&host, Some(&ours)), Err(CoverFlaw::Other)), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_what_is_read_is_written_alike(
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [&MAGIC[..], &rest].concat();
            if let Ok((read, left)) = SignedCover::decode(&bytes) {
                prop_assert_eq!([read.encode(), left.to_vec()].concat(), bytes);
            }
        }
    }
}
