//! What the ledger has of an incident: sessions, grants, requests, orders, and the entries that say so. That somebody reads it is an
//! entry before anything is read.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use wire::api::{GrantView, SessionView};
use wire::identifier::{GrantId, RequestId};
use wire::incident::IncidentView;
use wire::lock::{Lock, Subject};
use wire::log::Hash;
use wire::order::{Instruction, Order};
use wire::record::Record;
use wire::report::{
    EntryRef, MAX_ENTRIES, MAX_ORDERS, MAX_SESSIONS, Relation, ReportedOrder, ReportedSession,
};
use wire::request::Asked;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::session::{SELECT_WITH_ODD, view_with_odd};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, incident, kill, retention};
use crate::report::{About, Summary};

/// What the ledger has of an incident.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// It.
    pub(crate) incident: IncidentView,
    /// How its sessions belong to it.
    pub(crate) relation: Relation,
    /// The sessions, and how many more there were.
    pub(crate) sessions: (Vec<ReportedSession>, u64),
    /// The requests that they were under.
    pub(crate) requests: BTreeSet<RequestId>,
    /// Orders that concern them, and how many more there were.
    pub(crate) orders: (Vec<ReportedOrder>, u64),
    /// The entries that say so, how many more there were, and whether some were not looked at.
    pub(crate) entries: (Vec<EntryRef>, u64, bool),
}

/// [`Kind::IncidentReported`].
#[derive(Serialize)]
struct Reported<'a> {
    by: &'a Actor,
    incident: u64,
}

/// What entries are looked for by.
#[derive(Debug, Default)]
struct Sought {
    incident: u64,
    sessions: BTreeSet<String>,
    grants: BTreeSet<u64>,
    serials: BTreeSet<u64>,
    requests: BTreeSet<u64>,
    orders: BTreeSet<u64>,
}

impl Ledger {
    /// Says in the ledger that somebody reads the report of an incident, if there is one.
    pub(crate) async fn begin_report(
        &self,
        by: Actor,
        number: u64,
        now: Timestamp,
    ) -> Result<Option<u64>, LedgerError> {
        self.write(move |connection| {
            if incident::find(connection, number)?.is_none() {
                return Ok(None);
            }
            let data = Reported { by: &by, incident: number };
            entry::append(connection, Kind::IncidentReported, now, &data).map(Some)
        })
        .await
    }

    /// What there is of an incident.
    pub(crate) async fn report(&self, number: u64) -> Result<Option<Gathered>, LedgerError> {
        self.read(move |connection| {
            let Some(incident) = incident::find(connection, number)? else { return Ok(None) };
            gather(connection, incident).map(Some)
        })
        .await
    }
}

fn gather(connection: &Connection, incident: IncidentView) -> Result<Gathered, LedgerError> {
    let about = About::of(&incident.cause);
    let relation = if about == About::Host { Relation::Around } else { Relation::Subject };
    let mut views = sessions(connection, &incident, about)?;
    views.sort_by_key(|view| (view.began, view.session));
    let kept = views.len().min(MAX_SESSIONS);
    let more_sessions = count(views.len().saturating_sub(kept));
    views.truncate(kept);
    let (mut reported, mut subjects) = (Vec::new(), Vec::new());
    for view in views {
        let (session, subject) = whole(connection, view)?;
        subjects.extend(subject.map(|subject| (subject, session.session.clone())));
        reported.push(session);
    }
    let mut requests: BTreeSet<RequestId> =
        reported.iter().filter_map(|one| one.grant.as_ref()?.request).collect();
    if let About::Request(request) = about {
        requests.insert(request);
    }
    let began = reported.iter().map(|one| one.session.began).min();
    let from = began.map_or(incident.first, |began| began.min(incident.first));
    let orders = orders(connection, &incident, (&subjects, from))?;
    let sought = Sought {
        incident: incident.number,
        sessions: reported.iter().map(|one| one.session.session.to_string()).collect(),
        grants: reported.iter().map(|one| one.session.grant.number()).collect(),
        serials: reported.iter().map(|one| one.session.serial.number()).collect(),
        requests: requests.iter().map(|request| request.number()).collect(),
        orders: orders.0.iter().map(|one| one.order.number()).collect(),
    };
    let granted = reported.iter().filter_map(|one| Some(one.grant.as_ref()?.from));
    let since = granted.chain(asked_at(connection, &requests)?).fold(from, Timestamp::min);
    // A host's clock may be fast.
    let entries = entries(connection, &sought, since.before(SLACK))?;
    let sessions = (reported, more_sessions);
    Ok(Gathered { incident, relation, sessions, requests, orders, entries })
}

