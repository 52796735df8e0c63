//! Records in their own order, page by page, to be taken elsewhere.

use serde::{Deserialize, Serialize};
use wire::identifier::HostName;
use wire::search::Hit;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::search::{records, stored};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column};

/// Of which time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// Who takes them.
    pub(crate) by: String,
    /// From then on.
    pub(crate) since: Option<Timestamp>,
    /// Before then.
    pub(crate) before: Option<Timestamp>,
}

/// A page, and where the next begins: an enrolment, and the last of its records that was looked at.
pub(crate) struct Page {
    /// The records.
    pub(crate) records: Vec<Hit>,
    /// Where to go on.
    pub(crate) next: Option<(u64, u64)>,
}

impl Ledger {
    /// Says in the ledger that somebody takes records; the export has the entry's number.
    pub(crate) async fn begin_export(
        &self,
        by: Actor,
        (since, before): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let exported = Exported { by: by.as_str().to_owned(), since, before };
        self.write(move |connection| entry::append(connection, Kind::Exported, now, &exported))
            .await
    }

    /// The export of that number.
    pub(crate) async fn begun_export(&self, entry: u64) -> Result<Option<Exported>, LedgerError> {
        self.read(move |connection| {
            let body: Option<Vec<u8>> = connection
                .prepare_cached(
                    "SELECT body FROM entries JOIN bodies USING (seq) WHERE seq = ? AND kind = 'exported'",
                )?
                .query_row([entry], |row| row.get(0))
                .optional()?;
            Ok(body.map(|body| serde_json::from_slice(&body)).transpose()?)
        })
        .await
    }

    /// The records after this place.
    pub(crate) async fn export(
        &self,
        what: Exported,
        from: (u64, u64),
    ) -> Result<Page, LedgerError> {
        self.read(move |connection| page(connection, &what, from)).await
    }
}

fn page(
    connection: &Connection,
    what: &Exported,
    (enrolment, number): (u64, u64),
) -> Result<Page, LedgerError> {
    let mut page = Page { records: Vec::new(), next: None };
    let (mut at, mut looked) = ((enrolment, number), 0_u64);
    while let Some((enrolment, host)) = stream(connection, at.0)? {
        let mut reached = if enrolment == at.0 { at.1 } else { 0 };
        reached = reached.max(first_of(connection, enrolment, what.since)?.saturating_sub(1));
        loop {
            // The next ones that are there, however many were removed before them.
            let found = records(connection, enrolment, (reached, u64::MAX >> 1), AT_ONCE)?;
            let Some((last, _)) = found.last() else { break };
            reached = last.number.number();
            looked = looked.saturating_add(AT_ONCE);
            for (record, whose) in found {
                if what.holds(record.at) {
                    page.records.push(Hit { host: host.clone(), whose, record });
                }
            }
            if looked >= BUDGET {
                page.next = Some((enrolment, reached));
                return Ok(page);
            }
        }
        at = (enrolment.saturating_add(1), 0);
    }
    Ok(page)
}

impl Exported {
    fn holds(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.before.is_none_or(|before| at < before)
    }
}

/// The first enrolment from this one on.
fn stream(connection: &Connection, from: u64) -> Result<Option<(u64, HostName)>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT enrolment, host FROM streams WHERE enrolment >= ? ORDER BY enrolment LIMIT 1",
        )?
        .query_row([from], |row| Ok((row.get(0)?, column::name(row, 1)?)))
        .optional()?)
}

/// The first record of an enrolment that may be of this time, by the blocks of the index.
fn first_of(
    connection: &Connection,
    enrolment: u64,
    since: Option<Timestamp>,
) -> Result<u64, LedgerError> {
    let Some(since) = since else { return Ok(1) };
    Ok(connection
        .prepare_cached(
            "SELECT coalesce((SELECT min(r.first) FROM search_ranges r JOIN search_blocks b ON b.number = r.block \
             WHERE r.enrolment = ?1 AND b.last_at >= ?2), (SELECT indexed + 1 FROM streams WHERE enrolment = ?1))",
        )?
        .query_row(params![enrolment, stored(since)], |row| row.get(0))?)
}

/// Records that are read together.
const AT_ONCE: u64 = 250;
/// How many records one page may look at.
const BUDGET: u64 = 2_000;
