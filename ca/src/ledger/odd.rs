//! What was odd in sessions, as the ledger has it: what each did that can become usual, what was before, and what was found.
//!
//! All of it follows from records and from the past, and can be found again; none of it is decided by. What it says of what was
//! done goes when that is deleted. That a session was odd is an entry once it weighs enough, which names no deed.

use wire::identifier::{HostName, SessionId};
use wire::identity::Kind as IdentityKind;
use wire::odd::{Odd, Oddity, TOLD_FROM};
use wire::record::Record;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::past::used;
use super::search::stored;
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Ledger, LedgerError, column};
use crate::odd::{Before, Deeds, Facet, Known, Scene, judge};

/// What was found in one session.
#[derive(Debug)]
pub(crate) struct Judged {
    session: SessionId,
    host: HostName,
    odd: Odd,
    /// What becomes usual once the session counts.
    habits: Vec<(Facet, String)>,
    scene: Scene,
    /// From how many records.
    records: u64,
    /// Whether its certificate is one of ours: nothing is learnt from others.
    known: bool,
    ended: Option<Timestamp>,
}

/// A session, as its row has it.
struct Seen {
    scene: Scene,
    known: bool,
    ended: Option<Timestamp>,
    /// When its certificate was issued, by our own clock.
    issued: Option<Timestamp>,
}

