//! Incidents: what must never happen, kept until an operator settles it.
//!
//! What repeats is counted and not listed again, so that whoever causes incidents cannot bury one under others: a host has at
//! most [`MAX_OPEN`] open, and those beyond are counted together.

use wire::identifier::HostName;
use wire::incident::{Cause, IncidentView, Settled};
use wire::log::Head;
use wire::record::{Incident, Refused};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, column, restore};

impl Ledger {
    /// Opens an incident that the authority itself noticed about a host.
    pub(crate) async fn notice(
        &self,
        host: HostName,
        cause: Cause,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| open(connection, &host, &cause, (1, now))).await
    }

    /// Incidents, the newest first: the open ones, or all.
    pub(crate) async fn incidents(&self, all: bool) -> Result<Vec<IncidentView>, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, host, first, last, count, cause, settled FROM incidents \
                 WHERE ? OR settled IS NULL ORDER BY number DESC LIMIT 1000",
            )?;
            let incidents = statement.query_map([all], view)?;
            Ok(incidents.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many are open, and the newest of them.
    pub(crate) async fn open_incidents(&self) -> Result<(u64, Option<IncidentView>), LedgerError> {
        self.read(|connection| {
            let count = connection
                .prepare_cached("SELECT count(*) FROM incidents WHERE settled IS NULL")?
                .query_row((), |row| row.get(0))?;
            let newest = connection
                .prepare_cached(
                    "SELECT number, host, first, last, count, cause, settled FROM incidents \
                     WHERE settled IS NULL ORDER BY number DESC LIMIT 1",
                )?
                .query_row((), view)
                .optional()?;
            Ok((count, newest))
        })
        .await
    }

    /// Settles an incident; what it was and what was done stays with it.
    pub(crate) async fn settle_incident(
        &self,
        by: Actor,
        (number, reason): (u64, String),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            if settle(connection, &by, (number, &reason), now)? {
                Ok(())
            } else {
                Err(LedgerError::NotFound(format!("there is no open incident {number}")))
            }
        })
        .await
    }

    /// The newest incident from before a moment, by its number; 0 where there is none.
    pub(crate) async fn incidents_before(&self, at: Timestamp) -> Result<u64, LedgerError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached("SELECT coalesce(max(number), 0) FROM incidents WHERE first < ?")?
                .query_row([at.millis()], |row| row.get(0))?)
        })
        .await
    }

    /// Those after this one for which somebody is called: of break-glass in any form. The oldest first.
    pub(crate) async fn alarming_incidents(
        &self,
        after: u64,
    ) -> Result<Vec<IncidentView>, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, host, first, last, count, cause, settled FROM incidents WHERE number > ? \
                 AND settled IS NULL AND (name LIKE 'taken %' OR name LIKE 'pass %' OR name LIKE 'shrunk %' \
                 OR name LIKE 'breakglass %' OR name LIKE 'unreceipted %') ORDER BY number LIMIT 100",
            )?;
            let incidents = statement.query_map([after], view)?;
            Ok(incidents.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// What contradicts a host's tree, if anything does: this ledger is smaller, or has another tree of that size.
    pub(crate) async fn contradiction(&self, known: Head) -> Result<Option<Cause>, LedgerError> {
        let newest = self.checkpoints().borrow().head();
        let ahead = Cause::Ahead { known, newest };
        if known.size > newest.size {
            return Ok(Some(ahead));
        }
        let root = self.root_of(known.size).await?;
        Ok((root != known.root).then_some(ahead))
    }
}

/// The incident of this number.
pub(super) fn find(
    connection: &Connection,
    number: u64,
) -> Result<Option<IncidentView>, LedgerError> {
    // The database's numbers end at 2^63; no entry has one beyond.
    if i64::try_from(number).is_err() {
        return Ok(None);
    }
    Ok(connection
        .prepare_cached(
            "SELECT number, host, first, last, count, cause, settled FROM incidents WHERE number = ?",
        )?
        .query_row([number], view)
        .optional()?)
}

