//! Break-glass afterwards: groups that are known, receipts that were handed in, verdicts; and how they join with what hosts saw.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, CeremonyView, GroupSaid, GroupView, ReceiptSaid, Reconciled,
    Standing, UseView,
};
use wire::identifier::{Fingerprint, HostName, Serial};
use wire::incident::Cause;
use wire::log::Hash;
use wire::record::Incident;
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, incident};
use crate::ceremony::{self, Charter, Known, Proven};

impl Ledger {
    /// All that is known of break-glass.
    pub(crate) async fn breakglass(
        &self,
        (drills, now): (Duration, Timestamp),
    ) -> Result<BreakGlass, LedgerError> {
        self.read(move |connection| all(connection, (drills, now))).await
    }

    /// Groups whose receipts are taken.
    pub(crate) async fn breakglass_groups(&self) -> Result<Vec<GroupView>, LedgerError> {
        self.read(groups).await
    }

    /// Takes receipts of a group from now on.
    pub(crate) async fn add_breakglass_group(
        &self,
        by: Actor,
        (charter, reason): (Charter, String),
        now: Timestamp,
    ) -> Result<GroupView, LedgerError> {
        self.write(move |connection| {
            let Charter { said, letter } = charter;
            if groups(connection)?.iter().any(|known| known.said.digest == said.digest) {
                return Err(LedgerError::Conflict(
                    "this group is known already, and nothing was changed".into(),
                ));
            }
            write_group(connection, (&said, &letter), now)?;
            let data =
                entry::BreakglassGroup { by: &by, said: &said, letter: &letter, reason: &reason };
            entry::append(connection, Kind::BreakglassGroupAdded, now, &data)?;
            Ok(GroupView { said, added: now, retired: None })
        })
        .await
    }

    /// Says that a group's key is to be believed no more.
    pub(crate) async fn retire_breakglass_group(
        &self,
        by: Actor,
        (key, reason): (Fingerprint, String),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            if retire(connection, &key, now)? == 0 {
                return Err(LedgerError::NotFound(format!(
                    "no break-glass group has the key {key}, or it is retired already"
                )));
            }
            let data = entry::BreakglassRetired { by: &by, key: &key, reason: &reason };
            entry::append(connection, Kind::BreakglassGroupRetired, now, &data)?;
            Ok(())
        })
        .await
    }

    /// Takes a receipt; says whether it was not here before.
    pub(crate) async fn take_breakglass_receipt(
        &self,
        by: Actor,
        proven: Proven,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| {
            let Proven { said, letter } = proven;
            let is_known = connection
                .prepare_cached("SELECT 1 FROM breakglass_receipts WHERE hash = ?")?
                .exists([hash(&letter).as_str()])?;
            if is_known {
                return Ok(false);
            }
            write_receipt(connection, (&said, &letter), now)?;
            let data = entry::BreakglassReceipt { by: &by, said: &said, letter: &letter };
            entry::append(connection, Kind::BreakglassReceipt, now, &data)?;
            Ok(true)
        })
        .await
    }

    /// Opens an incident for each use that no receipt accounts for, once.
    pub(crate) async fn reconcile(
        &self,
        (drills, now): (Duration, Timestamp),
    ) -> Result<Reconciled, LedgerError> {
        self.write(move |connection| {
            let mut opened: u64 = 0;
            let state = all(connection, (drills, now))?;
            for ceremony in &state.ceremonies {
                opened = opened.saturating_add(open_unaccounted(connection, ceremony, now)?);
            }
            Ok(Reconciled { opened, state: all(connection, (drills, now))? })
        })
        .await
    }

    /// Keeps a verdict on a ceremony; `ok` settles its incidents too. A later verdict takes its place, and both stay here.
    pub(crate) async fn review_ceremony(
        &self,
        by: Actor,
        ask: CeremonyReviewAsk,
        now: Timestamp,
    ) -> Result<Review, LedgerError> {
        self.write(move |connection| {
            let CeremonyReviewAsk { serial, verdict, note } = ask;
            let found = ceremonies(connection)?.into_iter().find(|one| one.name.serial == serial);
            let found = found.ok_or_else(|| {
                LedgerError::NotFound(format!("no break-glass of the serial {serial} is known"))
            })?;
            if let Some(why) = ceremony::refuses(&found, verdict, now) {
                return Err(LedgerError::Conflict(why));
            }
            let review = Review { verdict, by: by.as_str().to_owned(), at: now, note, gap: None };
            write_review(connection, serial, &review)?;
            let note = review.note.as_str();
            let data = entry::BreakglassReviewed { by: &by, serial, verdict, note };
            entry::append(connection, Kind::BreakglassReviewed, now, &data)?;
            if verdict == Verdict::Ok {
                for number in open_incidents(connection, serial)? {
                    incident::settle(connection, &by, (number, note), now)?;
                }
            }
            Ok(review)
        })
        .await
    }
}

/// A group's row.
pub(super) fn write_group(
    connection: &Connection,
    (said, letter): (&GroupSaid, &str),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_groups (digest, key, said, letter, added) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            said.digest.to_string(),
            said.key.as_str(),
            serde_json::to_string(said)?,
            letter,
            now.millis()
        ])?;
    Ok(())
}

