//! Reading entries back, proving ranges of them, and erasing bodies.

use std::collections::BTreeSet;

use tlog_tiles::{HashReader as _, prove_tree, sub_tree_index};
use wire::identifier::Identity;
use wire::ledger::{After, End, Entry, EraseAsk, Erased, Page, Range};
use wire::log::Hash;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::tree::Stored;
use super::{Actor, Ledger, LedgerError};

/// Which entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Those after this one.
    pub(crate) after: u64,
    /// At most so many.
    pub(crate) limit: u64,
    /// Only of this kind.
    pub(crate) kind: Option<String>,
    /// Only those whose bodies hold this text.
    pub(crate) text: Option<String>,
    /// Only from this moment on.
    pub(crate) since: Option<Timestamp>,
    /// Only before this moment.
    pub(crate) before: Option<Timestamp>,
}

impl Ledger {
    /// The entries that fit, in order.
    pub(crate) async fn entries(&self, search: Search) -> Result<Page, LedgerError> {
        let size = self.checkpoints().borrow().head().size;
        let page = self.read(move |connection| page(connection, &search, size)).await?;
        Ok(page)
    }

    /// What proves the entries after `after` up to `to`, with the newest checkpoint.
    pub(crate) async fn range(&self, after: u64, to: u64) -> Result<Range, LedgerError> {
        let newest = self.checkpoints().borrow().clone();
        let size = newest.head().size;
        if after >= to || to > size {
            return Err(LedgerError::NotFound(format!(
                "there are no entries after {after} up to {to}; the newest is {size}"
            )));
        }
        self.read(move |connection| {
            let after = After { seq: after, edge: edge(connection, after)? };
            let path = Stored::new(connection).with(|stored| prove_tree(size, to, stored))?;
            let consistency = path.into_iter().map(|node| Hash(node.0)).collect();
            Ok(Range { after, end: End { note: newest.note().to_string(), consistency } })
        })
        .await
    }

    /// Erases bodies, for good: those of these entries, and those that name this identity. That it was done is an entry;
    /// every proof holds as before.
    pub(crate) async fn erase(
        &self,
        by: Actor,
        ask: EraseAsk,
        now: Timestamp,
    ) -> Result<Erased, LedgerError> {
        let erased = self
            .write(move |connection| {
                let mut entries: BTreeSet<u64> = ask.entries.iter().copied().collect();
                if let Some(identity) = &ask.identity {
                    entries.extend(naming(connection, identity)?);
                }
                if entries.is_empty() {
                    return Err(LedgerError::NotFound("no entry was named".into()));
                }
                // The freed pages are overwritten, not only given back; what a server does is its own affair.
                if !connection.is_shared() {
                    connection.set("secure_delete", 1)?;
                }
                for seq in &entries {
                    erase(connection, *seq)?;
                }
                if !connection.is_shared() {
                    connection.set("secure_delete", 0)?;
                }
                let entries: Vec<u64> = entries.into_iter().collect();
                let data = entry::BodiesErased { by: &by, entries: &entries, reason: &ask.reason };
                let seq = entry::append(connection, Kind::BodiesErased, now, &data)?;
                Ok(Erased { seq, entries })
            })
            .await?;
        self.forget("bodies").await?;
        Ok(erased)
    }
}

