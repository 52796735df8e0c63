//! What is said of recordings under a signature: by the host, block by block and at the end; and by the authority, what it
//! has. JSON text with an SSHSIG signature over its exact bytes, as for orders.
//!
//! The host signs with its agent's key, in the namespace [`HOST_NAMESPACE`]; the authority with the ledger's key, in
//! [`AUTHORITY_NAMESPACE`]: that one signs at every decision anyway, so that it is never slow and never asks for a touch.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PublicKey, Signature, SshSig};

use crate::VERSION;
use crate::channel::{ChannelId, End};
use crate::identifier::{HostName, SessionId};
use crate::log::Hash;
use crate::sshsig::{self, SealFlaw};
use crate::time::Timestamp;

use super::block::Block;

/// What a host says of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// This block is of this host.
    Block(BlockSaid),
    /// Nothing follows.
    Closed(Closed),
}

/// A block, named by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSaid {
    /// The version of this format.
    pub version: u32,
    /// The host.
    pub host: HostName,
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// The block's number.
    pub block: u64,
    /// The number of its last record.
    pub last: u64,
    /// Its hash, in which all blocks before it are held.
    pub head: Hash,
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// The version of this format.
    pub version: u32,
    /// The host.
    pub host: HostName,
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// How many blocks there are.
    pub blocks: u64,
    /// The hash of the last one; that of no block, when there is none.
    pub head: Hash,
    /// Why the channel ended, where its last record does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Bytes that were found after the last whole block: their recorder, or the host, died while it wrote.
    pub torn: u64,
    /// Whether blocks are missing before the end, because what was left of them on the host could not be read.
    pub broken: bool,
}

/// What the authority has, durably: the host may let go of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The version of this format.
    pub version: u32,
    /// The host.
    pub host: HostName,
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// The newest block that it has.
    pub block: u64,
    /// The number of that block's last record.
    pub last: u64,
    /// That block's hash.
    pub head: Hash,
    /// Whether it also has the word that nothing follows.
    pub closed: bool,
    /// The authority's wall clock.
    pub at: Timestamp,
}

/// A statement with its signature: the exact bytes, and an SSHSIG signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The statement as JSON.
    pub text: String,
    /// The armoured signature (PROTOCOL.sshsig).
    pub signature: String,
}

/// Why a statement is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SaidError {
    /// It cannot be written or read as JSON.
    #[error("what is said of a recording is not in the form of version {VERSION}")]
    Form(#[source] serde_json::Error),
    /// It is longer than any.
    #[error("what is said of a recording is longer than {MAX_SAID} bytes")]
    Length,
    /// The signature is malformed, or by none of the keys over these bytes.
    #[error("what is said of a recording is not signed by the right key: {0}")]
    Signature(#[from] SealFlaw),
    /// What was signed cannot be written.
    #[error("the signature under what is said of a recording cannot be written")]
    Seal(#[source] ssh_key::Error),
    /// Whoever holds the key did not sign.
    #[error("what is said of a recording was not signed")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another version of the format.
    #[error("what is said of a recording has version {0}; this program knows {VERSION}")]
    Version(u32),
}

/// A sentence that can be signed.
pub trait Sentence: Serialize + DeserializeOwned {
    /// The SSHSIG namespace, so that no other signature can pass for one.
    const NAMESPACE: &'static str;
    /// The version that it has.
    fn version(&self) -> u32;
}

impl Sentence for Said {
    const NAMESPACE: &'static str = HOST_NAMESPACE;

    fn version(&self) -> u32 {
        match self {
            Self::Block(BlockSaid { version, .. }) | Self::Closed(Closed { version, .. }) => {
                *version
            }
        }
    }
}

impl Sentence for Received {
    const NAMESPACE: &'static str = AUTHORITY_NAMESPACE;

    fn version(&self) -> u32 {
        self.version
    }
}

impl BlockSaid {
    /// What `host` says of its block.
    #[must_use]
    pub fn of(host: &HostName, block: &Block) -> Self {
        let header = block.header();
        Self {
            version: VERSION,
            host: host.clone(),
            session: header.session,
            channel: header.channel,
            block: header.number,
            last: header.last,
            head: block.hash(),
        }
    }
}

impl Signed {
    /// Has `sentence` signed by `sign`, which signs a message with the key whose public half is `key`.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn make<S: Sentence, E>(
        sentence: &S,
        key: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Result<Signature, E>,
    ) -> Result<Self, SaidError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let text = serde_json::to_string(sentence).map_err(SaidError::Form)?;
        let message = SshSig::signed_data(S::NAMESPACE, HashAlg::Sha512, text.as_bytes())
            .map_err(SaidError::Seal)?;
        let raw = sign(&message).map_err(|error| SaidError::Key(error.into()))?;
        let signature = SshSig::new(key.key_data().clone(), S::NAMESPACE, HashAlg::Sha512, raw)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(SaidError::Seal)?;
        Ok(Self { text, signature })
    }

    /// Checks that one of `keys` signed it, then reads it.
    ///
    /// # Errors
    /// When none of them did, or the bytes are no sentence of this version.
    pub fn read<'a, S: Sentence>(
        &self,
        keys: impl IntoIterator<Item = &'a KeyData>,
    ) -> Result<S, SaidError> {
        if self.text.len() > MAX_SAID {
            return Err(SaidError::Length);
        }
        let seal = sshsig::parse(&self.signature)?;
        let mut refused = SaidError::Signature(SealFlaw::Key);
        for key in keys {
            match sshsig::verify(&seal, key, S::NAMESPACE, self.text.as_bytes()) {
                Ok(_) => {
                    let sentence: S = serde_json::from_str(&self.text).map_err(SaidError::Form)?;
                    let version = sentence.version();
                    return if version == VERSION {
                        Ok(sentence)
                    } else {
                        Err(SaidError::Version(version))
                    };
                }
                Err(flaw) => refused = flaw.into(),
            }
        }
        Err(refused)
    }
}

