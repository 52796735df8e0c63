//! Break-glass while the authority is up, as it is kept: requests of a kind of their own, verdicts on them, and what hosts told.

use std::collections::BTreeSet;

use wire::breakglass::{LONGEST, pass};
use wire::ceremony::{PassSeen, PassView};
use wire::identifier::{HostName, Identity, RequestId};
use wire::identity::Kind as Being;
use wire::incident::Cause;
use wire::record::Incident;
use wire::request::{Asked, RequestAsk};
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::request::{self, Kept, NewRequest, RequestRefusal};
use super::sql::{Connection, Row, SqlError, params};
use super::{Actor, Ledger, LedgerError, ceremony, column, grant, incident};
use crate::access::Standing;
use crate::pass::{Taken, Turn, turn};

/// Somebody's word on a use of break-glass.
#[derive(Debug, Clone)]
pub(crate) struct NewVerdict {
    /// Which.
    pub(crate) request: RequestId,
    /// Who says it.
    pub(crate) reviewer: Identity,
    /// Who hands it in.
    pub(crate) by: Actor,
    /// What it was.
    pub(crate) verdict: Verdict,
    /// And what was done.
    pub(crate) note: String,
}

impl Ledger {
    /// Keeps a verdict on a use of break-glass; `ok` settles its incidents too. A later verdict takes its place, and both stay here.
    pub(crate) async fn review_pass(
        &self,
        new: NewVerdict,
        now: Timestamp,
    ) -> Result<Result<Review, RequestRefusal>, LedgerError> {
        self.write(move |connection| {
            let found = request::find(connection, new.request)?;
            let Some(kept) = found.filter(|kept| kept.asked.breakglass) else {
                return Ok(Err(RequestRefusal::Unknown(new.request)));
            };
            let is_person =
                grant::standing(connection, &new.reviewer)? == (Standing::Active, Being::Person);
            if !is_person {
                let why = format!("{} is no active person here", new.reviewer);
                return Ok(Err(RequestRefusal::Denied(why)));
            }
            let taken = taken(connection, kept)?;
            if let Some(why) = taken.refuses(&new.reviewer, now) {
                return Ok(Err(RequestRefusal::Conflict(why)));
            }
            keep(connection, &new, now).map(Ok)
        })
        .await
    }

    /// What somebody asked for who took break-glass.
    pub(crate) async fn taken_pass(
        &self,
        request: RequestId,
    ) -> Result<Option<Asked>, LedgerError> {
        self.read(move |connection| {
            let found = request::find(connection, request)?;
            Ok(found.map(|kept| kept.asked).filter(|asked| asked.breakglass))
        })
        .await
    }
}

fn keep(connection: &Connection, new: &NewVerdict, now: Timestamp) -> Result<Review, LedgerError> {
    let NewVerdict { request, reviewer, by, verdict, note } = new;
    let data = entry::RequestReviewed { by, reviewer, request: *request, verdict: *verdict, note };
    entry::append(connection, Kind::RequestReviewed, now, &data)?;
    let review = Review {
        verdict: *verdict,
        by: reviewer.to_string(),
        at: now,
        note: note.clone(),
        gap: None,
    };
    write_review(connection, *request, &review)?;
    if *verdict == Verdict::Ok {
        for number in open_incidents(connection, *request)? {
            incident::settle(connection, by, (number, note), now)?;
        }
    }
    Ok(review)
}

/// The verdict beside its request.
pub(super) fn write_review(
    connection: &Connection,
    request: RequestId,
    review: &Review,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE requests SET review = ? WHERE id = ?")?
        .execute(params![serde_json::to_string(review)?, request.number()])?;
    Ok(())
}

/// What stands in the way of break-glass for somebody who has the role there; or their own that goes on.
pub(super) fn way(
    connection: &Connection,
    (new, kind): (&NewRequest, Being),
    hosts: &BTreeSet<HostName>,
    now: Timestamp,
) -> Result<Result<Option<RequestId>, RequestRefusal>, LedgerError> {
    let denied = |why: &str| Ok(Err(RequestRefusal::Denied(why.to_owned())));
    if let Err(wrong) = check(&new.ask) {
        return Ok(Err(RequestRefusal::Malformed(wrong.to_owned())));
    }
    if kind != Being::Person {
        return denied("break-glass is for people, and not for workloads");
    }
    let is_shown = new.bearing.mfa_at.is_some_and(|at| now.since(at) <= pass::FACTOR_AGE);
    if !is_shown {
        return denied(
            "break-glass asks for a second factor that was shown in the last 10 minutes: log in again with one (`curfew login`)",
        );
    }
    Ok(match turn(&of(connection, &new.identity)?, (&new.ask.role, hosts), now) {
        Turn::Free => Ok(None),
        Turn::GoesOn(request) => Ok(Some(request)),
        Turn::Waits(why) => Err(RequestRefusal::Conflict(why)),
    })
}

