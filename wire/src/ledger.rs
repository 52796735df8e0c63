//! The ledger outside the authority: what an export holds, line by line, and how it is checked from it and public keys
//! alone. Pure.
//!
//! Shape: JSON lines. First [`Line::After`], then each entry, then [`Line::Checkpoint`]. What `After` says of the entries
//! before is not believed: the signed checkpoint at the end holds only for the one tree that it is true of.
//! Who can change this: anybody who holds the file. Gains: nothing; every change but an erased body is found.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::identifier::Identity;
use crate::log::{
    Attested, CERTIFICATE, EXTENSION, Evidence, FormError, Hash, Head, Leaf, MAX_PATH, Note,
    Policy, Unproved, leaf_hash, node_hash, verify_consistency,
};

mod acknowledgements;
mod approvals;
mod edge;
mod key_requests;
mod signatures;
mod walk;
mod weights;

pub use edge::Edge;
use signatures::Signatures;
pub use signatures::Signed;
pub use walk::{TileFault, Walk, Walked};

/// A line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The entries that follow come after this many.
    After(After),
    /// An entry.
    Entry(Entry),
    /// The checkpoint at the end.
    Checkpoint(End),
}

/// Where a range begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// How many entries come before.
    pub seq: u64,
    /// The hashes of the whole subtrees that they make up, the largest first; one for each bit that `seq` has.
    pub edge: Vec<Hash>,
}

/// An entry: the leaf in the tree, and the body beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The leaf's text, as it is hashed.
    pub leaf: String,
    /// The body with its salt; nothing when it was erased.
    pub body: Option<Body>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// In hexadecimal.
    pub salt: String,
    /// The body's text, as it is hashed: JSON.
    pub text: String,
}

/// Where a range ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// A signed checkpoint over the range, and maybe over more.
    pub note: String,
    /// The proof that its tree continues that of the range; nothing when they are the same.
    pub consistency: Vec<Hash>,
}

/// Some entries, as an operator reads them: `GET /v1/entries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Those that were asked for, in order.
    pub entries: Vec<Entry>,
    /// The last entry that was looked at: the next page begins after it.
    pub reached: u64,
    /// How many entries there are.
    pub size: u64,
}

/// What proves a range of entries, when it stands around them: `GET /v1/entries/range`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// What comes first.
    pub after: After,
    /// What comes last.
    pub end: End,
}

/// "Erase these bodies": `POST /admin/erase`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseAsk {
    /// Whose: the bodies of these entries.
    #[serde(default)]
    pub entries: Vec<u64>,
    /// And every body that names this identity, which must be disabled.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// Why; it is kept.
    pub reason: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The entry that says so.
    pub seq: u64,
    /// The entries whose bodies are gone.
    pub entries: Vec<u64>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line stands where it cannot.
    #[error("{0}")]
    Order(&'static str),
    /// Another entry stands there.
    #[error("entry {found} stands where {due} is due")]
    Number {
        /// The number that is due.
        due: u64,
        /// The number that the leaf says.
        found: u64,
    },
    /// The leaf cannot be read.
    #[error("entry {seq}: {error}")]
    Leaf {
        /// Which.
        seq: u64,
        /// Why.
        error: FormError,
    },
    /// The body is not the one that the leaf commits to.
    #[error("entry {0}: the body is not the one that its leaf commits to")]
    Body(u64),
    /// A body is gone.
    #[error("entry {0}: the body is gone, and no entry says that it was erased")]
    Missing(u64),
    /// The salt cannot be read.
    #[error("entry {0}: the salt is not hexadecimal")]
    Salt(u64),
    /// A certificate's serial comes twice, or falls.
    #[error("entry {seq}: the serial {serial} does not come after {before}")]
    Serial {
        /// Which.
        seq: u64,
        /// Its serial.
        serial: u64,
        /// The serial before.
        before: u64,
    },
    /// What somebody signed does not hold.
    #[error("entry {seq}: {why}")]
    Signed {
        /// Which.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The checkpoint does not hold.
    #[error("the checkpoint over the tree of {size} entries: {error}")]
    Unproved {
        /// How many entries were read.
        size: u64,
        /// Why.
        error: Unproved,
    },
}

/// What a ledger that holds was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The number of its first entry that was read.
    pub first: u64,
    /// The number of its last.
    pub last: u64,
    /// How many bodies were erased; the proofs hold all the same.
    pub erased: u64,
    /// How many certificates there are.
    pub certificates: u64,
    /// What people signed, each by a key of theirs.
    pub signed: Signed,
    /// The tree of the checkpoint.
    pub head: Head,
}

