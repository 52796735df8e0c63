//! What is locked and which certificates it bears on, as of one moment.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};
use wire::identifier::{GrantId, Identity, Serial};
use wire::lock::{Lock, Subject, Target};
use wire::time::Timestamp;

use super::{Ledger, LedgerError, column, order};
use crate::revocation::{Facts, Issued, horizon};

impl Ledger {
    /// What bears on the list of revoked certificates and keys, on one snapshot.
    pub(crate) async fn revocations(&self, now: Timestamp) -> Result<Facts, LedgerError> {
        self.read(move |connection| {
            let locks = order::locks_in_force(connection, now)?;
            Ok(Facts {
                version: newest_entry(connection)?,
                disabled: disabled(connection)?,
                certificates: certificates(connection, &locks, now)?,
                locks,
            })
        })
        .await
    }
}

fn newest_entry(connection: &Connection) -> Result<u64, LedgerError> {
    let newest = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM entries")?
        .query_row([], |row| row.get(0))?;
    Ok(newest)
}

fn disabled(connection: &Connection) -> Result<BTreeSet<Identity>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT name FROM identities WHERE disabled")?;
    let names = statement.query_map([], |row| column::name(row, 0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Those that may still open something, and those that a lock names.
fn certificates(
    connection: &Connection,
    locks: &[Lock],
    now: Timestamp,
) -> Result<Vec<Issued>, LedgerError> {
    let mut live = connection.prepare_cached(&format!("{SELECT} WHERE valid_before >= ?"))?;
    let rows = live.query_map([horizon(now).millis()], issued)?;
    let mut certificates: Vec<Issued> = rows.collect::<Result<_, _>>()?;
    let mut over =
        connection.prepare_cached(&format!("{SELECT} WHERE serial = ? AND valid_before < ?"))?;
    for lock in locks {
        if let Target::Serial(serial) = &lock.target {
            // Beyond what the database counts to, nothing was ever issued.
            let Ok(serial) = i64::try_from(serial.number()) else { continue };
            let rows = over.query_map(params![serial, horizon(now).millis()], issued)?;
            certificates.extend(rows.collect::<Result<Vec<_>, _>>()?);
        }
    }
    Ok(certificates)
}

fn issued(row: &Row<'_>) -> Result<Issued, rusqlite::Error> {
    let subject = Subject {
        serial: column::number(row, 0, Serial::try_new)?,
        grant: column::number(row, 1, GrantId::try_new)?,
        identity: column::name(row, 2)?,
        role: column::name(row, 3)?,
        login: column::name(row, 4)?,
        host: column::name(row, 5)?,
        key: column::name(row, 6)?,
        authority: None,
    };
    Ok(Issued { subject, valid_before: column::moment(row, 7)? })
}

const SELECT: &str = "SELECT serial, grant_id, certificates.identity, role, login, certificates.host, key, valid_before \
     FROM certificates JOIN grants ON grants.id = grant_id";
