//! Closes batches into blocks, and opens blocks again: zstd, then HPKE (RFC 9180) in base mode with X25519, HKDF-SHA-256
//! and AES-256-GCM. The header is authenticated with the body.
//!
//! Each block has a key of its own that the host forgets at once: who becomes root there later reads nothing from before.
//! Base mode names no sender; who wrote a block, the host's signature says ([`super::statement`]).
//!
//! Closing draws randomness, the one place in this package that does; which, is HPKE's affair and nobody's choice.

use std::fmt;

use aws_lc_rs::agreement::{self, X25519};
use aws_lc_rs::error::Unspecified;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};

use crate::log::Hash;
use crate::time::Uptime;

use super::MAX_PLAIN;
use super::batch::Batch;
use super::block::{Block, BlockFlaw, Chain, Header};
use super::key::RecordingKey;
use super::record::{Content, Record, RecordFlaw};

/// Why a batch did not become a block.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It could not be compressed.
    #[error("a block could not be compressed")]
    Compress(#[source] std::io::Error),
    /// It could not be encrypted: the recording key is none.
    #[error("a block could not be encrypted to the recording key")]
    Encrypt(#[source] rustls::Error),
    /// It is no block: more than one holds.
    #[error("a block could not be made: {0}")]
    Block(#[from] BlockFlaw),
}

/// Why a block could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is encrypted to another key.
    #[error("it is encrypted to another recording key ({0})")]
    Key(Hash),
    /// It is not what was encrypted: the header or the body was changed.
    #[error("it cannot be decrypted: it was changed, or was never encrypted to this key")]
    Decrypt,
    /// Its plaintext is not what the header says.
    #[error("its contents are not as long as its header says")]
    Length,
    /// One of its records is none.
    #[error("its contents cannot be read: {0}")]
    Record(#[from] RecordFlaw),
    /// Its records are not those that the header says, or stand where they must not.
    #[error("its records are not those that its header says ({0})")]
    Records(&'static str),
}

/// Closes the batches of one recording, in order.
#[derive(Debug)]
pub struct Sealer {
    chain: Chain,
    key: RecordingKey,
}

/// The private half of a recording key.
pub struct OpeningKey {
    private: HpkePrivateKey,
    public: RecordingKey,
}

impl Sealer {
    /// Goes on after `chain`, encrypting to `key`.
    #[must_use]
    pub const fn new(chain: Chain, key: RecordingKey) -> Self {
        Self { chain, key }
    }

    /// How far the recording is.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Makes the next block of `batch`. It counts as made at once: a block that is not kept afterwards is missing.
    ///
    /// # Errors
    /// When it cannot be compressed or encrypted; then nothing has changed.
    pub fn seal(&mut self, batch: &Batch) -> Result<Block, SealError> {
        let packed = zstd::bulk::compress(&batch.plain, LEVEL).map_err(SealError::Compress)?;
        let long = || BlockFlaw::Header("its length");
        let plain = u32::try_from(batch.plain.len()).map_err(|_beyond| long())?;
        let body =
            u32::try_from(packed.len().saturating_add(OVERHEAD)).map_err(|_beyond| long())?;
        let header = Header {
            session: self.chain.session(),
            channel: self.chain.channel(),
            number: self.chain.blocks().saturating_add(1),
            first: batch.first,
            last: batch.last,
            from: batch.from,
            until: batch.until,
            offset: self.chain.offset(),
            keyframe: batch.keyframe,
            plain,
            body,
            ends: batch.ends,
            key: self.key.name(),
            previous: self.chain.head(),
        };
        let mut bytes = header.encode();
        let body = encrypt(&self.key, (INFO, &bytes), &packed).map_err(SealError::Encrypt)?;
        bytes.extend_from_slice(&body);
        let block = Block::parse(bytes)?;
        self.chain = Chain::after(&block);
        Ok(block)
    }
}

impl OpeningKey {
    /// The key of these 32 secret bytes, which are random.
    ///
    /// # Errors
    /// When the library takes them not.
    pub fn new(secret: &[u8; 32]) -> Result<Self, Unspecified> {
        let private = agreement::PrivateKey::from_private_key(&X25519, secret)
            .map_err(|_says_no_more| Unspecified)?;
        let public = private.compute_public_key()?;
        let public: [u8; 32] = public.as_ref().try_into().map_err(|_other_length| Unspecified)?;
        Ok(Self { private: secret.to_vec().into(), public: RecordingKey::new(public) })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> RecordingKey {
        self.public
    }

    /// Opens a block, and holds it against its header: these records and no others.
    ///
    /// # Errors
    /// When it is another key's, was changed, or is not what its header says.
    pub fn open(&self, block: &Block) -> Result<Vec<Record>, OpenError> {
        let header = block.header();
        if header.key != self.public.name() {
            return Err(OpenError::Key(header.key));
        }
        let packed = self.decrypt((INFO, &header.encode()), block.body())?;
        // What it says beyond its limit is never made room for.
        let plain = zstd::bulk::decompress(&packed, MAX_PLAIN).map_err(|_odd| OpenError::Length)?;
        if u32::try_from(plain.len()) != Ok(header.plain) {
            return Err(OpenError::Length);
        }
        records(header, &plain)
    }

    /// Opens what [`encrypt`] made of the same purpose and header.
    pub(crate) fn decrypt(
        &self,
        (info, header): (&[u8], &[u8]),
        body: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let (secret, sealed) = body.split_first_chunk::<32>().ok_or(OpenError::Decrypt)?;
        let secret = EncapsulatedSecret(secret.to_vec());
        SUITE
            .open(&secret, info, header, sealed, &self.private)
            .map_err(|_says_no_more| OpenError::Decrypt)
    }
}

/// Encrypts to `key` for the purpose `info`, with `header` in the clear: the ephemeral key, then the ciphertext and its tag,
/// [`OVERHEAD`] bytes more than `plain`.
pub(crate) fn encrypt(
    key: &RecordingKey,
    (info, header): (&[u8], &[u8]),
    plain: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    let to = HpkePublicKey(key.as_bytes().to_vec());
    let (secret, sealed) = SUITE.seal(info, header, plain, &to)?;
    Ok([secret.0, sealed].concat())
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpeningKey").field(&self.public).finish()
    }
}

/// Reads a block's records, and checks what a header says of them.
fn records(header: &Header, plain: &[u8]) -> Result<Vec<Record>, OpenError> {
    let (mut rest, mut records) = (plain, Vec::new());
    let (mut number, mut at) = (header.first, header.from);
    while !rest.is_empty() {
        let (record, left) = Record::read(rest)?;
        rest = left;
        if record.number != number {
            return Err(OpenError::Records("they are not numbered without gaps"));
        }
        if record.at < at || record.at > header.until {
            return Err(OpenError::Records("their times go back"));
        }
        let first = record.number == header.first;
        let fits = match record.content {
            Content::Begin(_) => record.number == 1,
            Content::Size(_) => record.number != 1,
            Content::End(_) => !first && header.ends && record.number == header.last,
            _ => !(first || header.ends && record.number == header.last),
        };
        if !fits {
            return Err(OpenError::Records("one stands where it must not"));
        }
        if first && record.at != header.from {
            return Err(OpenError::Records("the first was made at another time"));
        }
        (number, at) = (number.saturating_add(1), record.at);
        records.push(record);
    }
    let ends = records.last().map(|record| (record.number, record.at));
    if ends == Some((header.last, Uptime::from_nanos(header.until.nanos()))) {
        Ok(records)
    } else {
        Err(OpenError::Records("there are more or fewer"))
    }
}

/// What HPKE is told that it is for.
const INFO: &[u8] = b"recording@curfew.internal";
/// The ephemeral key before what is encrypted, and the tag after it.
pub(crate) const OVERHEAD: usize = 32 + 16;
/// Of zstd: its own default, at which a terminal's bytes cost less than the system calls that move them.
const LEVEL: i32 = 3;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