impl Ledger {
    /// Sessions that have ended and were not looked at since, the oldest first.
    pub(crate) async fn unjudged(&self) -> Result<Vec<(SessionId, HostName)>, LedgerError> {
        self.read(|connection| {
            let found = connection
                .prepare_cached(&format!(
                    "SELECT session, host FROM sessions WHERE ended IS NOT NULL AND oddness < 0 ORDER BY began LIMIT {AT_ONCE}"
                ))?
                .query_map((), |row| Ok((column::name(row, 0)?, column::name(row, 1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(found)
        })
        .await
    }

    /// What is odd in a session, seen from when it ended, or from now while it goes on. Nothing when it is not there.
    pub(crate) async fn judge(
        &self,
        (session, host): (SessionId, HostName),
        (learn_until, now): (Option<u64>, Timestamp),
    ) -> Result<Option<Judged>, LedgerError> {
        self.read(move |connection| {
            let Some(seen) = seen(connection, (session, &host))? else { return Ok(None) };
            let deeds = deeds(connection, (session, &host))?;
            let as_of = seen.as_of(now);
            let (mut habits, mut asked) = (seen.scene.own(), seen.scene.asked());
            habits.extend(deeds.facets().cloned());
            asked.extend(habits.iter().cloned());
            let mut before = Before::default();
            for (facet, what) in asked {
                let place = (facet, what.as_str(), seen.whose(facet));
                let known = known(connection, place, (session, &host), (as_of, learn_until))?;
                before.0.insert((facet, what), known);
            }
            let odd = judge(&seen.scene, &deeds, &before, as_of);
            let Seen { scene, known, ended, .. } = seen;
            let records = deeds.records;
            Ok(Some(Judged { session, host, odd, habits, scene, records, known, ended }))
        })
        .await
    }

    /// Keeps what was found, unless more of the session came meanwhile; says whether it was kept.
    pub(crate) async fn keep_odd(
        &self,
        judged: Judged,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.write(move |connection| judged.keep(connection, now)).await
    }

    /// What was found in a session, if it was looked at since it ended.
    pub(crate) async fn odd_of(
        &self,
        session: SessionId,
        host: HostName,
    ) -> Result<Option<Odd>, LedgerError> {
        self.read(move |connection| {
            let odd = connection
                .prepare_cached(
                    "SELECT odd FROM sessions WHERE session = ? AND host = ? AND oddness >= 0",
                )?
                .query_row(params![session.to_string(), host.as_str()], |row| {
                    column::maybe_json(row, 0)
                })
                .optional()?;
            Ok(odd.flatten())
        })
        .await
    }
}

impl Judged {
    /// What was found.
    pub(crate) fn into_odd(self) -> Odd {
        self.odd
    }

    fn keep(self, connection: &Connection, now: Timestamp) -> Result<bool, LedgerError> {
        let (session, host) = (self.session.to_string(), self.host.as_str());
        let records: u64 = connection
            .prepare_cached("SELECT count(*) FROM records WHERE session = ? AND host = ?")?
            .query_row(params![session, host], |row| row.get(0))?;
        if records != self.records {
            return Ok(false);
        }
        connection
            .prepare_cached(
                "UPDATE sessions SET oddness = ?3, odd = ?4 WHERE session = ?1 AND host = ?2",
            )?
            .execute(params![
                session,
                host,
                u64::from(self.odd.weight),
                serde_json::to_string(&self.odd)?
            ])?;
        connection
            .prepare_cached("DELETE FROM habits WHERE session = ? AND host = ?")?
            .execute(params![session, host])?;
        if self.known {
            for (facet, what) in &self.habits {
                self.learn(connection, *facet, what)?;
            }
        }
        self.tell(connection, now)?;
        Ok(true)
    }

    fn learn(&self, connection: &Connection, facet: Facet, what: &str) -> Result<(), LedgerError> {
        connection
            .prepare_cached(
                "INSERT INTO habits (facet, what, whose, began, session, host) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                facet.name(),
                what,
                whose(&self.scene, facet),
                stored(self.scene.began),
                self.session.to_string(),
                self.host.as_str()
            ])?;
        Ok(())
    }

    /// Says in the ledger that it was odd, once; of what ended long ago nobody is told any more.
    fn tell(&self, connection: &Connection, now: Timestamp) -> Result<(), LedgerError> {
        let is_late = self.ended.is_none_or(|ended| ended.after(TOLD_WITHIN) < now);
        if self.odd.weight < TOLD_FROM || is_late {
            return Ok(());
        }
        let (session, host) = (self.session, &self.host);
        let is_told = connection
            .prepare_cached(
                "SELECT 1 FROM sessions WHERE session = ? AND host = ? AND odd_entry IS NOT NULL",
            )?
            .exists(params![session.to_string(), host.as_str()])?;
        if is_told {
            return Ok(());
        }
        let why: Vec<Oddity> = self.odd.reasons.iter().map(|reason| reason.oddity).collect();
        let data = entry::SessionOdd { session, host, weight: self.odd.weight, why: &why };
        let number = entry::append(connection, Kind::SessionOdd, now, &data)?;
        told(connection, (session, host), number)
    }
}

/// That this entry says of a session that it was odd.
pub(super) fn told(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
    entry: u64,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE sessions SET odd_entry = ?3 WHERE session = ?1 AND host = ?2")?
        .execute(params![session.to_string(), host.as_str(), entry])?;
    Ok(())
}

/// That a session must be looked at again: more of it came, or something of it went.
pub(super) fn look_again(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "UPDATE sessions SET oddness = -1, odd = NULL WHERE session = ? AND host = ? AND oddness >= 0",
        )?
        .execute(params![session.to_string(), host.as_str()])?;
    Ok(())
}

/// Forgets what was learnt from what was done in a session, and what was found in it by that.
pub(super) fn forget_deeds(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
) -> Result<(), LedgerError> {
    for facet in Facet::ALL.into_iter().filter(|facet| facet.is_activity()) {
        connection
            .prepare_cached("DELETE FROM habits WHERE session = ? AND host = ? AND facet = ?")?
            .execute(params![session.to_string(), host.as_str(), facet.name()])?;
    }
    look_again(connection, (session, host))
}

impl Seen {
    /// When the past is looked at: at the end, which is not before the certificate was issued and not after now, whatever the
    /// host's clock says.
    fn as_of(&self, now: Timestamp) -> Timestamp {
        let end = self.ended.unwrap_or(now).min(now);
        self.issued.map_or(end, |issued| end.max(issued))
    }

    fn whose(&self, facet: Facet) -> &str {
        whose(&self.scene, facet)
    }
}

fn whose(scene: &Scene, facet: Facet) -> &str {
    if facet.is_of_role() { scene.role.as_str() } else { scene.identity.as_str() }
}

fn seen(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
) -> Result<Option<Seen>, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT s.identity, s.login, s.role, s.remote, s.began, s.ended, s.known, s.serial, s.grant_id, c.issued, i.kind \
             FROM sessions s LEFT JOIN certificates c ON c.serial = s.serial LEFT JOIN identities i ON i.name = s.identity \
             WHERE s.session = ? AND s.host = ?",
        )?
        .query_row(params![session.to_string(), host.as_str()], |row| {
            let kind: Option<String> = row.get(10)?;
            let scene = Scene {
                identity: column::name(row, 0)?,
                is_program: kind.as_deref() == Some(IdentityKind::Workload.name()),
                host: host.clone(),
                login: column::name(row, 1)?,
                role: column::name(row, 2)?,
                remote: row.get(3)?,
                began: column::moment(row, 4)?,
                incidents: Vec::new(),
            };
            let ended: Option<wire::api::Ended> = column::maybe_json(row, 5)?;
            let ended = ended.map(|ended| ended.at);
            let issued = column::maybe_moment(row, 9)?;
            let of: (u64, u64) = (row.get(7)?, row.get(8)?);
            Ok((Seen { scene, known: row.get(6)?, ended, issued }, of))
        })
        .optional()?;
    let Some((mut seen, of)) = found else { return Ok(None) };
    seen.scene.incidents = incidents(connection, (session, host), of)?;
    Ok(Some(seen))
}