/// Settles an incident with its entry, if it is open; says whether it was.
pub(super) fn settle(
    connection: &Connection,
    by: &Actor,
    (incident, reason): (u64, &str),
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let settled = Settled { by: by.as_str().to_owned(), at: now, reason: reason.to_owned() };
    let changed = connection
        .prepare_cached("UPDATE incidents SET settled = ? WHERE number = ? AND settled IS NULL")?
        .execute(params![serde_json::to_string(&settled)?, incident])?;
    if changed == 0 {
        return Ok(false);
    }
    let data = entry::IncidentSettled { by, incident, reason };
    entry::append(connection, Kind::IncidentSettled, now, &data)?;
    Ok(true)
}

/// Opens what a host reports.
pub(super) fn reported(
    connection: &Connection,
    host: &HostName,
    incident: &Incident,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let count = match incident {
        Incident::Unproved { attempt, .. } => u64::from(attempt.count),
        Incident::Dispute(_)
        | Incident::Outside(_)
        | Incident::Meddled(_)
        | Incident::BreakGlass(_)
        | Incident::Pass(_)
        | Incident::Restored(_) => 1,
    };
    open(connection, host, &Cause::Reported(incident.clone()), (count, now))
}

/// Opens what a refusal shows: our authority signed the certificate, and the ledger knows nothing of it.
pub(super) fn refused(
    connection: &Connection,
    host: &HostName,
    refused: &Refused,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let known = connection
        .prepare_cached("SELECT 1 FROM certificates WHERE serial = ? AND key = ?")?
        .exists(params![refused.serial, refused.key.as_str()]);
    // The database's numbers end at 2^63; no serial of ours is beyond.
    let known = match known {
        Err(SqlError::Range(_)) => false,
        known => known?,
    };
    if known || !refused.ours {
        return Ok(());
    }
    let cause = Cause::Unissued {
        serial: refused.serial,
        key_id: refused.key_id.clone(),
        login: refused.login.clone(),
        remote: refused.remote.clone(),
        began: false,
        lost: restore::may_be_lost(connection, refused.serial)?,
    };
    open(connection, host, &cause, (u64::from(refused.count), now))
}

/// Opens an incident with its entry, or counts it with the open one that is the same.
pub(super) fn open(
    connection: &Connection,
    host: &HostName,
    cause: &Cause,
    (count, now): (u64, Timestamp),
) -> Result<(), LedgerError> {
    tracing::error!(%host, %cause, "INCIDENT");
    let name = name(cause);
    if repeated(connection, (host, &name), (count, now))? {
        return Ok(());
    }
    let name = listed(connection, host, name)?;
    if repeated(connection, (host, &name), (count, now))? {
        return Ok(());
    }
    let data = entry::Incident { host, cause };
    let number = entry::append(connection, Kind::Incident, now, &data)?;
    insert(connection, (number, host, cause), (count, now))
}

/// The row of an incident, under the number of its entry.
pub(super) fn insert(
    connection: &Connection,
    (number, host, cause): (u64, &HostName, &Cause),
    (count, now): (u64, Timestamp),
) -> Result<(), LedgerError> {
    if let Cause::Reported(Incident::Restored(abandoned)) = cause {
        restore::keep(connection, host, abandoned)?;
    }
    let name = listed(connection, host, name(cause))?;
    connection
        .prepare_cached(
            "INSERT INTO incidents (number, host, name, first, last, count, cause) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            number,
            host.as_str(),
            name,
            now.millis(),
            now.millis(),
            count,
            serde_json::to_string(cause)?
        ])?;
    Ok(())
}

