use proptest::prelude::*;

use super::*;
use crate::log::tile::bundle;
use crate::time::Timestamp;

/// A ledger in memory; from the entry `forked` on its entries are others.
struct Ledger {
    leaves: Vec<Vec<u8>>,
    levels: Vec<Vec<Hash>>,
}

impl Ledger {
    fn new(size: u64, forked: u64) -> Self {
        let said = |index: u64| Hash::of(if index < forked { b"true" } else { b"fork" });
        let leaf = |index: u64| {
            let (seq, at) = (index.saturating_add(1), Timestamp::from_secs(index));
            let leaf = if index.is_multiple_of(3) {
                Leaf::certificate(seq, at, said(index), Hash::of(b"tbs"))
            } else {
                Leaf::new(seq, at, "denial", said(index))
            };
            leaf.to_bytes().unwrap()
        };
        let leaves: Vec<Vec<u8>> = (0..size).map(leaf).collect();
        let mut levels = vec![leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>()];
        while levels.last().unwrap().len() >= FULL {
            let above = levels.last().unwrap().chunks_exact(FULL);
            levels.push(above.map(|hashes| folded(hashes).unwrap()).collect());
        }
        Self { leaves, levels }
    }

    fn head(&self, size: usize) -> Head {
        let mut edge = Edge::default();
        self.levels[0][..size].iter().for_each(|hash| edge.push(*hash));
        edge.head()
    }

    fn now(&self) -> Head {
        self.head(self.leaves.len())
    }

    fn tile(&self, name: TileName) -> Vec<u8> {
        let first = usize::try_from(name.number).unwrap().saturating_mul(FULL);
        let places = first..first.saturating_add(usize::try_from(name.width).unwrap());
        match name.kind {
            TileKind::Entries => bundle(self.leaves[places].iter().map(Vec::as_slice)).unwrap(),
            TileKind::Hashes(level) => {
                let hashes = &self.levels[usize::from(level)][places];
                hashes.iter().flat_map(|hash| hash.0).collect()
            }
        }
    }

    /// Walks with the tiles of this ledger, each as `hand` gives it on.
    fn walk(
        &self,
        mut walk: Walk,
        mut hand: impl FnMut(TileName, Vec<u8>) -> Vec<u8>,
    ) -> Result<(Walked, Vec<Leaf>), TileFault> {
        let mut leaves = Vec::new();
        for name in walk.order() {
            leaves.extend(walk.take(name, &hand(name, self.tile(name)))?);
        }
        Ok((walk.finish()?, leaves))
    }
}

/// What a hostile hand does to a tile.
type Change<'a> = &'a dyn Fn(TileName, &mut Vec<u8>);

fn as_it_is(_name: TileName, bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[test]
fn every_size_is_walked_whole_and_each_tile_once() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 700, 65_536, 65_793] {
        let ledger = Ledger::new(size, u64::MAX);
        let mut seen = std::collections::BTreeSet::new();
        let walk = Walk::new(ledger.now(), 0..size);
        let (walked, leaves) = ledger
            .walk(walk, |name, bytes| {
                assert!(seen.insert(name), "{name} twice");
                bytes
            })
            .unwrap();
        assert_eq!((walked.entries, walked.certificates), (size, size.div_ceil(3)));
        assert!(leaves.iter().zip(1..).all(|(leaf, seq)| leaf.seq == seq));
        let tiles = seen.iter().filter(|name| name.kind == TileKind::Hashes(0)).count();
        assert_eq!(u64::try_from(tiles).unwrap(), size.div_ceil(256));
    }
}

#[test]
fn a_range_needs_few_tiles() {
    let ledger = Ledger::new(66_000, u64::MAX);
    let walk = Walk::new(ledger.now(), 1_000..1_010);
    assert!(walk.order().count() <= 8, "{:?}", walk.order().collect::<Vec<_>>());
    let (walked, leaves) = ledger.walk(walk, as_it_is).unwrap();
    assert_eq!((walked.entries, leaves.first().unwrap().seq), (10, 1_001));
    let continuing = Walk::new(ledger.now(), 0..0).continuing(ledger.head(300));
    assert!(continuing.order().count() <= 8);
    assert!(ledger.walk(continuing, as_it_is).is_ok());
}

