//! What a certificate carries to show that it was recorded: its entry, and the proof that the entry is in the ledger.
//!
//! The form is one `tlog-proof` whose extra data are the entry, so that any tool for such proofs reads it. The certificate is
//! hashed without this extension: the entry is written first, and the proof exists only afterwards.

use std::fmt;
use std::str::FromStr;

use super::{Attested, FormError, Hash, Leaf, Policy, Proof, Unproved, bounded, form, leaf_hash};

/// An entry for a certificate and its proof, as they were read: well formed, and not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    leaf: Leaf,
    proof: Proof,
}

impl Evidence {
    /// The entry `leaf`, with its proof; what the proof had as extra data is replaced.
    ///
    /// # Errors
    /// When the entry is about no certificate, its number is not its place in the proof, or both are too long.
    pub fn new(leaf: Leaf, proof: Proof) -> Result<Self, FormError> {
        if leaf.tbs.is_none() {
            return Err(form(EVIDENCE, "is an entry that is about no certificate"));
        }
        if proof.index.checked_add(1) != Some(leaf.seq) {
            return Err(form(EVIDENCE, "has an entry of another number than its place"));
        }
        let proof = Proof { extra: Some(leaf.to_bytes()?), ..proof };
        let evidence = Self { leaf, proof };
        bounded(EVIDENCE, evidence.to_string().len(), MAX_EVIDENCE)?;
        Ok(evidence)
    }

    /// The entry.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The proof.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Checks that the certificate, whose bytes to be signed without this extension hash to `tbs`, stands in a ledger that
    /// policy believes.
    ///
    /// # Errors
    /// When the entry commits to something else, is not in the tree, or the tree is not believed.
    pub fn verify(self, tbs: Hash, policy: &Policy) -> Result<Attested, Unproved> {
        if self.leaf.tbs != Some(tbs) {
            return Err(Unproved::Other);
        }
        let entry = self.proof.extra.as_deref().map(leaf_hash).ok_or(Unproved::Other)?;
        self.proof.verify(entry, policy)
    }
}

impl FromStr for Evidence {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        bounded(EVIDENCE, text.len(), MAX_EVIDENCE)?;
        let proof: Proof = text.parse()?;
        let entry = proof.extra.as_deref().ok_or(form(EVIDENCE, "carries no entry"))?;
        let leaf = Leaf::from_bytes(entry)?;
        Self::new(leaf, proof)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proof.fmt(f)
    }
}

const EVIDENCE: &str = "proof in the certificate";
/// The extension of a certificate that carries it.
pub const EXTENSION: &str = "proof@curfew.internal";
/// Longest evidence, in bytes. With an entry of 512 bytes, a tree of a billion entries and four witnesses it is under 3,000;
/// sshd passes certificates of up to 90,000 bytes.
pub const MAX_EVIDENCE: usize = 32 * 1024;
