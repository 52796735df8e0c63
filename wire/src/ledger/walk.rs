//! A walk through the tiles of a log, from a signed checkpoint down: which tiles are needed, in which order, and whether each
//! is what the one above it says. Pure; whoever walks brings the bytes.
//!
//! A tree of any size is a sum of whole subtrees, and the tiles that are not full, one on each level at most, hold exactly
//! their hashes: these come first, and give the root. Then each full tile hashes to one of the hashes of the tile above it,
//! and each entry to one of the lowest. Nothing is believed that does not lead up to the root.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Edge;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, TileKind, TileName, hashes, unbundle};
use crate::log::{CERTIFICATE, FormError, Hash, Head, Leaf, leaf_hash, node_hash};

/// A walk, and how far it has come.
#[derive(Debug)]
pub struct Walk {
    head: Head,
    /// The entries that are walked to, by their place in the tree.
    wanted: Range<u64>,
    /// An earlier tree, which this one must continue.
    old: Option<Head>,
    /// Whether the tiles that are not full have given the root.
    is_rooted: bool,
    /// Believed tiles: all above the lowest level that were walked through, and the newest of the lowest.
    held: BTreeMap<(u8, u64), Vec<Hash>>,
    /// The hashes of the earlier tree's subtrees, by the level of the tile that holds them.
    peaks: BTreeMap<u8, Vec<Hash>>,
    walked: Walked,
}

/// What was walked to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// How many entries.
    pub entries: u64,
    /// How many of them are certificates.
    pub certificates: u64,
}

/// What is wrong with a tile, or with the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileFault {
    /// It cannot be read.
    #[error("{tile}: {error}")]
    Form {
        /// Which.
        tile: TileName,
        /// Why.
        error: FormError,
    },
    /// It holds more or less than its name says.
    #[error("{tile} holds {found} hashes or entries instead of {}", .tile.width)]
    Width {
        /// Which.
        tile: TileName,
        /// How many it holds.
        found: usize,
    },
    /// The tiles that are not full do not give the root.
    #[error(
        "the tiles at the end of the tree do not give the root of the checkpoint over {0} entries"
    )]
    Root(u64),
    /// It is not what the tile above says.
    #[error("{0} is not what the tile above it says")]
    Tile(TileName),
    /// An entry is not the one that the tree holds.
    #[error("entry {0} is not the one that the tree holds")]
    Entry(u64),
    /// An entry cannot be read.
    #[error("entry {seq}: {error}")]
    Leaf {
        /// Which.
        seq: u64,
        /// Why.
        error: FormError,
    },
    /// Another entry stands there.
    #[error("entry {found} stands where {due} is due")]
    Number {
        /// The number that is due.
        due: u64,
        /// The number that the leaf says.
        found: u64,
    },
    /// It comes before those that vouch for it.
    #[error("{0} came before the tile above it")]
    Early(TileName),
    /// An earlier tree is none that this one continues.
    #[error(
        "the tree of {new} entries does not continue the tree of {old} entries that was seen before"
    )]
    Discontinuity {
        /// Entries of the earlier.
        old: u64,
        /// Entries of this.
        new: u64,
    },
    /// The walk was not walked to its end.
    #[error("tiles that are needed were not brought")]
    Unfinished,
}

impl Walk {
    /// Through the tree of `head`, to the entries of these places (from 0), as far as there are so many.
    #[must_use]
    pub fn new(head: Head, wanted: Range<u64>) -> Self {
        let end = wanted.end.min(head.size);
        Self {
            head,
            wanted: wanted.start.min(end)..end,
            old: None,
            is_rooted: head.size == 0,
            held: BTreeMap::new(),
            peaks: BTreeMap::new(),
            walked: Walked::default(),
        }
    }

    /// The same, and the tree must continue `old`.
    #[must_use]
    pub fn continuing(mut self, old: Head) -> Self {
        self.old = Some(old);
        self
    }