impl Ledger {
    /// Gives up what the database keeps of erased rows: the write-ahead log of a file, dead rows of a server.
    pub(super) async fn forget(&self, table: &'static str) -> Result<(), LedgerError> {
        let place = self.place.clone();
        let work = move || -> Result<(), LedgerError> {
            let connection = place.open()?;
            if connection.is_shared() {
                return Ok(connection.execute_batch(&format!("VACUUM {table}"))?);
            }
            Ok(connection.truncate_log()?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_cancelled| LedgerError::Stopped)?
    }
}

fn erase(connection: &Connection, seq: u64) -> Result<(), LedgerError> {
    let kind: Option<String> = connection
        .prepare_cached("SELECT kind FROM entries WHERE seq = ?")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    match kind.as_deref() {
        None => return Err(LedgerError::NotFound(format!("there is no entry {seq}"))),
        // What was erased, by whom and why stays; it names entries, not people.
        Some("bodies_erased" | "authority_created") => {
            return Err(LedgerError::Conflict(format!("the body of entry {seq} is kept")));
        }
        Some(_) => {}
    }
    let erased = connection.prepare_cached("DELETE FROM bodies WHERE seq = ?")?.execute([seq])?;
    if erased == 0 {
        return Err(LedgerError::Conflict(format!("the body of entry {seq} was erased before")));
    }
    Ok(())
}

/// The entries whose bodies name this identity, which must be disabled: what is in force stays explained.
fn naming(connection: &Connection, identity: &Identity) -> Result<Vec<u64>, LedgerError> {
    let disabled: Option<bool> = connection
        .prepare_cached("SELECT disabled FROM identities WHERE name = ?")?
        .query_row([identity.as_str()], |row| row.get(0))
        .optional()?;
    if disabled != Some(true) {
        return Err(LedgerError::Conflict(format!(
            "{identity} is no disabled identity; disable it first with `curfew-ca identity disable`"
        )));
    }
    let quoted = serde_json::to_string(identity)?;
    let mut found = connection.prepare_cached(
        "SELECT seq FROM bodies JOIN entries USING (seq) WHERE instr(body, ?) > 0 \
         AND kind NOT IN ('roles_changed', 'bodies_erased', 'authority_created')",
    )?;
    let found = found.query_map([quoted.as_bytes()], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn page(connection: &Connection, search: &Search, size: u64) -> Result<Page, LedgerError> {
    let mut found = connection.prepare_cached(
        "SELECT seq, leaf, salt, body FROM entries LEFT JOIN bodies USING (seq) \
         WHERE seq > ?1 AND seq <= ?2 AND (?3 IS NULL OR kind = ?3) \
         AND (?4 IS NULL OR instr(body, ?4) > 0) AND at >= ?5 AND at < ?6 ORDER BY seq LIMIT ?7",
    )?;
    let limit = search.limit.min(MAX_PAGE);
    let rows = found.query_map(
        params![
            search.after,
            size,
            search.kind,
            search.text.as_ref().map(String::as_bytes),
            search.since.map_or(0, Timestamp::millis),
            search.before.map_or(i64::MAX.unsigned_abs(), Timestamp::millis),
            limit
        ],
        |row| Ok((row.get::<u64>(0)?, entry_of(row, 1)?)),
    )?;
    let found: Vec<(u64, Entry)> = rows.collect::<Result<_, _>>()?;
    let is_full = u64::try_from(found.len()).is_ok_and(|count| count >= limit);
    let last = found.last().map(|(seq, _)| *seq).filter(|_| is_full);
    let entries = found.into_iter().map(|(_, entry)| entry).collect();
    Ok(Page { entries, reached: last.unwrap_or(size), size })
}

/// An entry from its leaf, salt and body, which stand from this column on.
pub(super) fn entry_of(row: &Row<'_>, column: usize) -> Result<Entry, SqlError> {
    let at = |more: usize| column.saturating_add(more);
    let leaf = text(row, at(0))?.unwrap_or_default();
    let salt: Option<Vec<u8>> = row.get(at(1))?;
    let body = text(row, at(2))?;
    Ok(Entry::new(leaf, salt.as_deref().zip(body)))
}

fn text(row: &Row<'_>, column: usize) -> Result<Option<String>, SqlError> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    // What is no UTF-8 is no canonical JSON either; it is shown as it can be, and does not verify.
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The hashes of the whole subtrees of the first `size` entries.
fn edge(connection: &Connection, size: u64) -> Result<Vec<Hash>, LedgerError> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let indexes = sub_tree_index(0, size, Vec::new());
    let hashes = Stored::new(connection).with(|stored| stored.read_hashes(&indexes))?;
    Ok(hashes.into_iter().map(|node| Hash(node.0)).collect())
}

/// Most entries in one answer.
const MAX_PAGE: u64 = 1000;
