//! Checking a ledger's file from the outside: every entry, body, hash, and checkpoint, from public keys alone. Nothing is
//! written, and an authority may be serving meanwhile.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use wire::ledger::{End, Entry, Verified, Verifier};
use wire::log::{Checkpoint, Hash, Head, KeyName, Leaf, Note, Policy, leaf_hash, node_hash};

use super::history::entry_of;
use super::rebuild::{self, Rebuilt};
use super::sql::{Connection, OptionalExtension as _};
use super::{LedgerError, Place, schema};

/// A ledger's file, attached for reading to an empty database of our own, into which it is replayed.
pub(crate) struct Audit {
    connection: Connection,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the ledger is, when its newest checkpoint holds.
    pub(crate) verified: Option<Verified>,
    /// Each thing that is wrong.
    pub(crate) faults: Vec<String>,
    /// How many checkpoints were checked.
    pub(crate) checkpoints: u64,
}

/// The hashes that full tiles hold, computed again.
#[derive(Default)]
struct Tiles {
    /// For each level: the hashes of the tile that is not full, and how many are.
    levels: [(Vec<Hash>, u64); 8],
    made: u64,
}

impl Audit {
    /// Opens a ledger's file for reading.
    pub(crate) fn open(place: &Place) -> Result<Self, LedgerError> {
        Self::attach(place, "ro")
    }

    /// Opens one on a server that is not whole yet.
    pub(crate) fn open_unfinished(place: &Place) -> Result<Self, LedgerError> {
        let connection = place.open()?;
        schema::any_version(&connection, "ledger", place)?;
        beside(&connection)?;
        Ok(Self { connection })
    }

    /// Opens it so that the state in it can be replaced.
    pub(crate) fn open_to_rebuild(place: &Place) -> Result<Self, LedgerError> {
        Self::attach(place, "rw")
    }

    fn attach(place: &Place, mode: &str) -> Result<Self, LedgerError> {
        let connection = if let Some(path) = place.file() {
            if !path.exists() {
                return Err(LedgerError::Missing(place.clone()));
            }
            let connection = Connection::open_empty()?;
            schema::create_empty(&connection)?;
            // The replay writes rows of state without the entries that they refer to.
            connection.set("foreign_keys", 0)?;
            connection.execute("ATTACH ? AS ledger", [uri(path, mode)])?;
            connection
        } else {
            let connection = place.open()?;
            // Before its own tables hide those of the ledger.
            schema::version(&connection, "ledger", place)?;
            beside(&connection)?;
            connection
        };
        let found = schema::version(&connection, "ledger", place)?;
        if found < schema::newest() {
            return Err(LedgerError::Older { found, known: schema::newest() });
        }
        Ok(Self { connection })
    }

    /// The log's name.
    pub(crate) fn name(&self) -> Result<KeyName, LedgerError> {
        let name: String =
            self.connection.query_row("SELECT name FROM ledger.log", (), |row| row.get(0))?;
        Ok(KeyName::try_new(name)?)
    }

    /// The log's name, and its newest checkpoint.
    pub(crate) fn newest(&self) -> Result<(KeyName, Note), LedgerError> {
        let note: Option<String> = self
            .connection
            .prepare_cached("SELECT note FROM ledger.checkpoints ORDER BY size DESC LIMIT 1")?
            .query_row((), |row| row.get(0))
            .optional()?;
        let note = note.ok_or_else(|| LedgerError::Torn("it has no checkpoint".into()))?;
        Ok((self.name()?, note.parse()?))
    }

    /// Checks everything. `seen` are checkpoints that somebody else kept: a ledger that was rolled back or forked does not
    /// continue them.
    pub(crate) fn verify(self, policy: &Policy, seen: &[Note]) -> Result<Report, LedgerError> {
        let snapshot = self.connection.snapshot()?;
        let mut walk = Walk::new(&snapshot, policy, seen)?;
        walk.entries()?;
        let Walk { verifier, tiles, newest, mut report, .. } = walk;
        let head = verifier.head();
        report.faults.extend(leftovers(&snapshot, (head.size, tiles.made))?);
        match newest {
            Some(note) => match verifier.finish(&End { note, consistency: Vec::new() }) {
                Ok(verified) => report.verified = Some(verified),
                Err(fault) => report.faults.push(fault.to_string()),
            },
            None => {
                report.faults.push(format!("the tree of {} entries has no checkpoint", head.size));
            }
        }
        Ok(report)
    }