/// Reads entries one by one and says what is wrong; holds the logarithm of their number, the keys that people log in with, and
/// the requests that are not over.
#[derive(Debug)]
pub struct Verifier<'a> {
    policy: &'a Policy,
    edge: Edge,
    first: u64,
    serial: u64,
    erased: u64,
    certificates: u64,
    signatures: Signatures,
    missing: BTreeSet<u64>,
}

#[derive(Deserialize)]
struct Numbered {
    serial: u64,
}

#[derive(Deserialize)]
struct ErasedBodies {
    entries: Vec<u64>,
}

impl Entry {
    /// The entry with a body of these octets.
    #[must_use]
    pub fn new(leaf: String, body: Option<(&[u8], String)>) -> Self {
        let body = body.map(|(salt, text)| Body { salt: hexadecimal(salt), text });
        Self { leaf, body }
    }
}

impl<'a> Verifier<'a> {
    /// From the first entry on.
    #[must_use]
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            edge: Edge::default(),
            first: 1,
            serial: 0,
            erased: 0,
            certificates: 0,
            signatures: Signatures::default(),
            missing: BTreeSet::new(),
        }
    }

    /// From the middle on.
    ///
    /// # Errors
    /// When the edge is not that of a tree of this size.
    pub fn after(policy: &'a Policy, after: After) -> Result<Self, Fault> {
        let first = after.seq.saturating_add(1);
        let edge = Edge::new(after.seq, after.edge)
            .ok_or(Fault::Order("the first line does not hold the edge of a tree of its size"))?;
        Ok(Self { edge, first, ..Self::new(policy) })
    }

    /// Takes the next entry, and says all that is wrong with it. The tree takes the leaf as it is: one that was changed is
    /// found again by every checkpoint after it.
    pub fn entry(&mut self, entry: &Entry) -> Vec<Fault> {
        let due = self.edge.size().saturating_add(1);
        let mut faults = Vec::new();
        self.edge.push(leaf_hash(entry.leaf.as_bytes()));
        let leaf = match Leaf::from_bytes(entry.leaf.as_bytes()) {
            Ok(leaf) => leaf,
            Err(error) => return vec![Fault::Leaf { seq: due, error }],
        };
        if leaf.seq != due {
            faults.push(Fault::Number { due, found: leaf.seq });
        }
        match &entry.body {
            None => {
                self.erased = self.erased.saturating_add(1);
                self.missing.insert(leaf.seq);
            }
            Some(body) => faults.extend(self.body(&leaf, body)),
        }
        if leaf.kind == CERTIFICATE {
            self.certificates = self.certificates.saturating_add(1);
        }
        faults
    }

    fn body(&mut self, leaf: &Leaf, body: &Body) -> Option<Fault> {
        let Some(salt) = octets(&body.salt) else { return Some(Fault::Salt(leaf.seq)) };
        if Hash::of(&[salt.as_slice(), body.text.as_bytes()].concat()) != leaf.body {
            return Some(Fault::Body(leaf.seq));
        }
        if leaf.kind == ERASED {
            let Ok(erased) = serde_json::from_str::<ErasedBodies>(&body.text) else {
                return Some(Fault::Body(leaf.seq));
            };
            for seq in &erased.entries {
                self.missing.remove(seq);
            }
        }
        if leaf.kind != CERTIFICATE {
            let is_whole = self.first == 1 && self.erased == 0;
            let checked = self.signatures.entry((leaf.seq, &leaf.kind), &body.text, is_whole);
            return checked.err().map(|why| Fault::Signed { seq: leaf.seq, why });
        }
        let Ok(Numbered { serial }) = serde_json::from_str(&body.text) else {
            return Some(Fault::Body(leaf.seq));
        };
        let before = std::mem::replace(&mut self.serial, serial);
        (serial <= before).then_some(Fault::Serial { seq: leaf.seq, serial, before })
    }

    /// The tree of the entries so far.
    #[must_use]
    pub fn head(&self) -> Head {
        self.edge.head()
    }

    /// The right edge of the tree of the entries so far.
    #[must_use]
    pub const fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Holds the tree of the entries so far against a checkpoint over exactly them.
    ///
    /// # Errors
    /// When no pinned key signed the checkpoint, or it is over another tree.
    pub fn checkpoint(&self, note: &str) -> Result<Attested, Fault> {
        self.end(&End { note: note.to_owned(), consistency: Vec::new() })
    }

    /// Holds the tree of the entries so far against the checkpoint at the end.
    ///
    /// # Errors
    /// When no pinned key signed the checkpoint, or its tree does not continue this one.
    pub fn end(&self, end: &End) -> Result<Attested, Fault> {
        let head = self.head();
        let believed = || {
            let note: Note = end.note.parse()?;
            let attested = self.policy.attest(note)?;
            if end.consistency.len() > MAX_PATH {
                return Err(Unproved::Consistency { old: head.size, new: attested.head().size });
            }
            verify_consistency(head, attested.head(), &end.consistency)?;
            Ok(attested)
        };
        believed().map_err(|error| Fault::Unproved { size: head.size, error })
    }

    /// What was read, when the checkpoint at the end holds.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub fn finish(self, end: &End) -> Result<Verified, Fault> {
        let attested = self.end(end)?;
        // Beyond a range that ends early, an entry may say that they were erased.
        if let Some(seq) = self.missing.first()
            && attested.head().size == self.edge.size()
        {
            return Err(Fault::Missing(*seq));
        }
        Ok(Verified {
            first: self.first,
            last: self.edge.size(),
            erased: self.erased,
            certificates: self.certificates,
            signed: self.signatures.count(),
            head: attested.head(),
        })
    }
}

