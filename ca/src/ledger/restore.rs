//! Going on after a backup was put back: a new era of numbers, declared to hosts, and what they had seen beyond the backup.
//!
//! All that this authority numbers (serials, orders, grants, lists, enrolments) goes on above a floor that no number of an
//! era before can reach, so that nothing is given twice although the ledger does not know what was given.

use std::sync::Arc;

use wire::identifier::{HostName, OrderNumber};
use wire::incident::Cause;
use wire::lock::Target;
use wire::log::{Checkpoint, Declared, Era, Head, Statement};
use wire::order::Instruction;
use wire::record::{Abandoned, KeptLock};
use wire::time::Timestamp;

use super::sql::{Connection, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, incident, log, order, tree};
use crate::key::{Keyring, Purpose};

/// A restore that is declared and durable.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// The era that it began.
    pub(crate) era: Era,
    /// The tree that the ledger goes on from.
    pub(crate) cut: Head,
    /// The order by which hosts hear of it.
    pub(crate) order: OrderNumber,
    /// Locks in force that were ordered once more, because hosts may have been told since that they are lifted.
    pub(crate) locks: usize,
}

/// A lock that hosts keep and this ledger does not know.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// On what.
    pub(crate) target: Target,
    /// Why, as the host was told.
    pub(crate) reason: String,
    /// A host that keeps it.
    pub(crate) host: HostName,
}

impl Ledger {
    /// Declares that this ledger was put back from a backup: it goes on from what it holds now, in a new era.
    pub(crate) async fn declare_restore(
        &self,
        (by, reason): (Actor, String),
        keyring: Arc<Keyring>,
        now: Timestamp,
    ) -> Result<Restored, LedgerError> {
        let logs = self.log_keys.clone();
        self.write(move |connection| {
            let (era, cut) = (era(connection)?, standing(connection, now)?);
            let (head, note) = (cut.1, cut.0);
            let era =
                era.next(now).ok_or_else(|| LedgerError::Torn("there are no more eras".into()))?;
            let statement = Statement {
                origin: log::name(connection)?,
                era,
                cut: head,
                last_order: order::newest(connection)?,
                at: now,
                reason: reason.clone(),
            };
            let declared = Declared { statement: logs.sign(&statement.text()?)?, cut: note };
            let key = keyring.signing(connection, Purpose::Order)?;
            let said = (&by, reason.as_str());
            // Before the order: it voids nothing that is read here.
            let locks = order::locks_in_force(connection, now)?;
            let what = Instruction::Restored(Box::new(declared));
            let order = order::issue_with(connection, &*key, said, (what, now))?;
            let count = locks.len();
            for lock in locks {
                let why = lock.reason.clone();
                order::issue_with(connection, &*key, (&by, &why), (Instruction::Lock(lock), now))?;
            }
            Ok(Restored { era, cut: head, order, locks: count })
        })
        .await
    }

    /// Every restore that this ledger declared, the newest last.
    pub(crate) async fn restores(&self) -> Result<Vec<Declared>, LedgerError> {
        self.read(restores).await
    }

    /// Locks that hosts keep and this ledger does not know.
    pub(crate) async fn kept_locks(&self) -> Result<Vec<Kept>, LedgerError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT target, reason, host FROM kept_locks ORDER BY target")?;
            let kept = statement.query_map((), |row: &Row<'_>| -> Result<Kept, SqlError> {
                Ok(Kept {
                    target: column::json(row, 0)?,
                    reason: row.get(1)?,
                    host: column::name(row, 2)?,
                })
            })?;
            Ok(kept.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Takes note that a host has let go of records that this ledger lacks, up to number `to`; says which is the newest now.
    pub(crate) async fn records_gone(
        &self,
        (host, enrolment): (HostName, u64),
        to: u64,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        self.write(move |connection| {
            let last: Option<u64> = connection
                .prepare_cached("SELECT last_record FROM hosts WHERE name = ? AND enrolment = ?")?
                .query_row(params![host.as_str(), enrolment], |row| row.get(0))
                .map(Some)
                .or_else(|error| match error {
                    SqlError::NoRow => Ok(None),
                    other => Err(other),
                })?;
            let last = last
                .ok_or_else(|| LedgerError::NotFound(format!("host {host} has enrolled anew")))?;
            if to <= last {
                return Ok(last);
            }
            let cause = Cause::Gone { from: last.saturating_add(1), to };
            incident::open(connection, &host, &cause, (1, now))?;
            connection
                .prepare_cached(
                    "UPDATE hosts SET last_record = ?, spool_head = NULL WHERE name = ?",
                )?
                .execute(params![to, host.as_str()])?;
            Ok(to)
        })
        .await
    }
}

