//! A proof that can be checked alone (c2sp.org/tlog-proof): an index, the path to the root, the signed checkpoint.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::MAX_PATH;
use super::{
    Attested, FormError, Hash, Note, Policy, Unproved, bounded, form, number, verify_inclusion,
};

/// A proof as it was read: well formed, and not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Data beside it that nobody vouches for.
    pub extra: Option<Vec<u8>>,
    /// Where the entry stands in the tree, from 0.
    pub index: u64,
    /// From the leaf's sibling to the root's child.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

impl Proof {
    /// Checks that the entry with hash `leaf` stands in a tree that policy believes.
    ///
    /// # Errors
    /// When the checkpoint is not believed, or the path does not lead from the leaf to its root.
    pub fn verify(self, leaf: Hash, policy: &Policy) -> Result<Attested, Unproved> {
        let attested = policy.attest(self.checkpoint)?;
        verify_inclusion(leaf, self.index, &self.path, attested.head())?;
        Ok(attested)
    }
}

impl FromStr for Proof {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        bounded(PROOF, text.len(), MAX_PROOF)?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(form(PROOF, "has no empty line between its path and its checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(MAGIC) {
            return Err(form(PROOF, "does not begin with `c2sp.org/tlog-proof@v1`"));
        }
        let extra = lines.next_if(|line| line.starts_with(EXTRA)).map(extra).transpose()?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix(INDEX))
            .ok_or(form(PROOF, "names no index"))
            .and_then(|digits| number("proof's index", digits))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() >= MAX_PATH {
                return Err(form(PROOF, "has a path of more than 63 hashes"));
            }
            path.push(line.parse()?);
        }
        Ok(Self { extra, index, path, checkpoint: note.parse()? })
    }
}

fn extra(line: &str) -> Result<Vec<u8>, FormError> {
    let odd = form(PROOF, "has extra data that are not standard base64");
    let encoded = line.strip_prefix(EXTRA).unwrap_or_default();
    match STANDARD.decode(encoded) {
        Ok(extra) if !extra.is_empty() => Ok(extra),
        _ => Err(odd),
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "{EXTRA}{}", STANDARD.encode(extra))?;
        }
        writeln!(f, "{INDEX}{}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

const PROOF: &str = "proof";
const MAGIC: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";
/// Longest proof, in bytes: the longest note, 63 hashes, and a little extra data.
pub const MAX_PROOF: usize = super::MAX_NOTE + 8 * 1024;
