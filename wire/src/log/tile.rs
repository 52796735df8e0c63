//! Tiles as `tlog-tiles` names and writes them (c2sp.org/tlog-tiles): 256 hashes of one level, or 256 entries.

use std::fmt;
use std::str::FromStr;

use super::{FormError, Hash, MAX_LEAF, form};

/// Which tile: its level, its number on that level, and how many hashes or entries of its 256 it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileName {
    /// What it holds.
    pub kind: TileKind,
    /// Its number on its level.
    pub number: u64,
    /// How much of it, 1 to 256.
    pub width: u64,
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of whole subtrees of 256 to the power of this.
    Hashes(u8),
    /// The entries' leaves, each with its length before it.
    Entries,
}

impl TileName {
    /// The tile of hashes of this level.
    #[must_use]
    pub const fn hashes(level: u8, number: u64, width: u64) -> Self {
        Self { kind: TileKind::Hashes(level), number, width }
    }

    /// The bundle of entries.
    #[must_use]
    pub const fn entries(number: u64, width: u64) -> Self {
        Self { kind: TileKind::Entries, number, width }
    }

    /// Whether it holds all that it ever will.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The tile at this place as a tree of `size` entries has it; nothing when the tree does not reach what this one holds.
    #[must_use]
    pub fn within(&self, size: u64) -> Option<Self> {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let reach = size.checked_shr(u32::from(level).saturating_mul(TILE_HEIGHT)).unwrap_or(0);
        let left = reach.checked_sub(self.number.checked_mul(TILE_WIDTH)?)?;
        let width = left.min(TILE_WIDTH);
        (width >= self.width).then_some(Self { width, ..*self })
    }

    /// Where it stands in a log or a mirror of it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/{self}")
    }
}

/// Reads what stands after `tile/`, in its only form.
impl FromStr for TileName {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        named(text).ok_or(form("tile's name", "is not of the form <L>/<N> or <L>/<N>.p/<W>"))
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "{level}/")?,
            TileKind::Entries => f.write_str("entries/")?,
        }
        let digits = self.number.to_string();
        let groups = digits.len().div_ceil(3);
        let padded = format!("{digits:0>width$}", width = groups.saturating_mul(3));
        for (index, group) in (1..).zip(padded.as_bytes().chunks(3)) {
            let group = String::from_utf8_lossy(group);
            if index < groups {
                write!(f, "x{group}/")?;
            } else {
                f.write_str(&group)?;
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

fn named(path: &str) -> Option<TileName> {
    let (path, width) = match path.split_once(".p/") {
        Some((path, width)) => (path, decimal(width, TILE_WIDTH.checked_sub(1)?)?),
        None => (path, TILE_WIDTH),
    };
    let (kind, number) = path.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(u8::try_from(decimal(level, MAX_LEVEL)?).ok()?),
    };
    (width > 0).then_some(TileName { kind, number: grouped(number)?, width })
}

/// `x001/x234/067` for 1,234,067: groups of three digits, all but the last behind an `x`.
fn grouped(text: &str) -> Option<u64> {
    let mut groups = text.split('/').rev();
    let last = groups.next()?;
    let higher: Vec<&str> =
        groups.map(|group| group.strip_prefix('x')).rev().collect::<Option<_>>()?;
    // No group more than needed.
    if higher.first() == Some(&"000") {
        return None;
    }
    higher.into_iter().chain([last]).try_fold(0_u64, |number, group| {
        let is_group = group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
        number.checked_mul(1000)?.checked_add(is_group.then(|| group.parse().ok())??)
    })
}

/// A decimal number without leading zeros, at most `most`.
fn decimal(text: &str, most: u64) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok()?;
    (is_plain && number.to_string() == text && number <= most).then_some(number)
}

/// Writes leaves as an entry bundle does: each behind its length in two octets, big-endian.
///
/// # Errors
/// When a leaf is longer than any leaf can be.
pub fn bundle<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, FormError> {
    let mut bundle = Vec::new();
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).ok().filter(|_| leaf.len() <= MAX_LEAF);
        let length = length.ok_or(form(BUNDLE, "is to hold a leaf that is too long"))?;
        bundle.extend(length.to_be_bytes());
        bundle.extend(leaf);
    }
    Ok(bundle)
}