/// Checks an export, line by line; `fault` hears of everything that is wrong, up to the first line that cannot be read.
///
/// # Errors
/// The last fault, when there is any.
pub fn verify<I: IntoIterator<Item = Line>>(
    lines: I,
    policy: &Policy,
    mut fault: impl FnMut(&Fault),
) -> Result<Verified, Fault> {
    let mut lines = lines.into_iter();
    let Some(Line::After(after)) = lines.next() else {
        return Err(Fault::Order("the first line does not say which entries come before"));
    };
    let mut verifier = Verifier::after(policy, after)?;
    let mut last = None;
    while let Some(line) = lines.next() {
        match line {
            Line::After(_) => return Err(Fault::Order("a second range begins in the same file")),
            Line::Entry(entry) => {
                for found in verifier.entry(&entry) {
                    fault(&found);
                    last = Some(found);
                }
            }
            Line::Checkpoint(end) => {
                if lines.next().is_some() {
                    return Err(Fault::Order("something stands after the checkpoint"));
                }
                let verified = verifier.finish(&end).inspect_err(fault)?;
                return last.map_or(Ok(verified), Err);
            }
        }
    }
    Err(Fault::Order(
        "the file ends before its checkpoint: it was cut, or never written to its end",
    ))
}

/// Checks the proof in a certificate: the number of its entry, and how many entries the checkpoint is over.
///
/// # Errors
/// When it carries no proof, or one that is not believed.
pub fn certificate(certificate: &Certificate, policy: &Policy) -> Result<(u64, u64), Unproved> {
    let (leaf, attested) = certified(certificate, policy)?;
    Ok((leaf.seq, attested.head().size))
}

/// The same, and gives the entry itself with the checkpoint that proves it.
///
/// # Errors
/// As [`certificate`].
pub fn certified(certificate: &Certificate, policy: &Policy) -> Result<(Leaf, Attested), Unproved> {
    let absent =
        || Unproved::Form(FormError::Form { what: "certificate", why: "carries no proof" });
    let evidence = certificate.extensions().text(EXTENSION).ok().flatten().ok_or_else(absent)?;
    let evidence: Evidence = std::str::from_utf8(evidence).ok().ok_or_else(absent)?.parse()?;
    let bare = certificate.to_be_signed_without(EXTENSION).ok_or_else(absent)?;
    let leaf = evidence.leaf().clone();
    Ok((leaf, evidence.verify(Hash::of(&bare), policy)?))
}

/// The kind of the entries that say which bodies were erased.
const ERASED: &str = "bodies_erased";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
