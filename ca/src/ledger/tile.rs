//! What anybody may read of the log: checkpoints, tiles and proofs. None of it holds personal data.

use tlog_tiles::{prove_record, prove_tree, tree_hash};
use wire::hostlink::{Continuation, ContinuationPath};
use wire::log::tile::{TILE_WIDTH, TileKind, TileName, bundle};
use wire::log::{Hash, Head, LogKey, Note, Proof};

use super::tree::{self, Stored};
use super::{Ledger, LedgerError, log};

impl Ledger {
    /// A tile as `tlog-tiles` writes it; nothing when the tree does not reach as far.
    pub(crate) async fn tile(&self, name: TileName) -> Result<Option<Vec<u8>>, LedgerError> {
        let reach = self.checkpoints().borrow().head().size;
        if name.within(reach).is_none() {
            return Ok(None);
        }
        let first = name.number.saturating_mul(TILE_WIDTH);
        let end = first.saturating_add(name.width);
        self.read(move |connection| match name.kind {
            TileKind::Hashes(level) => {
                let hashes = tree::hashes(connection, level, (first, name.width))?;
                Ok(Some(hashes.iter().flat_map(|hash| hash.0).collect()))
            }
            TileKind::Entries => {
                let mut leaves = connection.prepare_cached(
                    "SELECT leaf FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq",
                )?;
                let leaves = leaves.query_map([first, end], |row| row.get::<Vec<u8>>(0))?;
                let leaves = leaves.collect::<Result<Vec<_>, _>>()?;
                Ok(Some(bundle(leaves.iter().map(Vec::as_slice))?))
            }
        })
        .await
    }

    /// The proof that the tree of `new` entries continues the tree of `old` ones; none is needed where `old` is 0.
    pub(crate) async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        let reach = self.checkpoints().borrow().head().size;
        if old > new || new > reach {
            return Err(LedgerError::NotFound(format!(
                "there is no tree of {new} entries that continues one of {old}; the newest has {reach}"
            )));
        }
        if old == 0 {
            return Ok(Vec::new());
        }
        self.read(move |connection| {
            let path = Stored::new(connection).with(|stored| prove_tree(new, old, stored))?;
            Ok(path.into_iter().map(|node| Hash(node.0)).collect())
        })
        .await
    }

    /// The newest checkpoint, and that its tree continues those of `sizes`, as far as it has reached them.
    pub(crate) async fn continuation(&self, sizes: Vec<u64>) -> Result<Continuation, LedgerError> {
        let newest = self.checkpoints().borrow().clone();
        self.continuation_in((newest.head(), newest.note().clone()), sizes).await
    }

    /// The same of an earlier checkpoint of this ledger.
    pub(crate) async fn continuation_in(
        &self,
        (head, checkpoint): (Head, Note),
        sizes: Vec<u64>,
    ) -> Result<Continuation, LedgerError> {
        let reach = head.size;
        self.read(move |connection| {
            let mut paths = Vec::new();
            for size in sizes.into_iter().filter(|size| (1..=reach).contains(size)) {
                let stored = Stored::new(connection);
                let path = stored.with(|stored| prove_tree(reach, size, stored))?;
                let path = path.into_iter().map(|node| Hash(node.0)).collect();
                paths.push(ContinuationPath { size, path });
            }
            Ok(Continuation { checkpoint, paths })
        })
        .await
    }

    /// The root of the tree of the first `size` entries.
    pub(crate) async fn root_of(&self, size: u64) -> Result<Hash, LedgerError> {
        if size == 0 {
            return Ok(Head::empty().root);
        }
        self.read(move |connection| {
            let root = Stored::new(connection).with(|stored| tree_hash(size, stored))?;
            Ok(Hash(root.0))
        })
        .await
    }

    /// The proof that an entry is in the tree of the newest checkpoint.
    #[cfg(test)]
    pub(crate) async fn prove(&self, seq: u64) -> Result<Proof, LedgerError> {
        let newest = self.checkpoints().borrow().clone();
        self.prove_in(seq, newest.head().size, newest.note().clone()).await
    }

    /// The proof that an entry is in the tree of this size, which this checkpoint is over.
    pub(crate) async fn prove_in(
        &self,
        seq: u64,
        size: u64,
        checkpoint: Note,
    ) -> Result<Proof, LedgerError> {
        if seq == 0 || seq > size {
            return Err(LedgerError::NotFound(format!(
                "there is no entry {seq}; the newest is {size}"
            )));
        }
        self.read(move |connection| {
            let index = seq.saturating_sub(1);
            let path = Stored::new(connection).with(|stored| prove_record(size, index, stored))?;
            let path = path.into_iter().map(|node| Hash(node.0)).collect();
            Ok(Proof { extra: None, index, path, checkpoint })
        })
        .await
    }

    /// A public key as the key of this log.
    pub(crate) async fn log_key(&self, key: ssh_key::PublicKey) -> Result<LogKey, LedgerError> {
        self.read(move |connection| log::log_key(&log::name(connection)?, &key)).await
    }
}
