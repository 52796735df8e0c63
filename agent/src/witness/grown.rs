//! A ledger in memory, grown with the crate that the authority uses; for tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use tlog_tiles::tlog;
use wire::hostlink::{Continuation, ContinuationPath};
use wire::log::{
    Attested, Checkpoint, Declared, Era, Hash, Head, LogKey, Note, Policy, Proof, Statement,
};
use wire::time::Timestamp;

/// Its entries' hashes, and those of the nodes above them.
pub(crate) struct Ledger {
    stored: Vec<tlog::Hash>,
    size: u64,
    seed: u8,
}

impl tlog::HashReader for Ledger {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.stored[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Ledger {
    /// With the entries 0 to `size`; from `forked` on they are others.
    pub(crate) fn new(size: u64, forked: u64) -> Self {
        let mut ledger = Self { stored: Vec::new(), size: 0, seed: 7 };
        for entry in 0..size {
            let name = if entry < forked { "entry" } else { "other" };
            ledger.push(format!("{name} {entry}").as_bytes());
        }
        ledger
    }

    /// The same under another key.
    pub(crate) fn under(self, seed: u8) -> Self {
        Self { seed, ..self }
    }

    pub(crate) fn push(&mut self, entry: &[u8]) {
        let hashes = tlog::stored_hashes(self.size, entry, self).unwrap();
        self.stored.extend(hashes);
        self.size = self.size.saturating_add(1);
    }

    pub(crate) fn key(&self) -> LogKey {
        let public = self.pair().public_key().as_ref().try_into().unwrap();
        LogKey::new(LOG.parse().unwrap(), public)
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[self.seed; 32]).unwrap()
    }

    pub(crate) fn note(&self, size: u64) -> Note {
        let head = Head { size, root: Hash(tlog::tree_hash(size, self).unwrap().0) };
        let text = Checkpoint { origin: LOG.into(), head }.text();
        let signature = self.pair().sign(text.as_bytes());
        let line = self.key().line(signature.as_ref().try_into().unwrap());
        Note::new(text, vec![line]).unwrap()
    }

    /// That it was put back to the tree of `size` entries and order `last_order`.
    pub(crate) fn declared(&self, era: Era, size: u64, last_order: u64) -> Declared {
        let (cut, at) = (self.note(size), Timestamp::from_secs(1));
        let head = cut.text().parse::<Checkpoint>().unwrap().head;
        let (origin, reason) = (LOG.parse().unwrap(), "test".to_owned());
        let said = Statement { origin, era, cut: head, last_order, at, reason };
        let text = said.text().unwrap();
        let line = self.key().line(self.pair().sign(text.as_bytes()).as_ref().try_into().unwrap());
        Declared { statement: Note::new(text, vec![line]).unwrap(), cut }
    }

    pub(crate) fn at(&self, size: u64) -> Attested {
        Policy { logs: vec![self.key()], ..Policy::default() }.attest(self.note(size)).unwrap()
    }

    /// That the entry `index` stands in the tree of `size` entries.
    pub(crate) fn proof(&self, index: u64, size: u64) -> Proof {
        let path = tlog::prove_record(size, index, self).unwrap();
        let path = path.into_iter().map(|hash| Hash(hash.0)).collect();
        Proof { extra: None, index, path, checkpoint: self.note(size) }
    }

    /// What an honest authority answers.
    pub(crate) fn answer(&self, size: u64, asked: &[u64]) -> Continuation {
        let path = |old: u64| {
            let path = tlog::prove_tree(size, old, self).unwrap();
            let path = path.into_iter().map(|hash| Hash(hash.0)).collect();
            ContinuationPath { size: old, path }
        };
        let paths = asked.iter().filter(|old| **old <= size).map(|old| path(*old)).collect();
        Continuation { checkpoint: self.note(size), paths }
    }
}

const LOG: &str = "ca.example.com/ledger";
