use ssh_key::private::Ed25519Keypair;
use wire::ledger::Edge;
use wire::log::tile::{TileKind, bundle};
use wire::log::{Checkpoint, Hash, LogKey, Note, leaf_hash};
use wire::record::Quarrel;
use wire::time::Timestamp;

use super::*;
use crate::exit::{Exit, Fault};
use crate::ledger::{Contradiction, grew};

/// A ledger of at most 65,535 entries; those from `forked` on are others.
struct Ledger(Vec<Vec<u8>>);

impl Ledger {
    fn new(size: u64, forked: u64) -> Self {
        let leaf = |seq: u64| {
            let said = Hash::of(if seq <= forked { b"true" } else { b"fork" });
            Leaf::new(seq, Timestamp::from_secs(seq), "denial", said).to_bytes().unwrap()
        };
        Self((1..=size).map(leaf).collect())
    }

    fn head(&self, size: usize) -> Head {
        let mut edge = Edge::default();
        self.0[..size].iter().for_each(|leaf| edge.push(leaf_hash(leaf)));
        edge.head()
    }

    fn note(&self, size: usize) -> String {
        let text = Checkpoint { origin: "log.test".into(), head: self.head(size) }.text();
        let signature = signed(&pair(), text.as_bytes());
        let line = key().line(signature.as_bytes().try_into().unwrap());
        Note::new(text, vec![line]).unwrap().to_string()
    }

    fn attested(&self, size: usize) -> Attested {
        believe(&self.note(size), &policy(), "a test").unwrap()
    }

    fn tile(&self, tile: TileName) -> Vec<u8> {
        let first = usize::try_from(tile.number).unwrap().saturating_mul(256);
        let end = first.saturating_add(usize::try_from(tile.width).unwrap());
        let hash = |leaf: &Vec<u8>| leaf_hash(leaf).0;
        match tile.kind {
            TileKind::Entries => bundle(self.0[first..end].iter().map(Vec::as_slice)).unwrap(),
            TileKind::Hashes(0) => self.0[first..end].iter().flat_map(hash).collect(),
            TileKind::Hashes(_) => {
                let whole = self.0.chunks_exact(256).map(|leaves| {
                    let mut edge = Edge::default();
                    leaves.iter().for_each(|leaf| edge.push(leaf_hash(leaf)));
                    edge.head().root.0
                });
                whole.skip(first).take(end.saturating_sub(first)).flatten().collect()
            }
        }
    }

    fn lay_out(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let head = self.head(self.0.len());
        for tile in Walk::new(head, 0..head.size).order() {
            let path = dir.path().join(tile.path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, self.tile(tile)).unwrap();
        }
        std::fs::write(dir.path().join(CHECKPOINT), self.note(self.0.len())).unwrap();
        dir
    }
}

fn signed(key: &impl ssh_key::SigningKey, text: &[u8]) -> ssh_key::Signature {
    key.try_sign(text).unwrap()
}

fn pair() -> ssh_key::PrivateKey {
    ssh_key::PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))
}

fn key() -> LogKey {
    let public = pair().public_key().key_data().ed25519().unwrap().0;
    LogKey::new("log.test".parse().unwrap(), public)
}

fn policy() -> Policy {
    Policy { logs: vec![key()], ..Policy::default() }
}

/// All that is wrong with a folder.
fn faults(dir: &Path, seen: &[Attested]) -> Vec<String> {
    let screen = Screen::of_this_terminal();
    let directory = match Directory::open(dir, &policy()) {
        Ok(directory) => directory,
        Err(error) => return vec![error.to_string()],
    };
    let size = directory.attested().head().size;
    let mut found = directory.walk(0..size, seen, &screen).unwrap();
    found.faults.extend(directory.strangers().unwrap());
    assert!(found.walked.is_some() || !found.faults.is_empty());
    found.faults
}

