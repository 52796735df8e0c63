//! An entry as it stands in the tree (version 2): what it is about, without personal data.
//!
//! What was decided is the body; it stands beside the tree with a salt and can be erased, and the leaf holds only the hash
//! of both. An entry for a certificate also commits to the certificate itself.

use serde::{Deserialize, Serialize};

use super::{FormError, Hash, bounded, form, leaf_hash};
use crate::time::Timestamp;

/// An entry of version 2. Its canonical form is this JSON, without spaces, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    version: u32,
    /// Its number; the first entry of a ledger has 1, and stands in the tree at index 0.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What kind of decision it is.
    pub kind: String,
    /// The SHA-256 of salt ‖ body.
    pub body: Hash,
    /// For a certificate: the SHA-256 of the bytes to be signed, without the extension that carries the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tbs: Option<Hash>,
}

impl Leaf {
    /// An entry that is about no certificate.
    #[must_use]
    pub fn new(seq: u64, at: Timestamp, kind: impl Into<String>, body: Hash) -> Self {
        Self { version: VERSION, seq, at, kind: kind.into(), body, tbs: None }
    }

    /// The entry of a certificate.
    #[must_use]
    pub fn certificate(seq: u64, at: Timestamp, body: Hash, tbs: Hash) -> Self {
        Self { tbs: Some(tbs), ..Self::new(seq, at, CERTIFICATE, body) }
    }

    /// Reads the canonical form, and no other.
    ///
    /// # Errors
    /// When `bytes` are not the canonical form of an entry of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        bounded(ENTRY, bytes.len(), MAX_LEAF)?;
        let leaf: Self = serde_json::from_slice(bytes)
            .map_err(|_odd| form(ENTRY, "is not JSON of the form of version 2"))?;
        if leaf.version != VERSION {
            return Err(form(ENTRY, "is not of version 2"));
        }
        if leaf.to_bytes()? != bytes {
            return Err(form(ENTRY, "is not in its canonical form"));
        }
        Ok(leaf)
    }

    /// The canonical form.
    ///
    /// # Errors
    /// When the kind is no word of lower-case letters and `_`, the number is 0, or only a certificate's entry could say
    /// what this one says.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormError> {
        let is_word = self.kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if self.kind.is_empty() || self.kind.len() > MAX_KIND || !is_word {
            return Err(form(ENTRY, "has a kind that is no word of at most 32 lower-case letters"));
        }
        if self.seq == 0 {
            return Err(form(ENTRY, "has the number 0"));
        }
        if (self.kind == CERTIFICATE) != self.tbs.is_some() {
            return Err(form(
                ENTRY,
                "commits to a certificate without being about one, or reverse",
            ));
        }
        serde_json::to_vec(self).map_err(|_odd| form(ENTRY, "cannot be written as JSON"))
    }

    /// The hash under which the entry stands in the tree.
    ///
    /// # Errors
    /// As [`Leaf::to_bytes`].
    pub fn hash(&self) -> Result<Hash, FormError> {
        self.to_bytes().map(|bytes| leaf_hash(&bytes))
    }
}

const ENTRY: &str = "entry";
const VERSION: u32 = 2;
/// The kind of a certificate's entry.
pub const CERTIFICATE: &str = "certificate";
/// Longest entry, in bytes: the longest kind, two hashes and three numbers are under 300.
pub const MAX_LEAF: usize = 512;
/// Longest kind, in bytes.
const MAX_KIND: usize = 32;