/// The newest checkpoint, which must be over every entry, at a moment that is not before the newest of them.
fn standing(
    connection: &Connection,
    now: Timestamp,
) -> Result<(wire::log::Note, Head), LedgerError> {
    let torn = || LedgerError::Torn("its newest checkpoint is not over all of its entries".into());
    let note = tree::newest_note(connection)?.ok_or_else(torn)?;
    let head = note.text().parse::<Checkpoint>()?.head;
    let (newest, at): (u64, u64) = connection
        .prepare_cached("SELECT seq, at FROM entries ORDER BY seq DESC LIMIT 1")?
        .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if newest != head.size {
        return Err(torn());
    }
    if Timestamp::from_millis(at) > now {
        let message = "this machine's clock is behind the newest entry of the ledger; set it right, and restore then";
        return Err(LedgerError::Conflict(message.into()));
    }
    Ok((note, head))
}

fn restores(connection: &Connection) -> Result<Vec<Declared>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT declared FROM restores ORDER BY era")?;
    let restores = statement.query_map((), |row: &Row<'_>| column::json(row, 0))?;
    Ok(restores.collect::<Result<_, _>>()?)
}

/// The era of this ledger.
pub(super) fn era(connection: &Connection) -> Result<Era, LedgerError> {
    let era: u64 = connection
        .prepare_cached("SELECT coalesce(max(era), 0) FROM restores")?
        .query_row((), |row| row.get(0))?;
    Ok(Era::try_from(era)?)
}

/// The number after `newest` in the ledger's era.
pub(super) fn after(connection: &Connection, newest: u64) -> Result<u64, LedgerError> {
    Ok(newest.max(era(connection)?.floor()).saturating_add(1))
}

/// The number under which the outside knows an entry: entries go on from the backup's last one, and some of those numbers
/// were seen outside before the restore.
pub(super) fn outside(connection: &Connection, seq: u64) -> Result<u64, LedgerError> {
    let (era, cut): (u64, u64) = connection
        .prepare_cached("SELECT coalesce(max(era), 0), coalesce(max(size), 0) FROM restores WHERE era = (SELECT max(era) FROM restores)")?
        .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let era = Era::try_from(era)?;
    if era == Era::FIRST {
        return Ok(seq);
    }
    Ok(era.floor().saturating_add(seq.saturating_sub(cut)))
}

/// Whether a certificate of this serial may have been issued after the backup from which this ledger was restored.
pub(super) fn may_be_lost(connection: &Connection, serial: u64) -> Result<bool, LedgerError> {
    let era = era(connection)?;
    Ok(era != Era::FIRST && serial <= era.floor())
}

/// What follows from the order that declares a restore. Logins and tokens of before count no more: some of them were used
/// up or ended by what is lost.
pub(super) fn apply(connection: &Connection, declared: &Declared) -> Result<(), LedgerError> {
    let statement = declared.read()?;
    connection
        .prepare_cached("INSERT INTO restores (era, size, declared) VALUES (?, ?, ?)")?
        .execute(params![
            statement.era.number(),
            statement.cut.size,
            serde_json::to_string(declared)?
        ])?;
    connection.prepare_cached("DELETE FROM logins")?.execute(())?;
    connection.prepare_cached("DELETE FROM tokens WHERE used IS NULL")?.execute(())?;
    connection
        .prepare_cached("UPDATE krl SET version = ?1, digest = ?2 WHERE version < ?1")?
        .execute(params![statement.era.floor(), Vec::<u8>::new()])?;
    Ok(())
}

/// Remembers the locks that a host keeps, those that this ledger does not know.
pub(super) fn keep(
    connection: &Connection,
    host: &HostName,
    abandoned: &Abandoned,
) -> Result<(), LedgerError> {
    for KeptLock { lock, .. } in &abandoned.locks {
        if order::is_locked(connection, &lock.target)? {
            continue;
        }
        connection
            .prepare_cached(
                "INSERT INTO kept_locks (target, reason, host) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![serde_json::to_string(&lock.target)?, lock.reason, host.as_str()])?;
    }
    Ok(())
}

/// Forgets that hosts keep a lock on this target: an order about it is on its way to them. Says whether any did.
pub(super) fn let_go(connection: &Connection, target: &Target) -> Result<bool, LedgerError> {
    let kept = connection
        .prepare_cached("DELETE FROM kept_locks WHERE target = ?")?
        .execute([serde_json::to_string(target)?])?;
    Ok(kept > 0)
}
