//! What hosts report: records, kept as they came, and the sessions that they tell of.

use std::collections::BTreeSet;

use wire::api::{Ended, SessionDetail, SessionView, Spoiled};
use wire::identifier::{GrantId, HostName, Identity, Login, RoleName, Serial, SessionId};
use wire::incident::Cause;
use wire::octets::Octets;
use wire::odd::Odd;
use wire::record::{Event, Incident, Record, SessionBegan, SessionEnded};
use wire::review::Verdict;
use wire::spool::check::{Standing, Taken};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{
    Ledger, LedgerError, attempt, ceremony, column, incident, kill, odd, restore, retention,
    spoiled,
};

/// Counts for the one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// Alive.
    pub(crate) alive: u64,
    /// Alive, and begun with a certificate that this ledger never issued.
    pub(crate) unknown: u64,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Which {
    /// Those of this identity only.
    pub(crate) identity: Option<Identity>,
    /// Those on this host only.
    pub(crate) host: Option<HostName>,
    /// Those as this account only.
    pub(crate) login: Option<Login>,
    /// Those under this role only.
    pub(crate) role: Option<RoleName>,
    /// Those that began from then on only.
    pub(crate) since: Option<Timestamp>,
    /// Those that began before then only.
    pub(crate) before: Option<Timestamp>,
    /// Those that ended in this way only, one of `EndReason::NAMES`.
    pub(crate) how: Option<&'static str>,
    /// Those with this verdict only.
    pub(crate) verdict: Option<Verdict>,
    /// Those that are alive only.
    pub(crate) live: bool,
    /// Those that come after this one in the listing.
    pub(crate) after: Option<After>,
    /// At most so many.
    pub(crate) limit: u64,
}

/// A place in the listing of sessions.
#[derive(Debug, Clone)]
pub(crate) struct After {
    /// Whether the session there had ended.
    pub(crate) ended: bool,
    /// When it began.
    pub(crate) began: Timestamp,
    /// Its name.
    pub(crate) session: SessionId,
    /// Its host.
    pub(crate) host: HostName,
}

impl Ledger {
    /// Makes a host's records durable and says which is the newest. Those that are here already are passed over; one that
    /// leaves a gap is refused, and so are all after it.
    pub(crate) async fn take_records(
        &self,
        whose: (HostName, u64),
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let findings = spoiled::told(&records, &[]);
        self.take_batch(whose, Batch { records, findings, head: None }, now).await
    }

    /// The same of records that came sealed, with what was found in them.
    pub(crate) async fn take_opened(
        &self,
        whose: (HostName, u64),
        taken: Taken,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let findings = taken.findings.iter().map(spoiled::kept).collect();
        let head = Some(taken.standing);
        self.take_batch(whose, Batch { records: taken.records, findings, head }, now).await
    }

    async fn take_batch(
        &self,
        (host, enrolment): (HostName, u64),
        batch: Batch,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let taken = self.write(move |connection| {
            let before: u64 = connection
                .prepare_cached("SELECT last_record FROM hosts WHERE name = ? AND enrolment = ?")?
                .query_row(params![host.as_str(), enrolment], |row| row.get(0))
                .optional()?
                .ok_or_else(|| LedgerError::NotFound(format!("host {host} has enrolled anew")))?;
            let (last, lost) = batch.write((connection, before), (&host, enrolment), now)?;
            if last > before {
                let head = batch.head.filter(|head| head.last == last);
                let head = head.and_then(|head| head.head).map(|head| head.to_string());
                connection
                    .prepare_cached(
                        "UPDATE hosts SET last_record = ?, spool_head = ? WHERE name = ?",
                    )?
                    .execute(params![last, head, host.as_str()])?;
            }
            Ok((last, lost))
        });
        let (last, lost) = taken.await?;
        self.meter().lost.add(lost);
        Ok(last)
    }