#[test]
fn a_folder_of_tiles_holds_and_whatever_is_done_to_it_is_found() {
    let ledger = Ledger::new(700, u64::MAX);
    let dir = ledger.lay_out();
    assert_eq!(faults(dir.path(), &[ledger.attested(300), ledger.attested(0)]), [""; 0]);
    let tiles = ["0/000", "0/002.p/188", "1/000.p/2", "entries/001", "entries/002.p/188"];
    for tile in tiles.map(|tile| dir.path().join("tile").join(tile)) {
        let bytes = std::fs::read(&tile).unwrap();
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        let longer = [bytes.as_slice(), &[0; 32]].concat();
        for changed in [&flipped[..], &bytes[..bytes.len().saturating_sub(1)], &longer, b""] {
            std::fs::write(&tile, changed).unwrap();
            assert_ne!(faults(dir.path(), &[]), [""; 0], "{}", tile.display());
        }
        std::fs::remove_file(&tile).unwrap();
        assert!(faults(dir.path(), &[]).iter().any(|fault| fault.contains("is missing")));
        std::fs::write(&tile, bytes).unwrap();
    }
    for stranger in ["0/003", "entries/002", "7/000.p/1", "note", "0/002.p/189"] {
        let path = dir.path().join("tile").join(stranger);
        std::fs::write(&path, b"x")
            .or_else(|_| {
                std::fs::create_dir_all(path.parent().unwrap())?;
                std::fs::write(&path, b"x")
            })
            .unwrap();
        let found = faults(dir.path(), &[]);
        assert!(found.iter().any(|fault| fault.contains("no part of the tree")), "{found:?}");
        std::fs::remove_file(path).unwrap();
    }
    // A beginning that a mirror kept is held against what the tile begins with.
    let beginning = dir.path().join("tile/0/000.p");
    std::fs::create_dir_all(&beginning).unwrap();
    let whole = std::fs::read(dir.path().join("tile/0/000")).unwrap();
    std::fs::write(beginning.join("3"), &whole[..96]).unwrap();
    assert_eq!(faults(dir.path(), &[]), [""; 0]);
    std::fs::write(beginning.join("3"), &whole[1..97]).unwrap();
    assert_ne!(faults(dir.path(), &[]), [""; 0]);
}

#[test]
fn another_checkpoint_over_the_same_tiles_is_found() {
    let ledger = Ledger::new(700, u64::MAX);
    let dir = ledger.lay_out();
    let path = dir.path().join(CHECKPOINT);
    let fork = Ledger::new(700, 690);
    for note in [ledger.note(650), fork.note(700), ledger.note(700).replace("700", "701")] {
        std::fs::write(&path, note).unwrap();
        assert_ne!(faults(dir.path(), &[]), [""; 0]);
    }
    std::fs::write(&path, ledger.note(700)).unwrap();
    assert_ne!(faults(dir.path(), &[fork.attested(695)]), [""; 0], "forked");
    assert_ne!(faults(dir.path(), &[Ledger::new(800, 900).attested(800)]), [""; 0], "gone back");
}

#[test]
fn a_fork_and_a_rollback_name_both_checkpoints_and_have_an_exit_code() {
    let (ledger, fork) = (Ledger::new(20, 99), Ledger::new(20, 9));
    assert!(grew(&ledger.attested(9), &ledger.attested(20)).unwrap());
    assert!(!grew(&ledger.attested(20), &ledger.attested(20)).unwrap());
    for (known, offered, quarrel) in [
        (ledger.attested(20), fork.attested(20), Quarrel::Fork),
        (ledger.attested(20), ledger.attested(19), Quarrel::Rollback),
    ] {
        let fault = grew(&known, &offered).unwrap_err();
        let said = fault.to_string();
        assert!(said.contains(&known.note().to_string()), "{said}");
        assert!(said.contains(&offered.note().to_string()), "{said}");
        let Fault::Contradicted(found) = &fault else { panic!("{fault:?}") };
        let Contradiction(dispute) = &**found;
        assert_eq!(dispute.quarrel, quarrel);
        assert_eq!(Exit::of(&fault.into()), Exit::Contradicted);
    }
}
