//! Where hosts' records are not what was written: changed in a spool, cut out of it, or gone. Each is an incident of its host,
//! and is shown with every session that was alive there at the time.

use wire::api::Spoiled;
use wire::identifier::{HostName, SessionId};
use wire::incident::Cause;
use wire::record::{Event, Record};
use wire::spool::check::Finding;
use wire::time::Timestamp;

use super::sql::{Connection, Row, SqlError, params};
use super::{LedgerError, incident};

/// Notes what was found when a host's records came, and opens an incident for each piece.
pub(super) fn note(
    connection: &Connection,
    (host, enrolment): (&HostName, u64),
    findings: &[Spoiled],
    now: Timestamp,
) -> Result<(), LedgerError> {
    for Spoiled { from, to, flaw } in findings {
        connection
            .prepare_cached(
                "INSERT INTO spoiled (enrolment, first, last, host, flaw, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![enrolment, from, to, host.as_str(), flaw.as_str(), now.millis()])?;
        let cause = Cause::Spoiled { from: *from, to: *to, flaw: flaw.clone() };
        incident::open(connection, host, &cause, (1, now))?;
    }
    Ok(())
}

/// What is spoiled among the records that a host made while a session was alive there: of which session they were is not
/// known.
pub(super) fn of(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
    has_ended: bool,
) -> Result<Vec<Spoiled>, LedgerError> {
    let mut spans = connection.prepare_cached(
        "SELECT enrolment, min(number), max(number) FROM records WHERE session = ? AND host = ? GROUP BY enrolment",
    )?;
    let spans = spans
        .query_map([session.to_string().as_str(), host.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<Vec<(u64, u64, u64)>, _>>()?;
    let mut found = Vec::new();
    for (enrolment, first, last) in spans {
        let mut statement = connection.prepare_cached(
            "SELECT first, last, flaw FROM spoiled WHERE enrolment = ? AND last >= ? AND (first <= ? OR NOT ?) \
             ORDER BY first, last LIMIT 100",
        )?;
        let view = |row: &Row<'_>| -> Result<Spoiled, SqlError> {
            Ok(Spoiled { from: row.get(0)?, to: row.get(1)?, flaw: row.get(2)? })
        };
        let some = statement.query_map(params![enrolment, first, last, has_ended], view)?;
        found.extend(some.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// A finding as it is kept.
pub(super) fn kept(finding: &Finding) -> Spoiled {
    Spoiled { from: finding.from, to: finding.to, flaw: finding.fault.to_string() }
}

/// What a host says that it cannot read any more: of those among `records` that are not told of in `findings`.
pub(super) fn told(records: &[Record], findings: &[Spoiled]) -> Vec<Spoiled> {
    let mut told: Vec<Spoiled> = Vec::new();
    for record in records {
        let Event::Unreadable { from, .. } = &record.event else { continue };
        let to = record.number.number();
        let from = from.map_or(to, |from| from.number());
        if findings.iter().any(|known| known.from <= from && to <= known.to) {
            continue;
        }
        match told.last_mut().filter(|last| last.to.saturating_add(1) == from) {
            Some(last) => last.to = to,
            None => told.push(Spoiled { from, to, flaw: GONE.to_owned() }),
        }
    }
    told
}

/// What is wrong with records that a host says it cannot read.
const GONE: &str = "it cannot be read on the host any more: it was changed there, or cut out";