fn sessions(
    connection: &Connection,
    incident: &IncidentView,
    about: About,
) -> Result<Vec<SessionView>, LedgerError> {
    let find = |condition: &str, key: String, number: u64| {
        let sql = format!("{SELECT_WITH_ODD} WHERE {condition} ORDER BY began DESC LIMIT 1000");
        let found = connection
            .prepare_cached(&sql)?
            .query_map(params![key, number], view_with_odd)?
            .collect::<Result<Vec<_>, _>>()?;
        Ok::<_, LedgerError>(found)
    };
    let host = incident.host.to_string();
    match about {
        About::Session(session) => find("session = ?1 AND ?2 = 0", session.to_string(), 0),
        // The database's numbers end at 2^63; no session has one beyond.
        About::Serial(serial) if i64::try_from(serial).is_err() => Ok(Vec::new()),
        About::Serial(serial) => find("host = ?1 AND serial = ?2", host, serial),
        About::Request(request) => find(
            "?1 <> '' AND grant_id IN (SELECT id FROM grants WHERE request = ?2)",
            host,
            request.number(),
        ),
        About::Host => {
            let mut found = find("host = ?1 AND began <= ?2", host, incident.last.millis())?;
            found.retain(|view| view.ended.as_ref().is_none_or(|end| end.at >= incident.first));
            Ok(found)
        }
    }
}

/// A session with all that is said of it, and who it was as its host said.
fn whole(
    connection: &Connection,
    view: SessionView,
) -> Result<(ReportedSession, Option<Subject>), LedgerError> {
    let key = (view.session.to_string(), view.host.clone());
    let mut summary = Summary::default();
    connection
        .prepare_cached(
            "SELECT body FROM records WHERE session = ? AND host = ? ORDER BY enrolment, number",
        )?
        .visit(params![key.0, key.1.as_str()], |row| {
            summary.take(&column::json::<Record>(row, 0)?);
            Ok(())
        })?;
    let odd = connection
        .prepare_cached("SELECT odd FROM sessions WHERE session = ? AND host = ?")?
        .query_row(params![key.0, key.1.as_str()], |row| column::maybe_json(row, 0))
        .optional()?
        .flatten();
    let (_, deleted) = retention::kept(connection, view.session, &view.host)?;
    let session = ReportedSession {
        grant: grant(connection, view.grant)?,
        odd,
        killed: kill::of(connection, (&view.host, view.session))?,
        deeds: summary.deeds(),
        deleted,
        session: view,
    };
    Ok((session, summary.subject))
}

fn grant(connection: &Connection, grant: GrantId) -> Result<Option<GrantView>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT identity, role, host, began, until, request FROM grants WHERE id = ?",
        )?
        .query_row([grant.number()], |row| {
            Ok(GrantView {
                grant,
                identity: column::name(row, 0)?,
                role: column::name(row, 1)?,
                host: column::name(row, 2)?,
                from: column::moment(row, 3)?,
                until: column::moment(row, 4)?,
                request: column::maybe_number(row, 5, RequestId::try_new)?,
            })
        })
        .optional()?)
}

/// When the first of these was asked for.
fn asked_at(
    connection: &Connection,
    requests: &BTreeSet<RequestId>,
) -> Result<Option<Timestamp>, LedgerError> {
    let mut first: Option<Timestamp> = None;
    for request in requests {
        let at = connection
            .prepare_cached("SELECT at FROM requests WHERE id = ?")?
            .query_row([request.number()], |row| column::moment(row, 0))
            .optional()?;
        first = first.into_iter().chain(at).min();
    }
    Ok(first)
}

/// Locks since then that cover one of the sessions, or lie on the incident's host, and what lifted them.
fn orders(
    connection: &Connection,
    incident: &IncidentView,
    (subjects, from): (&[(Subject, SessionView)], Timestamp),
) -> Result<(Vec<ReportedOrder>, u64), LedgerError> {
    let (mut found, mut more) = (Vec::new(), 0_u64);
    let mut locked = BTreeSet::new();
    let concerns = |lock: &Lock| {
        let covers = |(subject, view): &(Subject, SessionView)| {
            lock.covers(subject, Some(view.session)) || lock.covers_remote(&view.remote)
        };
        lock.target == wire::lock::Target::Host(incident.host.clone())
            || subjects.iter().any(covers)
    };
    let texts = connection
        .prepare_cached("SELECT order_text FROM orders WHERE at >= ? ORDER BY number LIMIT 10000")?
        .query_map([from.millis()], |row| row.get::<String>(0))?;
    for text in texts {
        // One of a later version concerns nobody that this one could say.
        let Ok(order) = serde_json::from_str::<Order>(&text?) else { continue };
        let (target, reason) = match order.instruction {
            Instruction::Lock(lock) if concerns(&lock) => (lock.target, Some(lock.reason)),
            Instruction::Unlock(target) if locked.contains(&target) => (target, None),
            _ => continue,
        };
        locked.insert(target.clone());
        if found.len() >= MAX_ORDERS {
            more = more.saturating_add(1);
            continue;
        }
        let lifted = reason.is_none();
        let (number, at, by) = (order.number, order.at, order.by);
        found.push(ReportedOrder {
            order: number,
            at,
            by,
            reason,
            target,
            lifted,
            hosts: 0,
            done: 0,
            progress: None,
            more: 0,
        });
    }
    Ok((found, more))
}