/// The name under which it is listed: its own, until a host has too many.
fn listed(connection: &Connection, host: &HostName, name: String) -> Result<String, LedgerError> {
    let others: u64 = connection
        .prepare_cached("SELECT count(*) FROM incidents WHERE host = ? AND settled IS NULL")?
        .query_row([host.as_str()], |row| row.get(0))?;
    Ok(if others < MAX_OPEN { name } else { "others".to_owned() })
}

fn repeated(
    connection: &Connection,
    (host, name): (&HostName, &str),
    (count, now): (u64, Timestamp),
) -> Result<bool, LedgerError> {
    let changed = connection
        .prepare_cached(
            "UPDATE incidents SET count = count + ?, last = ? WHERE host = ? AND name = ? AND settled IS NULL",
        )?
        .execute(params![count, now.millis(), host.as_str(), name])?;
    Ok(changed > 0)
}

/// What makes two of a host's incidents the same.
fn name(cause: &Cause) -> String {
    match cause {
        Cause::Reported(Incident::Unproved { attempt, admitted }) => {
            format!("unproved {} {} {admitted}", attempt.serial, attempt.key)
        }
        Cause::Reported(Incident::Dispute(dispute)) => {
            format!("dispute {}", dispute.since.millis())
        }
        Cause::Reported(Incident::Outside(outside)) => {
            let (login, via) = (outside.login.display(), outside.via.as_deref().unwrap_or(""));
            format!("outside {login} {} {via} {}", outside.remote, outside.ended)
        }
        Cause::Reported(Incident::Meddled(meddled)) => format!("meddled {}", meddled.what),
        Cause::Reported(Incident::BreakGlass(used)) => {
            format!("breakglass {} {}", used.name.serial, used.remote)
        }
        Cause::Reported(Incident::Pass(used)) => {
            format!("pass {} {}", used.pass.request, used.remote)
        }
        Cause::BreakGlass { request, .. } => format!("taken {request}"),
        Cause::Shrunk { request, quorum, .. } => format!("shrunk {request} {quorum}"),
        Cause::Unissued { serial, .. } => format!("unissued {serial}"),
        Cause::Reported(Incident::Restored(abandoned)) => format!("restored {}", abandoned.era),
        Cause::Witnessed { witness, size, .. } => format!("witnessed {witness} {size}"),
        Cause::Threshold { session, crossed } => {
            let rule = crossed.rule.as_deref().unwrap_or_default();
            format!("threshold {session} {} {} {rule}", crossed.measure, crossed.response)
        }
        Cause::Ahead { known, .. } => format!("ahead {}", known.root),
        Cause::Gone { from, .. } => format!("gone {from}"),
        Cause::Spoiled { from, to, .. } => format!("spoiled {from} {to}"),
        Cause::Silent { .. } => "silent".to_owned(),
        Cause::Reviewed { session, .. } => format!("reviewed {session}"),
        Cause::Unbelieved { session, .. } => format!("unbelieved {session}"),
        Cause::Unreceipted { used, .. } => format!("unreceipted {}", used.name.serial),
    }
}

fn view(row: &Row<'_>) -> Result<IncidentView, SqlError> {
    Ok(IncidentView {
        number: row.get(0)?,
        host: column::name(row, 1)?,
        first: column::moment(row, 2)?,
        last: column::moment(row, 3)?,
        count: row.get(4)?,
        cause: column::json(row, 5)?,
        settled: column::maybe_json(row, 6)?,
    })
}