    /// The tiles that are needed, in the order in which they must come.
    pub fn order(&self) -> impl Iterator<Item = TileName> + use<> {
        let size = self.head.size;
        let wanted = self.wanted.clone();
        // The last entry of the earlier tree: beside the way to it stand all of its subtrees.
        let old = self.old.map(|old| old.size).filter(|old| *old > 0 && *old < size);
        let place = old.map_or(0..0, |old| old.saturating_sub(1)..old);
        let highest = (0..=MAX_LEVEL).rev().find(|level| reach(size, *level) > 0).unwrap_or(0);
        let edge = (0..=highest).rev().filter_map(move |level| {
            let width = reach(size, level) % TILE_WIDTH;
            (width > 0).then(|| TileName::hashes(level, full(size, level), width))
        });
        let (above, below) = (wanted.clone(), place.clone());
        let inner = (1..=highest).rev().flat_map(move |level| {
            tiles(size, level, &above, &below).map(move |n| TileName::hashes(level, n, TILE_WIDTH))
        });
        let lowest = tiles(size, 0, &(0..0), &place)
            .filter({
                let wanted = span(&wanted, 0);
                move |number| !wanted.contains(number)
            })
            .map(|number| TileName::hashes(0, number, TILE_WIDTH));
        let entries = span(&wanted, 0).flat_map(move |number| {
            let left = size.saturating_sub(number.saturating_mul(TILE_WIDTH));
            let width = left.min(TILE_WIDTH);
            let hashes = (width == TILE_WIDTH).then(|| TileName::hashes(0, number, width));
            hashes.into_iter().chain([TileName::entries(number, width)])
        });
        edge.chain(inner).chain(lowest).chain(entries)
    }

    /// Takes a tile, and believes it when it is what the tree says; a bundle's leaves are handed back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, tile: TileName, bytes: &[u8]) -> Result<Vec<Leaf>, TileFault> {
        match tile.kind {
            TileKind::Entries => self.bundle(tile, bytes),
            TileKind::Hashes(level) => self.hashes((tile, level), bytes).map(|()| Vec::new()),
        }
    }

    fn hashes(&mut self, (tile, level): (TileName, u8), bytes: &[u8]) -> Result<(), TileFault> {
        let hashes = hashes(bytes).map_err(|error| TileFault::Form { tile, error })?;
        if u64::try_from(hashes.len()).ok() != Some(tile.width) {
            return Err(TileFault::Width { tile, found: hashes.len() });
        }
        if tile.is_full() {
            let (above, place) = (tile.number >> TILE_HEIGHT, tile.number % TILE_WIDTH);
            let above = level.checked_add(1).and_then(|level| self.held.get(&(level, above)));
            let said = usize::try_from(place).ok().and_then(|place| above?.get(place));
            let said = said.filter(|_| self.is_rooted).ok_or(TileFault::Early(tile))?;
            if folded(&hashes) != Some(*said) {
                return Err(TileFault::Tile(tile));
            }
        }
        self.remember((tile, level), &hashes);
        if level == 0 {
            // Only the one that the next bundle needs, and the last, which is not full.
            self.held.retain(|(level, number), hashes| {
                *level > 0 || *number == tile.number || hashes.len() < FULL
            });
        }
        self.held.insert((level, tile.number), hashes);
        if !self.is_rooted && level == lowest_of_edge(self.head.size) {
            self.root()?;
        }
        Ok(())
    }

    /// Keeps what this tile holds of the earlier tree's subtrees.
    fn remember(&mut self, (tile, level): (TileName, u8), hashes: &[Hash]) {
        let Some(old) = self.old else { return };
        let width = reach(old.size, level) % TILE_WIDTH;
        let held = usize::try_from(width).ok().and_then(|width| hashes.get(..width));
        if let Some(held) = held.filter(|_| width > 0 && full(old.size, level) == tile.number) {
            self.peaks.insert(level, peaks(held));
        }
    }

    /// Holds the tiles that are not full against the checkpoint.
    fn root(&mut self) -> Result<(), TileFault> {
        let size = self.head.size;
        let found = (0..=MAX_LEVEL).rev().filter_map(|level| {
            let hashes = self.held.get(&(level, full(size, level)))?;
            Some(peaks(hashes))
        });
        let edge = Edge::new(size, found.flatten().collect());
        if edge.is_none_or(|edge| edge.head() != self.head) {
            return Err(TileFault::Root(size));
        }
        self.is_rooted = true;
        Ok(())
    }

    fn bundle(&mut self, tile: TileName, bytes: &[u8]) -> Result<Vec<Leaf>, TileFault> {
        let leaves = unbundle(bytes).map_err(|error| TileFault::Form { tile, error })?;
        if u64::try_from(leaves.len()).ok() != Some(tile.width) {
            return Err(TileFault::Width { tile, found: leaves.len() });
        }
        let hashes = self.held.get(&(0, tile.number)).filter(|_| self.is_rooted);
        let hashes = hashes.ok_or(TileFault::Early(tile))?;
        let first = tile.number.saturating_mul(TILE_WIDTH).saturating_add(1);
        let mut read = Vec::new();
        for ((seq, bytes), hash) in (first..).zip(leaves).zip(hashes) {
            if leaf_hash(bytes) != *hash {
                return Err(TileFault::Entry(seq));
            }
            let leaf = Leaf::from_bytes(bytes).map_err(|error| TileFault::Leaf { seq, error })?;
            if leaf.seq != seq {
                return Err(TileFault::Number { due: seq, found: leaf.seq });
            }
            if self.wanted.contains(&seq.saturating_sub(1)) {
                self.walked.entries = self.walked.entries.saturating_add(1);
                let more = u64::from(leaf.kind == CERTIFICATE);
                self.walked.certificates = self.walked.certificates.saturating_add(more);
                read.push(leaf);
            }
        }
        Ok(read)
    }

    /// What the walk came to, when it came to its end.
    ///
    /// # Errors
    /// When an earlier tree is not continued, or tiles are missing.
    pub fn finish(self) -> Result<Walked, TileFault> {
        if !self.is_rooted
            || self.walked.entries != self.wanted.end.saturating_sub(self.wanted.start)
        {
            return Err(TileFault::Unfinished);
        }
        if let Some(old) = self.old {
            self.continues(old)?;
        }
        Ok(self.walked)
    }

    /// The right edge of the tree, once the tiles that are not full have come: all that is needed to grow it.
    #[must_use]
    pub fn edge(&self) -> Option<Edge> {
        let size = self.head.size;
        let found = (0..=MAX_LEVEL).rev().filter_map(|level| {
            let hashes = self.held.get(&(level, full(size, level)))?;
            Some(peaks(hashes))
        });
        Edge::new(size, found.flatten().collect()).filter(|_| self.is_rooted)
    }

    fn continues(&self, old: Head) -> Result<(), TileFault> {
        let refused = TileFault::Discontinuity { old: old.size, new: self.head.size };
        if old.size == 0 || old.size >= self.head.size {
            let same = if old.size == 0 { old == Head::empty() } else { old == self.head };
            return if same { Ok(()) } else { Err(refused) };
        }
        let found = self.peaks.values().rev().flatten().copied().collect();
        let edge = Edge::new(old.size, found).ok_or(TileFault::Unfinished)?;
        if edge.head() == old { Ok(()) } else { Err(refused) }
    }
}