/// What break-glass cannot be together with.
fn check(ask: &RequestAsk) -> Result<(), &'static str> {
    if ask.extends.is_some() {
        return Err("break-glass makes no grant longer");
    }
    if ask.start.is_some() {
        return Err("break-glass is for now: it has no start");
    }
    if ask.ticket.is_some() {
        return Err("break-glass waits for no tracker: name the ticket in the reason");
    }
    if ask.duration_secs.is_some_and(|secs| secs > LONGEST.as_secs()) {
        return Err("break-glass lasts an hour at most");
    }
    Ok(())
}

/// Tells of a request for break-glass, before anything can be done under it.
pub(super) fn tell(
    connection: &Connection,
    asked: &Asked,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let cause = Cause::BreakGlass {
        request: asked.request,
        identity: asked.identity.clone(),
        role: asked.role.clone(),
        reason: asked.reason.clone(),
    };
    asked.hosts.iter().try_for_each(|host| incident::open(connection, host, &cause, (1, now)))
}

/// Whether a grant is under break-glass, which nothing makes longer.
pub(super) fn is_above(
    connection: &Connection,
    grant: wire::identifier::GrantId,
) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM grants JOIN requests ON requests.id = grants.request WHERE grants.id = ? AND requests.breakglass",
        )?
        .exists([grant.number()])?)
}

/// A request with what became of it.
pub(super) fn taken(connection: &Connection, kept: Kept) -> Result<Taken, LedgerError> {
    let id = kept.asked.request.number();
    let is_used = connection
        .prepare_cached("SELECT 1 FROM grants WHERE request = ? LIMIT 1")?
        .exists([id])?;
    let alive = connection
        .prepare_cached(
            "SELECT count(*) FROM sessions JOIN grants ON id = grant_id WHERE request = ? AND ended IS NULL",
        )?
        .query_row([id], |row| row.get(0))?;
    Ok(Taken { asked: kept.asked, state: kept.state, is_used, alive, review: kept.review })
}

/// All of it, the newest first.
pub(super) fn all(connection: &Connection) -> Result<Vec<PassView>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM requests WHERE breakglass ORDER BY id DESC LIMIT {LISTED}",
        request::COLUMNS
    ))?;
    let kept: Vec<Kept> = statement.query_map((), request::kept)?.collect::<Result<_, _>>()?;
    kept.into_iter()
        .map(|kept| {
            let taken = taken(connection, kept)?;
            let uses = seen(connection, taken.asked.request)?;
            let due = taken.due();
            let Taken { asked, state, is_used, alive, review } = taken;
            let hosts = asked.hosts.into_iter().collect();
            let (request, identity, role) = (asked.request, asked.identity, asked.role);
            let (reason, at) = (asked.reason, asked.at);
            Ok(PassView {
                request,
                identity,
                role,
                hosts,
                reason,
                at,
                state,
                is_used,
                alive,
                uses,
                due,
                review,
            })
        })
        .collect()
}

fn of(connection: &Connection, identity: &Identity) -> Result<Vec<Taken>, LedgerError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM requests WHERE breakglass AND identity = ? AND (due IS NOT NULL OR review IS NULL) ORDER BY id",
        request::COLUMNS
    ))?;
    let kept: Vec<Kept> =
        statement.query_map([identity.as_str()], request::kept)?.collect::<Result<_, _>>()?;
    kept.into_iter().map(|kept| taken(connection, kept)).collect()
}

/// What hosts told of its uses.
fn seen(connection: &Connection, request: RequestId) -> Result<Vec<PassSeen>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, settled IS NULL, host, cause FROM incidents WHERE name LIKE ? ORDER BY number",
    )?;
    let rows = statement.query_map([format!("pass {request} %")], use_of)?;
    let found = rows.collect::<Result<Vec<_>, _>>()?;
    let mut uses: Vec<PassSeen> = found.into_iter().flatten().collect();
    for seen in &mut uses {
        let which = (&seen.host, seen.used.subject.serial);
        ceremony::settle_alarms(connection, which, &mut seen.used.alarms)?;
    }
    Ok(uses)
}

fn use_of(row: &Row<'_>) -> Result<Option<PassSeen>, SqlError> {
    let Cause::Reported(Incident::Pass(used)) = column::json(row, 3)? else { return Ok(None) };
    let (incident, is_open, host) = (row.get(0)?, row.get(1)?, column::name(row, 2)?);
    Ok(Some(PassSeen { incident, is_open, host, used: *used }))
}

fn open_incidents(connection: &Connection, request: RequestId) -> Result<Vec<u64>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT number FROM incidents WHERE settled IS NULL AND (name = ? OR name LIKE ?) ORDER BY number",
    )?;
    let (taken, used) = (format!("taken {request}"), format!("pass {request} %"));
    let rows = statement.query_map(params![taken, used], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Most of them in one listing.
const LISTED: u64 = 1_000;