/// Incidents of a session: beyond a threshold, under a certificate that was never issued, by break-glass, and what is not
/// believed of its end. What a reviewer found comes later, and is no news to reviewers.
pub(super) fn incidents(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
    (serial, grant): (u64, u64),
) -> Result<Vec<(u64, String)>, LedgerError> {
    let request: Option<u64> = connection
        .prepare_cached("SELECT request FROM grants WHERE id = ?")?
        .query_row([grant], |row| row.get(0))
        .optional()?
        .flatten();
    let request = request.map_or_else(|| "-".to_owned(), |request| format!("r{request}"));
    let found = connection
        .prepare_cached(
            "SELECT number, cause FROM incidents WHERE host = ?1 AND (name LIKE ?2 OR name = ?3 OR name = ?4 \
             OR name LIKE ?5 OR name = ?6 OR name LIKE ?7) ORDER BY number LIMIT 100",
        )?
        .query_map(
            params![
                host.as_str(),
                format!("threshold {session} %"),
                format!("unbelieved {session}"),
                format!("unissued {serial}"),
                format!("breakglass {serial} %"),
                format!("taken {request}"),
                format!("pass {request} %")
            ],
            |row| {
                let cause: wire::incident::Cause = column::json(row, 1)?;
                Ok((row.get(0)?, cause.to_string()))
            },
        )?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

fn deeds(
    connection: &Connection,
    (session, host): (SessionId, &HostName),
) -> Result<Deeds, LedgerError> {
    let mut deeds = Deeds::default();
    connection
        .prepare_cached(
            "SELECT body FROM records WHERE session = ? AND host = ? ORDER BY enrolment, number",
        )?
        .visit(params![session.to_string(), host.as_str()], |row| {
            deeds.take(&column::json::<Record>(row, 0)?);
            Ok(())
        })?;
    Ok(deeds.finish())
}

/// What is known of one thing: of sessions that had it, the oldest of half a year first, until it is known. Sessions that say
/// nothing yet are the newest, so that a flood of them hides none that does.
fn known(
    connection: &Connection,
    (facet, what, whose): (Facet, &str, &str),
    (session, host): (SessionId, &HostName),
    by: (Timestamp, Option<u64>),
) -> Result<Known, LedgerError> {
    let (as_of, _) = by;
    let mut statement = connection.prepare_cached(
        "SELECT s.host, s.login, s.remote, s.began, s.until, s.ended, s.review, c.issued FROM habits h \
         JOIN sessions s ON s.session = h.session AND s.host = h.host LEFT JOIN certificates c ON c.serial = s.serial \
         WHERE h.facet = ? AND h.what = ? AND h.whose = ? AND h.began >= ? AND h.began <= ? \
         AND NOT (h.session = ? AND h.host = ?) ORDER BY h.began LIMIT ?",
    )?;
    let mut found = Known::default();
    for limit in [facet.enough().max(FEW), LOOKED_AT] {
        let (from, to) = (as_of.before(REMEMBERED).millis(), stored(as_of));
        let uses = statement
            .query_map(
                params![
                    facet.name(),
                    what,
                    whose,
                    from,
                    to,
                    session.to_string(),
                    host.as_str(),
                    limit
                ],
                used,
            )?
            .collect::<Result<Vec<_>, _>>()?;
        let is_all = u64::try_from(uses.len()).is_ok_and(|count| count < limit);
        found = Known::of(uses, by);
        let is_known = found.usual >= facet.enough() && (found.approved || facet != Facet::Written);
        if is_known || is_all {
            break;
        }
    }
    Ok(found)
}

/// Most sessions that are looked at together.
const AT_ONCE: u64 = 100;
/// How many sessions are read at first to know one thing: the oldest says it, as a rule.
const FEW: u64 = 3;
/// Most sessions that are read to know one thing.
const LOOKED_AT: u64 = 200;
/// For how long what was done is remembered.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(180 * 24 * 3_600);
/// How late that a session was odd is still told.
const TOLD_WITHIN: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests;
