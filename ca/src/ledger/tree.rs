//! The Merkle tree over the entries (RFC 6962), as the writer grows it: one checkpoint for each transaction.
//!
//! Shape: a leaf's hash stands in its row of `entries`; of what is above, `subtrees` keeps the hash of each whole
//! subtree of 256, 65,536, … entries, which is exactly what hash tiles hold (c2sp.org/tlog-tiles). Whatever lies between
//! is computed from the 256 hashes below it. The writer keeps the tree's right edge in memory, so that an entry costs the
//! logarithm of their number and no reading. Everything is written in the transaction of the entries themselves.
//! Who can change this: root and the authority's user. Gains: a tree that the hosts' checkpoints contradict.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use tlog_tiles::{
    Error, Hash as Node, HashReader, split_stored_hash_index, stored_hash_index,
    stored_hashes_for_record_hash, sub_tree_index, tree_hash,
};
use wire::log::{Checkpoint, Hash, Head, Note, Proof};
use wire::time::Timestamp;

use super::LedgerError;
use super::log::Log;
use super::sql::{Connection, OptionalExtension as _, Row, params};

/// The tree as of the last durable transaction, and the key that signs it.
pub(super) struct Tree {
    log: Log,
    newest: Arc<Step>,
}

/// A transaction's end: the checkpoint over all entries so far, and the part of the tree that proves its own entries.
#[derive(Debug)]
pub(crate) struct Step {
    head: Head,
    note: Note,
    nodes: Nodes,
}

/// Hashes by their place in the order of `stored_hash_index`.
#[derive(Debug, Default, Clone)]
struct Nodes(BTreeMap<u64, Node>);

/// The tree in the database.
pub(super) struct Stored<'a> {
    connection: &'a Connection,
    failure: RefCell<Option<LedgerError>>,
}

impl Step {
    /// The signed checkpoint.
    pub(crate) const fn note(&self) -> &Note {
        &self.note
    }

    /// The tree.
    pub(crate) const fn head(&self) -> Head {
        self.head
    }

    /// The proof that an entry of this transaction is in the tree.
    pub(crate) fn prove(&self, seq: u64) -> Result<Proof, LedgerError> {
        let index = seq.saturating_sub(1);
        let path = tlog_tiles::prove_record(self.head.size, index, &self.nodes)?;
        let path = path.into_iter().map(|node| Hash(node.0)).collect();
        Ok(Proof { extra: None, index, path, checkpoint: self.note.clone() })
    }
}

impl Tree {
    /// The tree in the database, brought up to date with the entries: those of an older version, and the first.
    pub(super) fn open(
        connection: &Connection,
        log: Log,
        now: Timestamp,
    ) -> Result<Self, LedgerError> {
        loop {
            // Each time anew: another node may have gone on meanwhile.
            let transaction = connection.transaction()?;
            let newest = stored_step(&transaction)?;
            let step = grow(&transaction, newest.as_ref(), (&log, now))?;
            transaction.commit()?;
            if step.is_none() {
                let newest = newest.ok_or_else(|| LedgerError::Torn("there is no entry".into()))?;
                return Ok(Self { log, newest: Arc::new(newest) });
            }
        }
    }

    /// The newest durable checkpoint.
    pub(super) const fn newest(&self) -> &Arc<Step> {
        &self.newest
    }