/// Reads the leaves of an entry bundle; what they say is not looked at.
///
/// # Errors
/// When a length points beyond the end, or beyond the longest leaf, or there are more than 256.
pub fn unbundle(mut bytes: &[u8]) -> Result<Vec<&[u8]>, FormError> {
    let mut leaves = Vec::new();
    while !bytes.is_empty() {
        let cut = form(BUNDLE, "ends in the middle of an entry");
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(cut.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_LEAF {
            return Err(form(BUNDLE, "holds a leaf that is longer than any leaf can be"));
        }
        let (leaf, rest) = rest.split_at_checked(length).ok_or(cut)?;
        leaves.push(leaf);
        if u64::try_from(leaves.len()).unwrap_or(u64::MAX) > TILE_WIDTH {
            return Err(form(BUNDLE, "holds more than 256 entries"));
        }
        bytes = rest;
    }
    Ok(leaves)
}

/// Reads a tile of hashes.
///
/// # Errors
/// When it is no whole number of hashes, or holds more than 256.
pub fn hashes(bytes: &[u8]) -> Result<Vec<Hash>, FormError> {
    let hashes = bytes.chunks_exact(32);
    let is_tile = u64::try_from(hashes.len()).is_ok_and(|count| count <= TILE_WIDTH);
    if !hashes.remainder().is_empty() || !is_tile {
        return Err(form("tile", "is not at most 256 hashes of 32 octets"));
    }
    Ok(hashes.filter_map(<[u8]>::first_chunk).copied().map(Hash).collect())
}

const BUNDLE: &str = "entry bundle";
/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of a tile: a tile's hashes stand for subtrees of two to the power of this times its level.
pub const TILE_HEIGHT: u32 = 8;
/// Largest tile in octets: 256 leaves, each with its length.
pub const MAX_TILE: usize = 256 * (MAX_LEAF + 2);
/// Highest level of tiles: 8 levels of 8 are more than any tree has.
const MAX_LEVEL: u64 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_name_and_it_reads_back() {
        let good = [
            ("0/000", TileName::hashes(0, 0, 256)),
            ("0/x001/x234/067", TileName::hashes(0, 1_234_067, 256)),
            ("2/017.p/5", TileName::hashes(2, 17, 5)),
            ("63/x001/000.p/255", TileName::hashes(63, 1000, 255)),
            ("entries/x273/008", TileName::entries(273_008, 256)),
        ];
        for (text, name) in good {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/001",
            "0/x1/000",
            "0/001/000",
            "0/x001",
            "00/000",
            "+1/000",
            "64/000",
            "x/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p/1/2",
            "0/00a",
            "data/000",
            "8/0/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(text.parse::<TileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tree_has_one_tile_at_each_place_that_it_reaches() {
        let tile = |text: &str| text.parse::<TileName>().unwrap();
        for (name, size, there) in [
            ("0/000.p/5", 300, Some("0/000")),
            ("0/001.p/44", 300, Some("0/001.p/44")),
            ("entries/001.p/3", 300, Some("entries/001.p/44")),
            ("0/001.p/45", 300, None),
            ("0/001", 300, None),
            ("1/000.p/1", 300, Some("1/000.p/1")),
            ("1/000.p/1", 255, None),
            ("9/000.p/1", u64::MAX, None),
        ] {
            assert_eq!(tile(name).within(size), there.map(tile), "{name} in {size}");
        }
    }

    #[test]
    fn a_bundle_reads_back_and_one_that_was_cut_does_not() {
        let leaves: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = bundle(leaves).unwrap();
        assert_eq!(unbundle(&bytes).unwrap(), leaves);
        for cut in 1..bytes.len() {
            let read = unbundle(&bytes[..cut]);
            assert!(read.is_err() || read.is_ok_and(|read| read.len() < 3), "{cut}");
        }
        assert!(unbundle(&[0xff, 0xff]).is_err());
        assert!(unbundle(&[0; 2 * 257]).is_err());
        assert!(bundle([&[0; MAX_LEAF + 1][..]]).is_err());
        assert!(hashes(&[0; 33]).is_err() && hashes(&[0; 257 * 32]).is_err());
        assert_eq!(hashes(&[7; 64]).unwrap(), [Hash([7; 32]); 2]);
    }
}