/// How many hashes this level of tiles has in a tree of this size.
fn reach(size: u64, level: u8) -> u64 {
    let shift = u32::from(level).saturating_mul(TILE_HEIGHT);
    size.checked_shr(shift).unwrap_or(0)
}

/// How many full tiles this level has; the next number is that of the tile that is not full.
fn full(size: u64, level: u8) -> u64 {
    reach(size, level) >> TILE_HEIGHT
}

/// The last of the tiles that are not full, from above.
fn lowest_of_edge(size: u64) -> u8 {
    (0..=MAX_LEVEL).find(|level| !reach(size, *level).is_multiple_of(TILE_WIDTH)).unwrap_or(0)
}

/// The numbers of this level's tiles that cover these places.
fn span(places: &Range<u64>, level: u8) -> Range<u64> {
    let shift = u32::from(level).saturating_add(1).saturating_mul(TILE_HEIGHT);
    let Some(last) = places.end.checked_sub(1).filter(|_| places.start < places.end) else {
        return 0..0;
    };
    let at = |place: u64| place.checked_shr(shift).unwrap_or(0);
    at(places.start)..at(last).saturating_add(1)
}

/// The numbers of this level's full tiles that cover one or the other.
fn tiles(
    size: u64,
    level: u8,
    one: &Range<u64>,
    other: &Range<u64>,
) -> impl Iterator<Item = u64> + use<> {
    let (one, other, full) = (span(one, level), span(other, level), full(size, level));
    let covered = one.clone();
    one.chain(other.filter(move |number| !covered.contains(number)))
        .filter(move |number| *number < full)
}

/// The hashes of the whole subtrees that these hashes make up, the largest first.
fn peaks(hashes: &[Hash]) -> Vec<Hash> {
    let mut edge = Edge::default();
    hashes.iter().for_each(|hash| edge.push(*hash));
    edge.peaks().to_vec()
}

/// The hash over a full tile.
fn folded(hashes: &[Hash]) -> Option<Hash> {
    let mut hashes = hashes.to_vec();
    while hashes.len() > 1 {
        let pairs = hashes.chunks_exact(2).filter_map(<[Hash]>::first_chunk);
        hashes = pairs.map(|[left, right]| node_hash(*left, *right)).collect();
    }
    hashes.first().copied()
}

/// As many hashes as a full tile has.
const FULL: usize = 256;
/// Levels of tiles that a tree of 2^63 entries has.
const MAX_LEVEL: u8 = 7;

#[cfg(test)]
mod tests;