/// Marks all generations of a key; says how many there were that were not marked.
pub(super) fn retire(
    connection: &Connection,
    key: &Fingerprint,
    now: Timestamp,
) -> Result<usize, LedgerError> {
    Ok(connection
        .prepare_cached(
            "UPDATE breakglass_groups SET retired = ? WHERE key = ? AND retired IS NULL",
        )?
        .execute(params![now.millis(), key.as_str()])?)
}

/// A receipt's row.
pub(super) fn write_receipt(
    connection: &Connection,
    (said, letter): (&ReceiptSaid, &str),
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_receipts (hash, serial, said, letter, entered) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            hash(letter),
            said.name.serial.number(),
            serde_json::to_string(said)?,
            letter,
            now.millis()
        ])?;
    Ok(())
}

/// A verdict's row.
pub(super) fn write_review(
    connection: &Connection,
    serial: Serial,
    review: &Review,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO breakglass_reviews (serial, review) VALUES (?, ?) \
             ON CONFLICT (serial) DO UPDATE SET review = excluded.review",
        )?
        .execute(params![serial.number(), serde_json::to_string(review)?])?;
    Ok(())
}

fn hash(letter: &str) -> String {
    Hash::of(letter.as_bytes()).to_string()
}

fn all(
    connection: &Connection,
    (drills, now): (Duration, Timestamp),
) -> Result<BreakGlass, LedgerError> {
    let (groups, ceremonies) = (groups(connection)?, ceremonies(connection)?);
    let mut statement =
        connection.prepare_cached("SELECT name, enrolled FROM hosts ORDER BY name")?;
    let hosts = statement
        .query_map((), |row| Ok((column::name(row, 0)?, column::moment(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let hosts = ceremony::proofs((&groups, &ceremonies), hosts, (drills, now));
    Ok(BreakGlass { groups, ceremonies, hosts, at: now })
}

fn groups(connection: &Connection) -> Result<Vec<GroupView>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT said, added, retired FROM breakglass_groups ORDER BY added, digest",
    )?;
    let rows = statement.query_map((), |row| {
        Ok(GroupView {
            said: column::json(row, 0)?,
            added: column::moment(row, 1)?,
            retired: column::maybe_moment(row, 2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn ceremonies(connection: &Connection) -> Result<Vec<CeremonyView>, LedgerError> {
    let receipts = connection
        .prepare_cached("SELECT said, entered FROM breakglass_receipts ORDER BY entered, hash")?
        .query_map((), |row| Ok((column::json(row, 0)?, column::moment(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let reviews = connection
        .prepare_cached("SELECT serial, review FROM breakglass_reviews")?
        .query_map((), |row| Ok((column::number(row, 0, Serial::try_new)?, column::json(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let known = Known { receipts, uses: uses(connection)?, alive: alive(connection)?, reviews };
    Ok(ceremony::join(known))
}

/// What hosts told of. Beyond the many open incidents that a host may have, its uses are counted and not listed.
fn uses(connection: &Connection) -> Result<Vec<UseView>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, settled IS NULL, host, first, count, cause FROM incidents \
         WHERE name LIKE 'breakglass %' ORDER BY number",
    )?;
    let rows = statement.query_map((), seen)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

fn seen(row: &Row<'_>) -> Result<Option<UseView>, SqlError> {
    let Cause::Reported(Incident::BreakGlass(used)) = column::json(row, 5)? else {
        return Ok(None);
    };
    Ok(Some(UseView {
        incident: row.get(0)?,
        is_open: row.get(1)?,
        host: column::name(row, 2)?,
        first: column::moment(row, 3)?,
        count: row.get(4)?,
        used,
        fault: None,
    }))
}

/// How many sessions of each of its serials go on.
fn alive(connection: &Connection) -> Result<BTreeMap<Serial, u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT serial, count(*) FROM sessions WHERE ended IS NULL AND serial >= ? GROUP BY serial",
    )?;
    let rows = statement.query_map([wire::breakglass::FIRST_SERIAL], |row| {
        Ok((column::number(row, 0, Serial::try_new)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open_unaccounted(
    connection: &Connection,
    ceremony: &CeremonyView,
    now: Timestamp,
) -> Result<u64, LedgerError> {
    let mut opened: u64 = 0;
    for seen in &ceremony.uses {
        let is_accounted = match ceremony.standing {
            Standing::Joined | Standing::Unused => true,
            Standing::Contradicted => seen.fault.is_none(),
            Standing::Unreceipted => false,
        };
        if is_accounted || is_noticed(connection, &seen.host, ceremony.name.serial)? {
            continue;
        }
        let used = Box::new(seen.used.clone());
        let cause = Cause::Unreceipted { used, fault: seen.fault.clone() };
        incident::open(connection, &seen.host, &cause, (1, now))?;
        opened = opened.saturating_add(1);
    }
    Ok(opened)
}

/// Whether this was an incident before, settled ones included: joining twice says it once.
fn is_noticed(
    connection: &Connection,
    host: &HostName,
    serial: Serial,
) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM incidents WHERE host = ? AND name = ?")?
        .exists(params![host.as_str(), format!("unreceipted {serial}")])?)
}

fn open_incidents(connection: &Connection, serial: Serial) -> Result<Vec<u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM incidents WHERE settled IS NULL AND (name = ? OR name LIKE ?) ORDER BY number",
    )?;
    let (unreceipted, used) = (format!("unreceipted {serial}"), format!("breakglass {serial} %"));
    let rows = statement.query_map(params![unreceipted, used], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