/// Entries since then that say something of this.
fn entries(
    connection: &Connection,
    sought: &Sought,
    since: Timestamp,
) -> Result<(Vec<EntryRef>, u64, bool), LedgerError> {
    let names: Vec<String> = KINDS
        .iter()
        .map(|kind| Ok(format!("'{}'", kind.name()?)))
        .collect::<Result<_, LedgerError>>()?;
    let (mut found, mut more, mut read) = (Vec::new(), 0_u64, 0_u64);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT e.seq, e.at, e.kind, e.leaf_hash, b.body FROM entries e JOIN bodies b ON b.seq = e.seq \
         WHERE e.at >= ? AND e.kind IN ({}) ORDER BY e.seq LIMIT {MAX_READ}",
        names.join(", ")
    ))?;
    statement.visit([since.millis()], |row| {
        read = read.saturating_add(1);
        let (entry, kind): (u64, String) = (row.get(0)?, row.get(2)?);
        let body: Vec<u8> = row.get(4)?;
        let is_it = serde_json::from_slice(&body)
            .is_ok_and(|body: Value| sought.is_in(&kind, entry, &body));
        if !is_it {
            return Ok(());
        }
        if found.len() >= MAX_ENTRIES {
            more = more.saturating_add(1);
            return Ok(());
        }
        let hash: [u8; 32] = row.get(3)?;
        found.push(EntryRef { entry, at: column::moment(row, 1)?, kind, hash: Hash(hash) });
        Ok(())
    })?;
    Ok((found, more, read >= MAX_READ))
}

impl Sought {
    /// Whether an entry says something of what is sought.
    fn is_in(&self, kind: &str, entry: u64, body: &Value) -> bool {
        let has = |pointer: &str, of: &BTreeSet<u64>| {
            number(body.pointer(pointer)).is_some_and(|number| of.contains(&number))
        };
        let of_session = || {
            let named = ["/session", "/ask/session"].map(|pointer| body.pointer(pointer));
            let mut named = named.into_iter().flatten().filter_map(Value::as_str);
            let several = body.pointer("/sessions").and_then(Value::as_array);
            let mut several =
                several.into_iter().flatten().filter_map(|one| one["session"].as_str());
            named.any(|session| self.sessions.contains(session))
                || several.any(|session| self.sessions.contains(session))
        };
        match kind {
            "incident" => entry == self.incident,
            "incident_settled" => number(body.pointer("/incident")) == Some(self.incident),
            "certificate" => has("/serial", &self.serials),
            "grant_begun" => has("/grant", &self.grants),
            "request_made" => {
                let asked = body.pointer("/asked").and_then(Value::as_str);
                let asked = asked.and_then(|text| Asked::parse(text).ok());
                asked.is_some_and(|asked| self.requests.contains(&asked.request.number()))
            }
            "request_approved" | "request_moved" | "request_reviewed" => {
                has("/request", &self.requests)
            }
            "lock" | "unlock" | "grant_ended" | "grant_extended" => has("/order", &self.orders),
            "breakglass_receipt" => has("/said/serial", &self.serials),
            "breakglass_reviewed" => has("/serial", &self.serials),
            _ => of_session(),
        }
    }
}

/// Numbered names such as `g7` are kept as text in some bodies.
fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.trim_start_matches(['g', 'r']).parse().ok())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Kinds of entries that can say something of an incident.
const KINDS: [Kind; 25] = [
    Kind::Incident,
    Kind::IncidentSettled,
    Kind::RequestMade,
    Kind::RequestApproved,
    Kind::RequestMoved,
    Kind::RequestReviewed,
    Kind::GrantBegun,
    Kind::GrantEnded,
    Kind::GrantExtended,
    Kind::Certificate,
    Kind::Lock,
    Kind::Unlock,
    Kind::SessionBegun,
    Kind::SessionEnded,
    Kind::SessionKilled,
    Kind::SessionReviewed,
    Kind::SessionOdd,
    Kind::RecordingRead,
    Kind::RecordingWatched,
    Kind::RecordingsSearched,
    Kind::Held,
    Kind::Released,
    Kind::Deleted,
    Kind::BreakglassReceipt,
    Kind::BreakglassReviewed,
];
/// Most entries that are looked at.
const MAX_READ: u64 = 200_000;
/// How wrong a host's clock may be.
const SLACK: std::time::Duration = std::time::Duration::from_secs(3_600);