    /// Takes in the entries that this transaction has written; nothing when there are none. The tree is as before until
    /// [`Self::adopt`], so that a transaction that fails leaves no trace.
    pub(super) fn grow(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Option<Step>, LedgerError> {
        grow(connection, Some(&*self.newest), (&self.log, now))
    }

    /// Takes over what other nodes have added since: what is there now must continue what this one knows.
    pub(super) fn catch_up(&mut self, connection: &Connection) -> Result<bool, LedgerError> {
        let newest = newest_text(connection)?;
        if newest.as_deref() == Some(self.newest.note.to_string().as_str()) {
            return Ok(false);
        }
        let (known, step) = (self.newest.head, stored_step(connection)?);
        let found = step.as_ref().map_or_else(Head::empty, |step| step.head);
        if found.size < known.size {
            return Err(LedgerError::Torn(format!(
                "the database holds {} entries, and this node has seen {}: it was put back to an older state",
                found.size, known.size
            )));
        }
        let root = Stored::new(connection).with(|stored| tree_hash(known.size, stored))?;
        if root.0 != known.root.0 {
            return Err(LedgerError::Torn(format!(
                "the first {} entries are not those that this node has seen",
                known.size
            )));
        }
        if let Some(step) = step {
            self.newest = Arc::new(step);
        }
        Ok(true)
    }

    /// Whether this very step is in the database.
    pub(super) fn holds(connection: &Connection, step: &Step) -> Result<bool, LedgerError> {
        let found: Option<String> = connection
            .prepare_cached("SELECT note FROM checkpoints WHERE size = ?")?
            .query_row([step.head.size], |row| row.get(0))
            .optional()?;
        Ok(found == Some(step.note.to_string()))
    }

    /// The transaction is durable, and with it this step.
    pub(super) fn adopt(&mut self, step: Step) {
        self.newest = Arc::new(step);
    }
}

fn grow(
    connection: &Connection,
    newest: Option<&Step>,
    (log, now): (&Log, Timestamp),
) -> Result<Option<Step>, LedgerError> {
    let before = newest.map_or(0, |step| step.head.size);
    let mut size = before;
    let mut nodes = newest.map(|step| step.nodes.edge(size)).unwrap_or_default();
    let leaves = connection
        .prepare_cached("SELECT seq, leaf_hash FROM entries WHERE seq > ? ORDER BY seq LIMIT ?")?
        .query_map([before, MAX_GROWTH], |row| Ok((row.get::<u64>(0)?, row.get(1)?)))?;
    for leaf in leaves {
        let due = size.saturating_add(1);
        let (seq, hash) = leaf?;
        if seq != due {
            return Err(LedgerError::Torn(format!("entry {due} is missing")));
        }
        nodes.add(connection, size, Node(hash))?;
        size = due;
    }
    if size == before {
        return Ok(None);
    }
    let head = Head { size, root: Hash(tree_hash(size, &nodes)?.0) };
    let note = log.sign(head)?;
    connection
        .prepare_cached("INSERT INTO checkpoints (size, at, note) VALUES (?, ?, ?)")?
        .execute(params![size, now.millis(), note.to_string()])?;
    Ok(Some(Step { head, note, nodes }))
}

/// The newest checkpoint with its right edge, both from the database, where they must agree.
fn stored_step(connection: &Connection) -> Result<Option<Step>, LedgerError> {
    let Some(note) = newest_note(connection)? else { return Ok(None) };
    let checkpoint: Checkpoint = note.text().parse()?;
    let size = checkpoint.head.size;
    let indexes = sub_tree_index(0, size, Vec::new());
    let hashes = Stored::new(connection).with(|stored| stored.read_hashes(&indexes))?;
    let nodes = Nodes(indexes.into_iter().zip(hashes).collect());
    if tree_hash(size, &nodes)?.0 != checkpoint.head.root.0 {
        return Err(LedgerError::Torn(format!(
            "the tree of {size} entries is not the one that its checkpoint says"
        )));
    }
    Ok(Some(Step { head: checkpoint.head, note, nodes }))
}

/// The newest signed checkpoint.
pub(super) fn newest_note(connection: &Connection) -> Result<Option<Note>, LedgerError> {
    Ok(newest_text(connection)?.map(|text| text.parse()).transpose()?)
}

fn newest_text(connection: &Connection) -> Result<Option<String>, LedgerError> {
    let text = connection
        .prepare_cached("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_row((), |row| row.get(0))
        .optional()?;
    Ok(text)
}

impl Nodes {
    /// Those that a tree of this size is the sum of: all that is needed to go on.
    fn edge(&self, size: u64) -> Self {
        let places = sub_tree_index(0, size, Vec::new());
        Self(places.into_iter().filter_map(|at| Some((at, *self.0.get(&at)?))).collect())
    }

    /// Adds the leaf at `index`, and the subtrees that it completes.
    fn add(&mut self, connection: &Connection, index: u64, leaf: Node) -> Result<(), LedgerError> {
        let made = stored_hashes_for_record_hash(index, leaf, self)?;
        for (level, node) in (0_u8..).zip(made) {
            let number = index >> level;
            self.0.insert(stored_hash_index(level, number), node);
            if level > 0 && level % TILE_HEIGHT == 0 {
                connection
                    .prepare_cached("INSERT INTO subtrees (level, number, hash) VALUES (?, ?, ?)")?
                    .execute(params![level / TILE_HEIGHT, number, node.0])?;
            }
        }
        Ok(())
    }
}

impl HashReader for Nodes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Node>, Error> {
        let found = |index| self.0.get(index).copied().ok_or(Error::IndexesNotInTree);
        indexes.iter().map(found).collect()
    }
}

impl<'a> Stored<'a> {
    /// The tree that this connection sees.
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self { connection, failure: RefCell::new(None) }
    }