    /// Sessions: live ones first, and of each kind the newest. What was odd in them is for whoever may review them.
    pub(crate) async fn sessions(&self, which: Which) -> Result<Vec<SessionView>, LedgerError> {
        self.read(move |connection| listed(connection, &which)).await
    }

    /// A session with its records. Where two hosts claim the same name, the one that began it with a certificate of ours
    /// counts.
    pub(crate) async fn session(
        &self,
        session: SessionId,
    ) -> Result<Option<SessionDetail>, LedgerError> {
        self.read(move |connection| {
            let found = connection
                .prepare_cached(&format!("{SELECT} WHERE session = ? ORDER BY known DESC, began LIMIT 1"))?
                .query_row([session.to_string()], view)
                .optional()?;
            let Some(found) = found else {
                return Ok(None);
            };
            let mut statement = connection.prepare_cached(
                "SELECT body FROM records WHERE session = ? AND host = ? ORDER BY enrolment, number",
            )?;
            let records = statement
                .query_map([session.to_string().as_str(), found.host.as_str()], |row| {
                    column::json(row, 0)
                })?
                .collect::<Result<_, _>>()?;
            let (held, deleted) = retention::kept(connection, session, &found.host)?;
            let killed = kill::of(connection, (&found.host, session))?;
            let spoiled = spoiled::of(connection, (session, &found.host), found.ended.is_some())?;
            let (session, odd) = (found, None);
            Ok(Some(SessionDetail { session, records, killed, held, deleted, odd, spoiled }))
        })
        .await
    }

    /// How many sessions are alive on a host, as far as it has said.
    pub(crate) async fn sessions_on(&self, host: HostName) -> Result<u64, LedgerError> {
        self.read(move |connection| {
            let count = connection
                .prepare_cached("SELECT count(*) FROM sessions WHERE host = ? AND ended IS NULL")?
                .query_row([host.as_str()], |row| row.get(0))?;
            Ok(count)
        })
        .await
    }

    /// How many sessions there are.
    pub(crate) async fn session_counts(&self) -> Result<SessionCounts, LedgerError> {
        self.read(|connection| {
            let counts = connection
                .prepare_cached(
                    "SELECT count(*), count(*) FILTER (WHERE NOT known) FROM sessions WHERE ended IS NULL",
                )?
                .query_row((), |row| Ok(SessionCounts { alive: row.get(0)?, unknown: row.get(1)? }))?;
            Ok(counts)
        })
        .await
    }
}

/// Records that came together.
struct Batch {
    records: Vec<Record>,
    findings: Vec<Spoiled>,
    /// How far the host's sealed records are with them; nothing where they did not come sealed.
    head: Option<Standing>,
}

impl Batch {
    /// Writes those after record `last`; says which is the newest now, and how many events are said to be missing.
    fn write(
        &self,
        (connection, mut last): (&Connection, u64),
        whose: (&HostName, u64),
        now: Timestamp,
    ) -> Result<(u64, u64), LedgerError> {
        let (before, mut of, mut lost) = (last, BTreeSet::new(), 0_u64);
        for record in &self.records {
            let (due, number) = (last.saturating_add(1), record.number.number());
            let first = match &record.event {
                Event::Unreadable { from: Some(from), .. } => from.number().min(number),
                _ => number,
            };
            if first > due {
                return Err(LedgerError::Gap { expected: due, got: first });
            }
            if number >= due {
                take(connection, whose, record, now)?;
                of.extend(record.session);
                last = number;
                lost = lost.saturating_add(record.event.missing());
            }
        }
        // What was odd in one that had ended is looked at anew.
        for session in of {
            odd::look_again(connection, (session, whose.0))?;
        }
        let is_new = |found: &&Spoiled| found.to > before;
        let found: Vec<Spoiled> = self.findings.iter().filter(is_new).cloned().collect();
        spoiled::note(connection, whose, &found, now)?;
        Ok((last, lost))
    }
}