/// Most incidents of a host that are listed by themselves.
const MAX_OPEN: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{NOW, ledger};
    use wire::identifier::Fingerprint;
    use wire::log::Hash;

    fn cause(serial: u64) -> Cause {
        Cause::Unissued {
            serial,
            key_id: wire::octets::Octets::new("ana@example.com/g1/9"),
            login: wire::octets::Octets::new("root"),
            remote: "10.0.0.9".into(),
            began: false,
            lost: false,
        }
    }

    fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn an_incident_is_listed_once_counted_and_stays_until_it_is_settled() {
        let (_dir, ledger) = ledger();
        for at in 0..3 {
            let at = NOW.after(std::time::Duration::from_secs(at));
            ledger.notice(host("db1"), cause(9), at).await.unwrap();
        }
        ledger.notice(host("db2"), cause(9), NOW).await.unwrap();
        let open = ledger.incidents(false).await.unwrap();
        let counts: Vec<_> = open.iter().map(|one| (one.host.as_str(), one.count)).collect();
        assert_eq!(counts, [("db2", 1), ("db1", 3)]);
        assert_eq!(open[1].last.since(open[1].first).as_secs(), 2);
        let settle = (open[1].number, "keys were changed".to_owned());
        ledger.settle_incident(Actor::local(), settle.clone(), NOW).await.unwrap();
        assert!(ledger.settle_incident(Actor::local(), settle, NOW).await.is_err());
        assert_eq!(ledger.open_incidents().await.unwrap().0, 1);
        let all = ledger.incidents(true).await.unwrap();
        assert_eq!(all[1].settled.as_ref().unwrap().reason, "keys were changed");
        // The same again is another incident.
        ledger.notice(host("db1"), cause(9), NOW).await.unwrap();
        assert_eq!(ledger.open_incidents().await.unwrap().0, 2);
    }

    #[tokio::test]
    async fn many_incidents_of_a_host_do_not_bury_those_of_others() {
        let (_dir, ledger) = ledger();
        for serial in 1..=MAX_OPEN + 50 {
            ledger.notice(host("db1"), cause(serial), NOW).await.unwrap();
        }
        ledger.notice(host("db2"), cause(1), NOW).await.unwrap();
        let open = ledger.incidents(false).await.unwrap();
        assert_eq!(open.len(), 202);
        assert_eq!(open[0].host.as_str(), "db2");
        assert_eq!(open[1].count, 50);
    }

    #[tokio::test]
    async fn only_a_certificate_of_ours_that_was_never_issued_is_an_incident() {
        let (_dir, ledger) = ledger();
        let refusal = |ours, serial| Refused {
            login: wire::octets::Octets::new("root"),
            remote: String::new(),
            key_id: wire::octets::Octets::new("x"),
            serial,
            key: Fingerprint::of(b"key"),
            reason: "it has expired".into(),
            count: 4,
            ours,
            by: wire::record::Refuser::Gate,
        };
        for (ours, serial) in [(false, 5), (true, 5), (true, u64::MAX)] {
            let refusal = refusal(ours, serial);
            let take =
                move |connection: &Connection| refused(connection, &host("db1"), &refusal, NOW);
            ledger.write(take).await.unwrap();
        }
        let serials: Vec<_> = ledger.incidents(false).await.unwrap();
        let serials: Vec<_> = serials
            .iter()
            .map(|one| match &one.cause {
                Cause::Unissued { serial, .. } => (*serial, one.count),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(serials, [(u64::MAX, 4), (5, 4)]);
    }

    #[tokio::test]
    async fn a_host_that_knows_more_than_the_ledger_contradicts_it() {
        let (_dir, ledger) = ledger();
        for serial in 1..9 {
            ledger.notice(host("db1"), cause(serial), NOW).await.unwrap();
        }
        let newest = ledger.checkpoints().borrow().head();
        assert_eq!(ledger.contradiction(newest).await.unwrap(), None);
        let old = Head { size: 3, root: ledger.root_of(3).await.unwrap() };
        assert_eq!(ledger.contradiction(old).await.unwrap(), None);
        assert_eq!(ledger.contradiction(Head::empty()).await.unwrap(), None);
        let forked = Head { size: 3, root: Hash::of(b"fork") };
        assert!(ledger.contradiction(forked).await.unwrap().is_some());
        let ahead = Head { size: newest.size + 1, root: newest.root };
        assert!(ledger.contradiction(ahead).await.unwrap().is_some());
    }
}