    /// Runs one of the crate's algorithms over it; the database's own failure comes first.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, LedgerError> {
        let outcome = work(self);
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(outcome?),
        }
    }

    fn node(&self, index: u64) -> Result<Node, LedgerError> {
        let (level, number) = split_stored_hash_index(index);
        let (tile, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let count = 1_u64 << height;
        let mut hashes = hashes(self.connection, tile, (number << height, count))?;
        if u64::try_from(hashes.len()).ok() != Some(count) {
            return Err(Error::IndexesNotInTree.into());
        }
        while hashes.len() > 1 {
            hashes = hashes
                .chunks_exact(2)
                .filter_map(<[Node]>::first_chunk)
                .map(|[left, right]| tlog_tiles::node_hash(*left, *right))
                .collect();
        }
        hashes.first().copied().ok_or_else(|| Error::IndexesNotInTree.into())
    }
}

impl HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Node>, Error> {
        indexes
            .iter()
            .map(|index| {
                self.node(*index).map_err(|failure| {
                    self.failure.replace(Some(failure));
                    Error::IndexesNotInTree
                })
            })
            .collect()
    }
}

/// Up to `count` hashes of a level of tiles, from `first` on.
pub(super) fn hashes(
    connection: &Connection,
    tile: u8,
    (first, count): (u64, u64),
) -> Result<Vec<Node>, LedgerError> {
    let end = first.saturating_add(count);
    let node = |row: &Row<'_>| row.get(0).map(Node);
    let hashes = if tile == 0 {
        connection
            .prepare_cached(
                "SELECT leaf_hash FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq",
            )?
            .query_map([first, end], node)?
            .collect::<Result<_, _>>()?
    } else {
        connection
            .prepare_cached(
                "SELECT hash FROM subtrees WHERE level = ? AND number >= ? AND number < ? ORDER BY number",
            )?
            .query_map(params![tile, first, end], node)?
            .collect::<Result<_, _>>()?
    };
    Ok(hashes)
}

/// A tile is eight levels of the tree: 256 hashes.
pub(super) const TILE_HEIGHT: u8 = 8;
/// Most entries taken in at once: more than a transaction ever writes, few enough for memory when the whole tree is made.
const MAX_GROWTH: u64 = 65_536;

#[cfg(test)]
mod tests {
    use wire::log::{Leaf, Policy, leaf_hash, node_hash, verify_consistency};

    use super::super::entry::{self, Kind};
    use super::super::tests::NOW;
    use super::super::{log, schema};
    use super::*;

    fn empty() -> (Connection, Log, Policy) {
        let connection = Connection::open_empty().unwrap();
        schema::create_empty(&connection).unwrap();
        log::christen(&connection, &wire::identifier::Fingerprint::of(b"root")).unwrap();
        let log = super::super::tests::given_log(&connection);
        let policy = Policy { logs: log.public(), ..Policy::default() };
        (connection, log, policy)
    }

    fn decide(connection: &Connection, count: u64) {
        for _ in 0..count {
            let data = entry::RolesRefused { reason: "test" };
            entry::append(connection, Kind::RolesRefused, NOW, &data).unwrap();
        }
    }

    fn leaf(connection: &Connection, seq: u64) -> Hash {
        let sql = "SELECT leaf FROM entries WHERE seq = ?";
        let leaf: Vec<u8> = connection.query_row(sql, [seq], |row| row.get(0)).unwrap();
        leaf_hash(&leaf)
    }