fn listed(connection: &Connection, which: &Which) -> Result<Vec<SessionView>, LedgerError> {
    let after = which.after.as_ref();
    let stored = |at: Timestamp| at.millis().min(i64::MAX.unsigned_abs());
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_WITH_ODD} WHERE (?1 IS NULL OR identity = ?1) AND (?2 IS NULL OR host = ?2) AND (?3 IS NULL OR login = ?3) \
         AND (?4 IS NULL OR role = ?4) AND began >= ?5 AND began < ?6 AND (NOT ?7 OR ended IS NULL) \
         AND (?8 IS NULL OR json_extract(ended, '$.reason') = ?8 OR json_extract(ended, '$.reason') LIKE ?9) \
         AND (?10 IS NULL OR (ended IS NOT NULL) > ?10 OR ((ended IS NOT NULL) = ?10 \
         AND (began < ?11 OR (began = ?11 AND (session, host) > (?12, ?13))))) \
         AND (?15 IS NULL OR json_extract(review, '$.verdict') = ?15) \
         ORDER BY ended IS NOT NULL, began DESC, session, host LIMIT ?14"
    ))?;
    let sessions = statement.query_map(
        params![
            which.identity.as_ref().map(Identity::as_str),
            which.host.as_ref().map(HostName::as_str),
            which.login.as_ref().map(Login::as_str),
            which.role.as_ref().map(RoleName::as_str),
            which.since.map_or(0, stored),
            which.before.map_or(i64::MAX.unsigned_abs(), stored),
            which.live,
            which.how,
            // A kind that says more than its name is an object of one field.
            which.how.map(|how| format!("{{\"{how}\":%")),
            after.map(|after| after.ended),
            after.map(|after| stored(after.began)),
            after.map(|after| after.session.to_string()),
            after.map(|after| after.host.as_str()),
            which.limit.min(LISTED),
            which.verdict.map(Verdict::as_str)
        ],
        view_with_odd,
    )?;
    Ok(sessions.collect::<Result<_, _>>()?)
}

fn take(
    connection: &Connection,
    (host, enrolment): (&HostName, u64),
    record: &Record,
    now: Timestamp,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO records (enrolment, number, host, session, body) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            enrolment,
            record.number.number(),
            host.as_str(),
            record.session.map(|session| session.to_string()),
            serde_json::to_string(record)?
        ])?;
    match &record.event {
        Event::Incident(reported) => {
            incident::reported(connection, host, reported, now)?;
            if let Incident::Unproved { attempt: refused, admitted: false } = reported.as_ref() {
                attempt::told(connection, host, refused, record.at.min(now))?;
            }
        }
        Event::AlarmEnded(ended) => ceremony::alarm_ended(connection, (host, ended), now)?,
        Event::Refused(refused) => {
            incident::refused(connection, host, refused, now)?;
            attempt::told(connection, host, refused, record.at.min(now))?;
        }
        _ => {}
    }
    let Some(session) = record.session else {
        return Ok(());
    };
    match &record.event {
        Event::SessionBegan(began) => begin(connection, (host, session), (began, record.at), now),
        Event::SessionEnded(ended) => end(connection, (host, session), (ended, record.at), now),
        Event::Killed(signed) => kill::take(connection, (host, session), (signed, record.at), now),
        Event::Exec(_) => count(connection, "execs = execs + ?", (host, session), 1),
        Event::Threshold(crossed) => {
            let cause = Cause::Threshold { session, crossed: crossed.clone() };
            incident::open(connection, host, &cause, (1, now))
        }
        Event::Loss(loss) => count(connection, "lost = lost + ?", (host, session), loss.missing),
        _ => Ok(()),
    }
}

