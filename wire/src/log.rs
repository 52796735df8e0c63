//! The ledger's tree as others see it: hashes, checkpoints, proofs, and how each is checked. Pure.
//!
//! Formats: RFC 6962 hashing; C2SP `signed-note`, `tlog-checkpoint`, `tlog-cosignature`, `tlog-proof` (c2sp.org). Everything is
//! parsed strictly: what reads is written again as the same bytes, and every size that a stranger can choose has a limit.
//! Why this is our own code and no crate: docs/decisions/0009-own-proof-checks.md.
//!
//! Who can change what these say: the holder of the log key can sign any checkpoint, and a host that has seen another one
//! refuses it ([`verify_consistency`]). The holder of the user authority's key can put any evidence into a certificate,
//! and none that verifies.

mod checkpoint;
mod evidence;
mod key;
mod leaf;
mod note;
mod proof;
mod restore;
mod submission;
pub mod tile;
mod tree;

pub use checkpoint::{Attested, Checkpoint, Cosigned, Policy};
pub use evidence::{EXTENSION, Evidence, MAX_EVIDENCE};
pub use key::{KeyName, LogKey, WitnessKey};
pub use leaf::{CERTIFICATE, Leaf, MAX_LEAF};
pub use note::{MAX_NOTE, MAX_SIGNATURES, Note, Signature};
pub use proof::{MAX_PROOF, Proof};
pub use restore::{Declared, Era, MAX_REASON, Restore, Statement};
pub use submission::{MAX_SUBMISSION, Submission, conflict, cosignatures};
pub use tree::{Hash, Head, MAX_PATH, leaf_hash, node_hash, verify_consistency, verify_inclusion};

/// Why something of the log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is not in its form.
    #[error("the {what} {why}")]
    Form {
        /// What was being read.
        what: &'static str,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// It is too long.
    #[error("the {what} is {length} bytes long; at most {limit} are allowed")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
}

/// Why something of the log is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// It cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// No pinned key of the log signed it.
    #[error("no pinned log key signed the checkpoint of {origin:?}")]
    Unsigned {
        /// What the checkpoint says of itself.
        origin: String,
    },
    /// A pinned key is named, and the signature is not by it.
    #[error("the signature of {name} under the checkpoint does not verify")]
    Signature {
        /// The key's name.
        name: String,
    },
    /// The checkpoint is of another log than its key.
    #[error("the checkpoint is of {origin:?} and signed by {name}; a log signs under its own name")]
    Origin {
        /// What the checkpoint says of itself.
        origin: String,
        /// The key that signed it.
        name: String,
    },
    /// Too few witnesses cosigned.
    #[error("{found} of the pinned witnesses cosigned the checkpoint; {needed} are required")]
    Witnesses {
        /// Those that did.
        found: usize,
        /// Those that must.
        needed: usize,
    },
    /// The entry is not in the tree.
    #[error("the entry is not in the tree of the checkpoint (index {index}, size {size})")]
    Inclusion {
        /// Where it should be.
        index: u64,
        /// How large the tree is.
        size: u64,
    },
    /// A newer tree does not continue an older one.
    #[error("the tree of {new} entries does not continue the tree of {old} entries")]
    Consistency {
        /// Entries of the older.
        old: u64,
        /// Entries of the newer.
        new: u64,
    },
    /// The entry is about something else.
    #[error("the entry in the proof commits to another certificate")]
    Other,
}

const fn form(what: &'static str, why: &'static str) -> FormError {
    FormError::Form { what, why }
}

fn bounded(what: &'static str, length: usize, limit: usize) -> Result<(), FormError> {
    if length > limit { Err(FormError::TooLong { what, length, limit }) } else { Ok(()) }
}

/// A decimal number as these formats write it: digits, no leading zero, below 2^63.
fn number(what: &'static str, text: &str) -> Result<u64, FormError> {
    let why = "is no decimal number without leading zeros, below 2^63";
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(form(what, why));
    }
    let number: u64 = text.parse().map_err(|_odd: std::num::ParseIntError| form(what, why))?;
    if number > MAX_NUMBER { Err(form(what, why)) } else { Ok(number) }
}

/// The largest size or index: 2^63 - 1, so that no sum of two overflows.
const MAX_NUMBER: u64 = i64::MAX.unsigned_abs();

#[cfg(test)]
mod tests;