    #[test]
    fn every_step_proves_its_entries_and_continues_every_step_before() {
        let (connection, log, policy) = empty();
        decide(&connection, 1);
        let mut tree = Tree::open(&connection, log, NOW).unwrap();
        let mut heads = vec![tree.newest().head()];
        for count in [1, 1, 5, 248, 1, 255, 300, 17, 0, 1200, 3] {
            decide(&connection, count);
            let Some(step) = tree.grow(&connection, NOW).unwrap() else {
                assert_eq!(count, 0);
                continue;
            };
            let first = heads.last().unwrap().size + 1;
            for seq in first..=step.head().size {
                let proof = step.prove(seq).unwrap();
                let attested = proof.verify(leaf(&connection, seq), &policy).unwrap();
                assert_eq!(attested.head(), step.head());
            }
            assert_eq!(step.head().size + 1, first + count);
            heads.push(step.head());
            tree.adopt(step);
        }
        let newest = *heads.last().unwrap();
        let stored = Stored::new(&connection);
        for old in &heads {
            let path = tlog_tiles::prove_tree(newest.size, old.size, &stored).unwrap();
            let path: Vec<Hash> = path.into_iter().map(|node| Hash(node.0)).collect();
            verify_consistency(*old, newest, &path).unwrap();
        }
        for seq in [1, 2, 255, 256, 257, 512, 1000, newest.size] {
            let path = stored
                .with(|stored| tlog_tiles::prove_record(newest.size, seq - 1, stored))
                .unwrap();
            let path: Vec<Hash> = path.into_iter().map(|node| Hash(node.0)).collect();
            wire::log::verify_inclusion(leaf(&connection, seq), seq - 1, &path, newest).unwrap();
        }
        let subtrees: u64 =
            connection.query_row("SELECT count(*) FROM subtrees", (), |row| row.get(0)).unwrap();
        assert_eq!(subtrees, newest.size / 256);
    }

    #[test]
    fn the_example_in_the_documentation_is_what_comes_out() {
        let page = include_str!("../../../docs/ledger.md");
        let line = |label: &str| {
            let mut lines = page.lines().filter_map(|line| line.strip_prefix(label));
            let found = lines.next().unwrap_or_else(|| panic!("no line begins with {label:?}"));
            assert_eq!(lines.next(), None, "{label}");
            found.trim()
        };
        let salt = |first: u8| (first..first + 16).collect::<Vec<_>>();
        let mut hashes = Vec::new();
        for (seq, at) in [(1, 1_800_000_000_000), (2, 1_800_000_001_000)] {
            let salt = salt(if seq == 1 { 0 } else { 16 });
            let shown: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(page.contains(&format!("`{shown}`")), "{shown}");
            let said = entry::body_hash(&salt, line(&format!("body {seq}  ")).as_bytes());
            let leaf = Leaf::new(seq, Timestamp::from_millis(at), "roles_refused", said);
            let bytes = leaf.to_bytes().unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), line(&format!("leaf {seq}  ")));
            hashes.push(leaf_hash(&bytes));
            assert_eq!(leaf_hash(&bytes).to_string(), line(&format!("leaf hash {seq}  ")));
        }
        assert_eq!(node_hash(hashes[0], hashes[1]).to_string(), line("root  "));
    }

    #[test]
    fn the_work_of_a_step_does_not_grow_with_the_tree() {
        let (connection, log, _) = empty();
        decide(&connection, 20_000);
        let mut tree = Tree::open(&connection, log, NOW).unwrap();
        decide(&connection, 1);
        let step = tree.grow(&connection, NOW).unwrap().unwrap();
        // The right edge of a tree of 20,000 and a path of 15: nothing else is held or read.
        assert!(step.nodes.0.len() <= 2 * 15, "{}", step.nodes.0.len());
        tree.adopt(step);
    }

    #[test]
    fn a_tree_that_was_changed_by_another_hand_is_not_continued() {
        for damage in [
            "UPDATE entries SET leaf_hash = zeroblob(32) WHERE seq = 300",
            "UPDATE subtrees SET hash = zeroblob(32)",
            "DELETE FROM entries WHERE seq = 300",
            "DELETE FROM subtrees",
            "UPDATE checkpoints SET note = 'x'",
        ] {
            let (connection, log, _) = empty();
            connection.set("foreign_keys", 0).unwrap();
            decide(&connection, 300);
            drop(Tree::open(&connection, log.clone(), NOW).unwrap());
            assert!(Tree::open(&connection, log.clone(), NOW).is_ok());
            connection.execute_batch(damage).unwrap();
            assert!(Tree::open(&connection, log, NOW).is_err(), "{damage}");
        }
    }
}
