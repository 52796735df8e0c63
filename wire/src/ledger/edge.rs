//! The right edge of a growing tree: all that is needed to say its root and to go on.

use super::{Hash, Head, node_hash};

/// The whole subtrees that a tree is the sum of, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    peaks: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of `size` entries; nothing when that has another number of subtrees.
    #[must_use]
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = u32::try_from(peaks.len()).ok() == Some(size.count_ones());
        (fits && size < u64::MAX / 2).then_some(Self { size, peaks })
    }

    /// How many entries there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The subtrees' hashes.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each low bit that is set is a subtree as large as the one that has just been completed.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(left, hash);
            }
        }
        self.peaks.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The tree.
    #[must_use]
    pub fn head(&self) -> Head {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else { return Head::empty() };
        Head { size: self.size, root: peaks.fold(last, |right, left| node_hash(left, right)) }
    }
}