/// The SSHSIG namespace of what hosts say of recordings.
pub const HOST_NAMESPACE: &str = "recording@curfew.internal";
/// The SSHSIG namespace of what the authority says that it has.
pub const AUTHORITY_NAMESPACE: &str = "received@curfew.internal";
/// Longest statement, in bytes; none of ours comes near.
pub const MAX_SAID: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::private::Ed25519Keypair;
    use ssh_key::{PrivateKey, SigningKey};
    use std::num::NonZeroU64;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn raw(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
        Ok(key.try_sign(message)?)
    }

    fn said() -> Said {
        Said::Block(BlockSaid {
            version: VERSION,
            host: "db1".parse().unwrap(),
            session: SessionId::new(NonZeroU64::new(7).unwrap()),
            channel: ChannelId::new(u64::MAX),
            block: 3,
            last: 9,
            head: Hash([1; 32]),
        })
    }

    fn signed<S: Sentence>(sentence: &S, seed: u8) -> Signed {
        let key = key(seed);
        Signed::make(sentence, key.public_key(), |message| raw(&key, message)).unwrap()
    }

    #[test]
    fn what_was_signed_reads_back_under_any_of_the_keys() {
        let signed = signed(&said(), 1);
        let keys = [key(2), key(1)].map(|key| key.public_key().key_data().clone());
        assert_eq!(signed.read::<Said>(&keys).unwrap(), said());
    }

    #[test]
    fn another_key_another_byte_and_another_purpose_are_refused() {
        let signed = signed(&said(), 1);
        let keys = [key(1).public_key().key_data().clone()];
        assert!(signed.read::<Said>(&[key(2).public_key().key_data().clone()]).is_err());
        assert!(signed.read::<Said>(&[]).is_err());
        let forged = Signed { text: signed.text.replace(":9", ":8"), ..signed.clone() };
        assert_ne!(forged, signed);
        assert!(forged.read::<Said>(&keys).is_err());
        assert!(signed.read::<Received>(&keys).is_err());
        let long = Signed { text: "x".repeat(MAX_SAID + 1), ..signed };
        assert!(matches!(long.read::<Said>(&keys), Err(SaidError::Length)));
    }

    #[test]
    fn another_version_is_refused() {
        let Said::Block(mut block) = said() else { unreachable!() };
        block.version = 2;
        let signed = signed(&Said::Block(block), 1);
        let keys = [key(1).public_key().key_data().clone()];
        assert!(matches!(signed.read::<Said>(&keys), Err(SaidError::Version(2))));
    }
}