    /// Replays the entries and compares the state with what they say.
    pub(crate) fn compare(&self) -> Result<Rebuilt, LedgerError> {
        let snapshot = self.connection.snapshot()?;
        rebuild::replay(&snapshot)
    }

    /// The same, and puts the replayed state in place of the present one.
    pub(crate) fn rebuild(&self) -> Result<Rebuilt, LedgerError> {
        self.connection.begin()?;
        let rebuilt = rebuild::replay(&self.connection)?;
        if rebuilt.unexplained == 0 {
            rebuild::put(&self.connection)?;
        }
        self.connection.commit()?;
        Ok(rebuilt)
    }
}

/// Makes empty tables of the connection's own, which hide those of the ledger.
fn beside(connection: &Connection) -> Result<(), LedgerError> {
    connection.execute_batch("SET search_path = pg_temp, ledger")?;
    schema::create_empty(connection)
}

/// The file as SQLite names it with a mode.
fn uri(path: &Path, mode: &str) -> String {
    let path: String = path
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) => {
                char::from(*byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("file:{path}?mode={mode}")
}

/// What stands in the tables of the log beyond its entries.
fn leftovers(
    connection: &Connection,
    (size, subtrees): (u64, u64),
) -> Result<Vec<String>, LedgerError> {
    let count = |sql: &str| connection.query_row(sql, (), |row| row.get::<u64>(0));
    let mut faults = Vec::new();
    let stored = count("SELECT count(*) FROM ledger.subtrees")?;
    if stored != subtrees {
        faults.push(format!(
            "the tiles hold {stored} hashes of whole subtrees, and should {subtrees}"
        ));
    }
    let orphans = count(
        "SELECT count(*) FROM ledger.bodies WHERE seq NOT IN (SELECT seq FROM ledger.entries)",
    )?;
    if orphans > 0 {
        faults.push(format!("{orphans} bodies belong to no entry"));
    }
    let beyond: u64 = connection.query_row(
        "SELECT count(*) FROM ledger.checkpoints WHERE size > ?",
        [size],
        |row| row.get(0),
    )?;
    if beyond > 0 {
        faults
            .push(format!("{beyond} checkpoints are over more than the {size} entries there are"));
    }
    Ok(faults)
}

/// A row of an entry, with its body.
struct Kept {
    seq: u64,
    at: u64,
    kind: String,
    hash: Vec<u8>,
    entry: Entry,
}

/// The next entries after this one.
fn page(connection: &Connection, after: i64) -> Result<Vec<Kept>, LedgerError> {
    let rows = connection
        .prepare_cached(
            "SELECT seq, at, kind, leaf_hash, leaf, salt, body \
             FROM ledger.entries LEFT JOIN ledger.bodies USING (seq) WHERE seq > ? ORDER BY seq LIMIT 1000",
        )?
        .query_map([after], |row| {
            let (seq, at, kind, hash) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Kept { seq, at, kind, hash, entry: entry_of(row, 4)? })
        })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Goes through the entries, and what belongs to each.
struct Walk<'a> {
    connection: &'a Connection,
    policy: &'a Policy,
    verifier: Verifier<'a>,
    tiles: Tiles,
    seen: Vec<(Head, &'a Note)>,
    newest: Option<String>,
    report: Report,
}

impl<'a> Walk<'a> {
    fn new(
        connection: &'a Connection,
        policy: &'a Policy,
        seen: &'a [Note],
    ) -> Result<Self, LedgerError> {
        let mut known = Vec::new();
        for note in seen {
            let checkpoint: Checkpoint = note.text().parse()?;
            known.push((checkpoint.head, note));
        }
        let report = Report { verified: None, faults: Vec::new(), checkpoints: 0 };
        let (verifier, tiles) = (Verifier::new(policy), Tiles::default());
        Ok(Self { connection, policy, verifier, tiles, seen: known, newest: None, report })
    }

    fn entries(&mut self) -> Result<(), LedgerError> {
        let mut reached = i64::MIN;
        loop {
            let page = page(self.connection, reached)?;
            let Some(last) = page.last() else { break };
            reached = i64::try_from(last.seq).unwrap_or(i64::MAX);
            for kept in &page {
                self.entry(kept)?;
                self.checkpoint()?;
            }
        }
        let size = self.verifier.head().size;
        for (head, _) in self.seen.iter().filter(|(head, _)| head.size > size) {
            self.report.faults.push(format!(
                "somebody has seen a checkpoint over {} entries, and here are {size}: the ledger was rolled back",
                head.size
            ));
        }
        Ok(())
    }

    /// The checkpoint over the entries so far, where there is one.
    fn checkpoint(&mut self) -> Result<(), LedgerError> {
        let note: Option<String> = self
            .connection
            .prepare_cached("SELECT note FROM ledger.checkpoints WHERE size = ?")?
            .query_row([self.verifier.head().size], |row| row.get(0))
            .optional()?;
        if let Some(note) = &note {
            self.report.checkpoints = self.report.checkpoints.saturating_add(1);
            self.hold(self.verifier.checkpoint(note).map(drop).map_err(|fault| fault.to_string()));
        }
        self.newest = note;
        self.held_against_others();
        Ok(())
    }

    fn entry(&mut self, kept: &Kept) -> Result<(), LedgerError> {
        let Kept { seq, at, kind, hash: kept_hash, entry } = kept;
        for fault in self.verifier.entry(entry) {
            self.report.faults.push(fault.to_string());
        }
        let hash = leaf_hash(entry.leaf.as_bytes());
        let is_same = Leaf::from_bytes(entry.leaf.as_bytes())
            .is_ok_and(|leaf| leaf.at.millis() == *at && leaf.kind == *kind && leaf.seq == *seq);
        if !is_same || *kept_hash != hash.0 {
            self.hold(Err(format!("entry {seq}: its row says something else than its leaf")));
        }
        for (level, number, hash) in self.tiles.push(hash) {
            let stored: Option<Vec<u8>> = self
                .connection
                .prepare_cached("SELECT hash FROM ledger.subtrees WHERE level = ? AND number = ?")?
                .query_row([level, number], |row| row.get(0))
                .optional()?;
            if stored.as_deref() != Some(hash.0.as_slice()) {
                self.hold(Err(format!(
                    "the tile of level {level}: hash {number} is not that of its entries"
                )));
            }
        }
        Ok(())
    }

    fn held_against_others(&mut self) {
        let here = self.verifier.head();
        let faults: Vec<String> = self
            .seen
            .iter()
            .filter(|(head, _)| head.size == here.size)
            .filter_map(|(head, note)| match self.policy.attest((*note).clone()) {
                Err(error) => Some(format!("the checkpoint that was given is not believed: {error}")),
                Ok(_) if *head != here => Some(format!(
                    "somebody has seen another tree of {} entries, root {} instead of {}: the ledger was forked",
                    here.size, head.root, here.root
                )),
                Ok(_) => None,
            })
            .collect();
        self.report.faults.extend(faults);
    }

    fn hold(&mut self, checked: Result<(), String>) {
        if let Err(fault) = checked {
            self.report.faults.push(fault);
        }
    }
}

impl Tiles {
    /// Takes a leaf's hash, and gives the hashes of the subtrees that it completes: level of tiles, number, hash.
    fn push(&mut self, leaf: Hash) -> Vec<(u64, u64, Hash)> {
        let (mut hash, mut made, mut level) = (leaf, Vec::new(), 0_u64);
        for (hashes, full) in &mut self.levels {
            hashes.push(hash);
            if hashes.len() < 256 {
                break;
            }
            hash = folded(std::mem::take(hashes));
            level = level.saturating_add(1);
            made.push((level, *full, hash));
            *full = full.saturating_add(1);
        }
        self.made = self.made.saturating_add(u64::try_from(made.len()).unwrap_or(u64::MAX));
        made
    }
}

/// The hash over a power of two of hashes.
fn folded(mut hashes: Vec<Hash>) -> Hash {
    while hashes.len() > 1 {
        hashes = hashes
            .chunks_exact(2)
            .filter_map(<[Hash]>::first_chunk)
            .map(|[left, right]| node_hash(*left, *right))
            .collect();
    }
    hashes.first().copied().unwrap_or_else(|| Head::empty().root)
}