#[test]
fn whatever_is_done_to_a_tile_is_found() {
    let ledger = Ledger::new(700, u64::MAX);
    let names: Vec<TileName> = Walk::new(ledger.now(), 0..700).order().collect();
    let other = Ledger::new(700, 0);
    let changes: [Change<'_>; 8] = [
        &|_, bytes| bytes[1] ^= 1,
        &|_, bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x80;
        },
        &|_, bytes| bytes.truncate(bytes.len() - 1),
        &|_, bytes| bytes.truncate(bytes.len().saturating_sub(32)),
        &|_, bytes| bytes.clear(),
        &|_, bytes| bytes.extend([0; 32]),
        &|_, bytes| {
            let first = bytes[..32].to_vec();
            bytes.extend(first);
        },
        &|name, bytes| *bytes = other.tile(name),
    ];
    for name in &names {
        for (number, change) in changes.iter().enumerate() {
            let walk = Walk::new(ledger.now(), 0..700);
            let changed = ledger.walk(walk, |at, mut bytes| {
                if at == *name {
                    change(at, &mut bytes);
                }
                bytes
            });
            assert!(changed.is_err(), "{name}, change {number}");
        }
    }
    // In another order, or with one left out.
    for (left_out, name) in names.iter().enumerate() {
        let mut walk = Walk::new(ledger.now(), 0..700);
        let mut order = names.clone();
        order.remove(left_out);
        let all = order.iter().try_for_each(|at| walk.take(*at, &ledger.tile(*at)).map(drop));
        assert!(all.is_err() || walk.finish().is_err(), "without {name}");
    }
}

#[test]
fn swapped_entries_are_found_although_each_is_the_ledgers() {
    let ledger = Ledger::new(700, u64::MAX);
    let swapped = ledger.walk(Walk::new(ledger.now(), 0..700), |name, bytes| {
        if name != TileName::entries(1, 256) {
            return bytes;
        }
        let mut leaves = unbundle(&bytes).unwrap();
        leaves.swap(3, 4);
        bundle(leaves).unwrap()
    });
    assert_eq!(swapped, Err(TileFault::Entry(260)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_earlier_tree_is_continued_and_a_fork_of_it_never(
        size in 1_u64..700, old in 0_u64..700, forked in 0_u64..700
    ) {
        let (old, forked) = (old.min(size), forked.min(size));
        let (ledger, fork) = (Ledger::new(size, u64::MAX), Ledger::new(size, forked));
        let old_size = usize::try_from(old).unwrap();
        let honest = Walk::new(ledger.now(), 0..0).continuing(ledger.head(old_size));
        prop_assert!(ledger.walk(honest, as_it_is).is_ok());
        let forked_before = Walk::new(ledger.now(), 0..0).continuing(fork.head(old_size));
        let same = fork.head(old_size) == ledger.head(old_size);
        prop_assert_eq!(ledger.walk(forked_before, as_it_is).is_ok(), same);
        let rolled_back = Walk::new(ledger.head(old_size), 0..0).continuing(ledger.now());
        let shorter = Ledger::new(old, u64::MAX);
        prop_assert_eq!(shorter.walk(rolled_back, as_it_is).is_ok(), old == size);
    }

    #[test]
    fn any_range_of_any_tree_holds(size in 1_u64..700, from in 0_u64..700, length in 0_u64..600) {
        let ledger = Ledger::new(size, u64::MAX);
        let to = from.saturating_add(length);
        let walk = Walk::new(ledger.now(), from..to);
        let (walked, leaves) = ledger.walk(walk, as_it_is).unwrap();
        let due = size.min(to).saturating_sub(from);
        prop_assert_eq!((walked.entries, u64::try_from(leaves.len()).unwrap()), (due, due));
    }

    #[test]
    fn nothing_that_is_brought_makes_it_panic(
        size in any::<u64>(), tiles in prop::collection::vec((0_u8..9, any::<u64>(), 1_u64..257, prop::collection::vec(any::<u8>(), 0..100)), 0..9)
    ) {
        let head = Head { size: size >> 1, root: Hash([0; 32]) };
        let mut walk = Walk::new(head, 0..size).continuing(Head { size: size >> 2, root: Hash([1; 32]) });
        let first: Vec<TileName> = walk.order().take(12).collect();
        for name in first {
            let zeros = usize::try_from(name.width.saturating_mul(32)).unwrap();
            prop_assert!(walk.take(name, &vec![0; zeros]).is_ok() || walk.edge().is_none());
        }
        for (level, number, width, bytes) in tiles {
            drop(walk.take(TileName::hashes(level, number, width), &bytes));
            drop(walk.take(TileName::entries(number, width), &bytes));
        }
        prop_assert!(walk.finish().is_err() || head.size == 0);
    }
}