fn begin(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
    (began, at): (&SessionBegan, Timestamp),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let subject = &began.subject;
    let known = connection
        .prepare_cached(
            "SELECT 1 FROM certificates WHERE serial = ? AND grant_id = ? AND identity = ? AND login = ? AND host = ? AND key = ?",
        )?
        .exists(params![
            subject.serial.number(),
            subject.grant.number(),
            subject.identity.as_str(),
            subject.login.as_str(),
            host.as_str(),
            subject.key.as_str()
        ])?;
    // Custodians gave it, and no ledger: the host reports its use, and the ceremony's receipt joins it.
    let is_breakglass = subject.role.as_str() == wire::breakglass::ROLE
        && wire::breakglass::is_of_breakglass(subject.serial.number());
    if !known && !is_breakglass {
        let cause = Cause::Unissued {
            serial: subject.serial.number(),
            key_id: Octets::new(format!(
                "{}/{}/{}",
                subject.identity, subject.grant, subject.serial
            )),
            login: Octets::new(subject.login.as_str()),
            remote: began.remote.clone(),
            began: true,
            lost: restore::may_be_lost(connection, subject.serial.number())?,
        };
        incident::open(connection, host, &cause, (1, now))?;
    }
    connection
        .prepare_cached(
            "INSERT INTO sessions (session, host, identity, login, role, grant_id, serial, remote, began, until, known) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            session.to_string(),
            host.as_str(),
            subject.identity.as_str(),
            subject.login.as_str(),
            subject.role.as_str(),
            subject.grant.number(),
            subject.serial.number(),
            began.remote,
            at.millis(),
            began.grant_until.millis(),
            known
        ])?;
    let data = entry::Begun { host, session, known, at, began };
    entry::append(connection, Kind::SessionBegun, now, &data)?;
    Ok(())
}

fn end(
    connection: &Connection,
    (host, session): (&HostName, SessionId),
    (ended, at): (&SessionEnded, Timestamp),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let how = Ended {
        at,
        reason: ended.reason.clone(),
        killed: ended.killed,
        survivors: ended.survivors,
        took_micros: ended.took_micros,
    };
    connection
        .prepare_cached("UPDATE sessions SET ended = ? WHERE session = ? AND host = ?")?
        .execute(params![serde_json::to_string(&how)?, session.to_string(), host.as_str()])?;
    let data = entry::Ended { host, session, at, ended };
    entry::append(connection, Kind::SessionEnded, now, &data)?;
    Ok(())
}

fn count(
    connection: &Connection,
    set: &'static str,
    (host, session): (&HostName, SessionId),
    by: u64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(&format!("UPDATE sessions SET {set} WHERE session = ? AND host = ?"))?
        .execute(params![by, session.to_string(), host.as_str()])?;
    Ok(())
}

pub(super) fn view(row: &Row<'_>) -> Result<SessionView, SqlError> {
    Ok(SessionView {
        session: column::name(row, 0)?,
        host: column::name(row, 1)?,
        identity: column::name(row, 2)?,
        login: column::name(row, 3)?,
        role: column::name(row, 4)?,
        grant: column::number(row, 5, GrantId::try_new)?,
        serial: column::number(row, 6, Serial::try_new)?,
        remote: row.get(7)?,
        began: column::moment(row, 8)?,
        until: column::moment(row, 9)?,
        ended: column::maybe_json(row, 10)?,
        execs: row.get(11)?,
        lost: row.get(12)?,
        review: column::maybe_json(row, 13)?,
        odd: None,
    })
}

/// The same with what was odd in it, for whoever may review it.
pub(super) fn view_with_odd(row: &Row<'_>) -> Result<SessionView, SqlError> {
    let odd: Option<Odd> = column::maybe_json(row, 14)?;
    Ok(SessionView { odd: odd.and_then(|odd| odd.glance()), ..view(row)? })
}

pub(super) const SELECT: &str = "SELECT session, host, identity, login, role, grant_id, serial, remote, began, until, ended, \
                                 execs, lost, review FROM sessions";
pub(super) const SELECT_WITH_ODD: &str = "SELECT session, host, identity, login, role, grant_id, serial, remote, began, until, ended, \
                                          execs, lost, review, odd FROM sessions";
/// Most sessions in one listing.
pub(crate) const LISTED: u64 = 1000;
