//! Requests: asked, moved from state to state, listed. Each step is an entry; the row is what the entries say.
//!
//! A state is read again in the transaction that changes it, so that of two who decide at once one comes second and meets
//! what the first one decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policy::Question;
use wire::breakglass::LONGEST;
use wire::breakglass::pass::FIRST_USE;
use wire::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, RequestId, RoleName, Ticket,
};
use wire::lock::Target;
use wire::request::{Asked, MAX_HOSTS, RequestAsk, RequestFlaw, State};
use wire::review::Review;
use wire::time::Timestamp;

use super::entry::{self, Kind};
use super::risk::Bearing;
use super::sql::{Connection, OptionalExtension as _, Row, SqlError, params};
use super::{
    Actor, Ledger, LedgerError, approval, column, extend, grant, order, pass, restore, risk, team,
};
use crate::access::backing::case;
use crate::access::{Host, Rules, Standing, demand};
use crate::config::Patience;
use crate::key::Keyring;
use crate::policy::{Judged, Policy};
use crate::request::{Event, begin, settle, step};
use crate::risk::Reckoned;
use crate::role::{Holder, MIN_GRANT, Role, Roles};

/// Who asks for what, and by which rules.
#[derive(Debug, Clone)]
pub(crate) struct NewRequest {
    /// Who.
    pub(crate) identity: Identity,
    /// By what they are logged in, from where, and by which weights that is reckoned.
    pub(crate) bearing: Bearing,
    /// What.
    pub(crate) ask: RequestAsk,
    /// Whether the tracker has confirmed the ticket.
    pub(crate) confirmed: bool,
    /// The authority, by its root.
    pub(crate) authority: Fingerprint,
    /// The roles in force.
    pub(crate) roles: Arc<Roles>,
    /// The policy in force.
    pub(crate) policy: Policy,
    /// The keys that sign orders: an extension that needs no approval is one.
    pub(crate) keyring: Arc<Keyring>,
    /// How long it waits.
    pub(crate) patience: Patience,
}

/// Who says no to which request, and why.
#[derive(Debug, Clone)]
pub(crate) struct No {
    /// Which.
    pub(crate) request: RequestId,
    /// Who.
    pub(crate) by: Speaker,
    /// Why.
    pub(crate) reason: String,
}

/// Who speaks: a person, or whoever is at the authority's own machine.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    /// The person; nobody on the authority's machine.
    pub(crate) identity: Option<Identity>,
    /// Whether they may operate.
    pub(crate) is_operator: bool,
}

/// A request as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Its text.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) state: State,
    /// Why, if somebody said so.
    pub(crate) note: Option<String>,
    /// Whether the tracker confirmed its ticket.
    pub(crate) confirmed: bool,
    /// How much of a risk it was when it was asked for; nothing of those from before risks were reckoned.
    pub(crate) risk: Option<Reckoned>,
    /// The verdict on it, once somebody has reviewed it: of break-glass.
    pub(crate) review: Option<Review>,
}

/// Why a request, an approval or a withdrawal is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestRefusal {
    /// There is none, or it is none of the caller's business, which is told apart to nobody.
    #[error("there is no request {0}")]
    Unknown(RequestId),
    /// What is asked for is not theirs to ask; the same for a host that does not exist.
    #[error("role {role} does not let {identity} in on {host}")]
    NotYours {
        /// The role.
        role: RoleName,
        /// Who asked.
        identity: Identity,
        /// Where.
        host: HostName,
    },
    /// What is asked for breaks a rule; says which.
    #[error("{0}")]
    Malformed(String),
    /// Something else stands in the way; says what.
    #[error("{0}")]
    Conflict(String),
    /// It may not be; says why.
    #[error("{0}")]
    Denied(String),
    /// The policy in force does not let it be; says on which host, and what is missing.
    #[error("{host}: {judged}")]
    Policy {
        /// Where.
        host: HostName,
        /// What it was asked, and said.
        judged: Box<Judged>,
    },
}

impl RequestRefusal {
    fn judged(&self) -> Option<&Judged> {
        match self {
            Self::Policy { judged, .. } => Some(judged),
            _ => None,
        }
    }
}

impl From<RequestFlaw> for RequestRefusal {
    fn from(flaw: RequestFlaw) -> Self {
        Self::Malformed(flaw.to_string())
    }
}

impl Ledger {
    /// Takes a request. What needs no approval, by the rules of this moment, is approved at once.
    pub(crate) async fn make_request(
        &self,
        new: NewRequest,
        now: Timestamp,
    ) -> Result<Result<RequestId, RequestRefusal>, LedgerError> {
        let own = Arc::clone(&self.roles);
        self.write(move |connection| {
            super::role::refuse_others(connection, &own)?;
            let asked = match draft(connection, &new, now)? {
                Ok(Draft::New(asked)) => *asked,
                Ok(Draft::GoesOn(request)) => return Ok(Ok(request)),
                Err(refusal) => {
                    refused(connection, (&new.identity, None), &refusal, now)?;
                    return Ok(Err(refusal));
                }
            };
            let text = match asked.text() {
                Ok(text) => text,
                Err(flaw) => return Ok(Err(flaw.into())),
            };
            let confirmed = new.confirmed && asked.ticket.is_some();
            let rules = Rules::of(&new.roles, &new.policy);
            let risk = risk::reckon_request(connection, (&asked, &new.bearing), &rules, now)?;
            let (state, note, review) = (begin(&asked), None, None);
            let kept = Kept { state, text, note, confirmed, risk, review, asked };
            let policy = match judged(connection, (&kept, new.bearing.mfa_at), &rules, now)? {
                Ok(policy) => policy,
                Err(refusal) => {
                    refused(connection, (&new.identity, None), &refusal, now)?;
                    return Ok(Err(refusal));
                }
            };
            let asked = kept.text.as_str();
            let (by, policy, risk) = (&new.identity, policy.as_slice(), kept.risk.as_ref());
            let data = entry::RequestMade { by, asked, confirmed, policy, risk };
            entry::append(connection, Kind::RequestMade, now, &data)?;
            insert(connection, &kept.asked, (asked, confirmed), risk)?;
            if kept.asked.breakglass {
                pass::tell(connection, &kept.asked, now)?;
            }
            approval::recount(connection, &kept, (&rules, &new.keyring), now)?;
            Ok(Ok(kept.asked.request))
        })
        .await
    }

    /// An approver or an operator says no: what waits is denied, what was approved is taken away, with all that runs under it.
    pub(crate) async fn deny_request(
        &self,
        no: No,
        ((roles, policy), keyring): ((Arc<Roles>, Policy), Arc<Keyring>),
        now: Timestamp,
    ) -> Result<Result<State, RequestRefusal>, LedgerError> {
        self.write(move |connection| {
            let rules = Rules::of(&roles, &policy);
            let Some(kept) = visible(connection, no.request, (&no.by, &rules), now)? else {
                return Ok(Err(RequestRefusal::Unknown(no.request)));
            };
            let is_own = no.by.identity.as_ref() == Some(&kept.asked.identity);
            if is_own && !no.by.is_operator {
                let why = "this is your own request: take it back with `curfew withdraw`";
                return Ok(Err(RequestRefusal::Denied(why.into())));
            }
            let actor = no.by.actor();
            let said = (&actor, Some(no.reason.as_str()));
            let state = match happen(connection, &kept, Event::Denied, (said, now))? {
                Ok(state) => state,
                Err(refusal) => return Ok(Err(refusal)),
            };
            end_grants(connection, &keyring, &kept, ((&actor, &no.reason), now))?;
            Ok(Ok(state))
        })
        .await
    }

    /// Its owner takes it back.
    pub(crate) async fn withdraw_request(
        &self,
        (identity, request): (Identity, RequestId),
        reason: String,
        now: Timestamp,
    ) -> Result<Result<State, RequestRefusal>, LedgerError> {
        self.write(move |connection| {
            let kept = find(connection, request)?.filter(|kept| kept.asked.identity == identity);
            let Some(kept) = kept else { return Ok(Err(RequestRefusal::Unknown(request))) };
            let actor = Actor::person(&identity);
            happen(connection, &kept, Event::Withdrawn, ((&actor, Some(&reason)), now))
        })
        .await
    }

    /// Ends a request because its ticket does not serve any more, with all that runs under it.
    pub(crate) async fn end_request(
        &self,
        request: RequestId,
        (reason, keyring): (String, Arc<Keyring>),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let Some(kept) = find(connection, request)? else { return Ok(()) };
            let actor = Actor::rules();
            let said = (&actor, Some(reason.as_str()));
            // One that is over by now stays as it is.
            if happen(connection, &kept, Event::Denied, (said, now))?.is_ok() {
                end_grants(connection, &keyring, &kept, ((&actor, &reason), now))?;
            }
            Ok(())
        })
        .await
    }

    /// What the policy would be asked about a request at a certificate, host by host and login by login.
    pub(crate) async fn request_questions(
        &self,
        request: RequestId,
        (roles, policy): (Arc<Roles>, Policy),
        now: Timestamp,
    ) -> Result<Option<Vec<Question>>, LedgerError> {
        self.read(move |connection| {
            let Some(kept) = find(connection, request)? else { return Ok(None) };
            let backing = approval::backing(connection, &kept, now)?;
            let hosts = hosts(connection, &kept.asked)?;
            let rules = Rules::of(&roles, &policy);
            Ok(Some(demand::questions(&backing, (&hosts, &rules), now)))
        })
        .await
    }

    /// The tickets of requests that are not over, and whose they must be.
    pub(crate) async fn ticketed_requests(
        &self,
    ) -> Result<Vec<(RequestId, Ticket, Identity)>, LedgerError> {
        self.read(|connection| {
            let ticketed = live(connection)?.into_iter().filter_map(|Kept { asked, .. }| {
                Some((asked.request, asked.ticket?, asked.identity))
            });
            Ok(ticketed.collect())
        })
        .await
    }

    /// Records what time alone has done to requests. Decisions do not wait for it.
    pub(crate) async fn settle_requests(&self, now: Timestamp) -> Result<usize, LedgerError> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE due <= ? ORDER BY due LIMIT 200",
            )?;
            let due: Vec<Kept> =
                statement.query_map([now.millis()], kept)?.collect::<Result<_, _>>()?;
            for kept in &due {
                let state = settle(kept.state, now);
                if state != kept.state {
                    let said = (&Actor::time(), kept.note.as_deref());
                    put(connection, kept.asked.request, (state, said), now)?;
                }
            }
            Ok(due.len())
        })
        .await
    }

    /// Counts the approvals of all that waits anew: what they rest on has changed.
    pub(crate) async fn recount_requests(
        &self,
        ((roles, policy), keyring): ((Arc<Roles>, Policy), Arc<Keyring>),
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let own = Arc::clone(&self.roles);
        self.write(move |connection| {
            super::role::refuse_others(connection, &own)?;
            let rules = Rules::of(&roles, &policy);
            for kept in live(connection)? {
                if let State::Pending { .. } = settle(kept.state, now) {
                    approval::recount(connection, &kept, (&rules, &keyring), now)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Whether fewer people do for something that waits, since a while ago: that is no change of what is kept.
    pub(crate) async fn has_shrunk(
        &self,
        roles: Arc<Roles>,
        (since, now): (Timestamp, Timestamp),
    ) -> Result<bool, LedgerError> {
        if !roles.approval().can_shrink() {
            return Ok(false);
        }
        self.read(move |connection| {
            let owners = BTreeSet::new();
            let shrinks = |kept: &Kept| {
                let then = case(&kept.asked, &owners, since);
                let required = roles.find(&kept.asked.role).map(|role| &role.requires);
                let mut at = required
                    .into_iter()
                    .flatten()
                    .filter_map(|name| roles.approval().shrinks(name, &then));
                matches!(kept.state, State::Pending { .. }) && at.any(|at| at <= now)
            };
            Ok(live(connection)?.iter().any(shrinks))
        })
        .await
    }

    /// When time alone takes a request further next; and the epoch of now.
    pub(crate) async fn next_due(&self) -> Result<(Option<Timestamp>, u64), LedgerError> {
        self.read(|connection| {
            let due: Option<u64> = connection
                .prepare_cached("SELECT min(due) FROM requests")?
                .query_row((), |row| row.get(0))?;
            Ok((due.map(Timestamp::from_millis), grant::epoch(connection)?))
        })
        .await
    }
}

impl Speaker {
    /// As the ledger names them.
    pub(crate) fn actor(&self) -> Actor {
        self.identity.as_ref().map_or_else(Actor::local, Actor::person)
    }
}

/// A request before it is kept.
enum Draft {
    /// It is to be made.
    New(Box<Asked>),
    /// It is there already.
    GoesOn(RequestId),
}

/// Forms the request, if it may be asked.
fn draft(
    connection: &Connection,
    new: &NewRequest,
    now: Timestamp,
) -> Result<Result<Draft, RequestRefusal>, LedgerError> {
    let NewRequest { identity, ask, roles, .. } = new;
    let hosts: BTreeSet<HostName> = match ask.extends {
        None => ask.hosts.iter().cloned().collect(),
        Some(id) => match extended(connection, identity, (id, &ask.role), now)? {
            Ok(host) => BTreeSet::from([host]),
            Err(refusal) => return Ok(Err(refusal)),
        },
    };
    if let Err(wrong) = check(ask, &hosts, now) {
        return Ok(Err(RequestRefusal::Malformed(wrong)));
    }
    if let Some(barred) = barred(connection, identity, now)? {
        return Ok(Err(RequestRefusal::Denied(barred)));
    }
    let ((_, kind), teams) =
        (grant::standing(connection, identity)?, team::of(connection, identity)?);
    let holder = Holder { identity, kind, teams: &teams };
    let role = roles.find(&ask.role).filter(|role| role.is_had_by(holder));
    if let Some(host) = unreached(connection, role, &hosts)? {
        let (role, identity) = (ask.role.clone(), identity.clone());
        return Ok(Err(RequestRefusal::NotYours { role, identity, host }));
    }
    let Some(role) = role else {
        return Ok(Err(RequestRefusal::Malformed("name a host".into())));
    };
    if ask.breakglass {
        match pass::way(connection, (new, kind), &hosts, now)? {
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Ok(Draft::GoesOn(request))),
            Err(refusal) => return Ok(Err(refusal)),
        }
    } else if role.ticket && ask.ticket.is_none() {
        let why = format!("role {} needs a ticket: name it with --ticket", ask.role);
        return Ok(Err(RequestRefusal::Malformed(why)));
    }
    let duration_secs = ask.duration_secs.unwrap_or_else(|| usual_secs(ask, role));
    if duration_secs > role.max_secs {
        let why = format!("role {} lasts {} s at most", ask.role, role.max_secs);
        return Ok(Err(RequestRefusal::Malformed(why)));
    }
    if !ask.breakglass
        && let Some(other) = in_the_way(connection, identity, (&ask.role, &hosts))?
    {
        return Ok(Err(RequestRefusal::Conflict(other)));
    }
    form(connection, (new, role), (hosts, duration_secs), now).map(|asked| Ok(Draft::New(asked)))
}

/// How long it lasts when nobody says so.
fn usual_secs(ask: &RequestAsk, role: &Role) -> u64 {
    if ask.breakglass { role.default_secs.min(LONGEST.as_secs()) } else { role.default_secs }
}

/// What may be asked, under the next number.
fn form(
    connection: &Connection,
    (new, role): (&NewRequest, &Role),
    (hosts, duration_secs): (BTreeSet<HostName>, u64),
    now: Timestamp,
) -> Result<Box<Asked>, LedgerError> {
    let NewRequest { identity, ask, .. } = new;
    let number: u64 = connection
        .prepare_cached("SELECT coalesce(max(id), 0) FROM requests")?
        .query_row((), |row| row.get(0))?;
    let first_use = new.patience.first_use.as_secs();
    Ok(Box::new(Asked {
        version: wire::VERSION,
        authority: new.authority.clone(),
        request: RequestId::try_new(restore::after(connection, number)?)?,
        identity: identity.clone(),
        role: ask.role.clone(),
        logins: role.logins.clone(),
        hosts,
        duration_secs,
        start: ask.start,
        use_within_secs: if ask.breakglass {
            first_use.min(FIRST_USE.as_secs())
        } else {
            first_use
        },
        extends: ask.extends,
        reason: ask.reason.clone(),
        expected: ask.expected.clone(),
        ticket: ask.ticket.clone(),
        urgent: ask.urgent,
        breakglass: ask.breakglass,
        at: now,
        expires: expires(ask, (duration_secs, new.patience.approval), now),
    }))
}

/// What the policy says to the asking, host by host.
fn judged(
    connection: &Connection,
    (kept, mfa_at): (&Kept, Option<Timestamp>),
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Result<Vec<Judged>, RequestRefusal>, LedgerError> {
    let backing = approval::backing(connection, kept, now)?;
    let hosts = hosts(connection, &kept.asked)?;
    let judged = demand::judge_request(&backing, (&hosts, rules), (mfa_at, now));
    Ok(judged.map_err(|(host, judged)| RequestRefusal::Policy { host, judged }))
}

/// The first host that there is not, or that the role does not reach.
fn unreached(
    connection: &Connection,
    role: Option<&Role>,
    hosts: &BTreeSet<HostName>,
) -> Result<Option<HostName>, LedgerError> {
    for name in hosts {
        let host = grant::host_at(connection, &Address::try_new(name.as_str())?)?;
        let reaches = role.zip(host).is_some_and(|(role, host)| {
            host.name == *name && role.reaches(&host.name, &host.labels)
        });
        if !reaches {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// Until when it waits for approvals: never beyond the window that it is for.
fn expires(ask: &RequestAsk, (secs, patience): (u64, Duration), now: Timestamp) -> Timestamp {
    let waits = now.after(patience);
    let end = ask.start.map(|start| start.after(Duration::from_secs(secs)));
    end.map_or(waits, |end| end.min(waits))
}

/// What is wrong with the form of what is asked, if anything is.
fn check(ask: &RequestAsk, hosts: &BTreeSet<HostName>, now: Timestamp) -> Result<(), String> {
    if hosts.is_empty() {
        return Err("name a host".into());
    }
    if hosts.len() > MAX_HOSTS {
        return Err(format!("{} hosts are named; at most {MAX_HOSTS} are asked for", hosts.len()));
    }
    if ask.extends.is_some() && (!ask.hosts.is_empty() || ask.start.is_some()) {
        return Err("an extension is of one grant, and begins when that would end".into());
    }
    if ask.duration_secs.is_some_and(|secs| secs < MIN_GRANT.as_secs()) {
        return Err("a grant lasts at least 1 second".into());
    }
    match ask.start {
        Some(start) if start < now => Err("the start is in the past".into()),
        Some(start) if start > now.after(AHEAD) => {
            Err(format!("the start is more than {} days ahead", AHEAD.as_secs() / 86_400))
        }
        _ => Ok(()),
    }
}

/// The host of a grant that is to be extended: the caller's own, of that role, and not over.
fn extended(
    connection: &Connection,
    identity: &Identity,
    (id, role): (GrantId, &RoleName),
    now: Timestamp,
) -> Result<Result<HostName, RequestRefusal>, LedgerError> {
    let found: Option<HostName> = connection
        .prepare_cached(
            "SELECT host FROM grants WHERE id = ? AND identity = ? AND role = ? AND until > ?",
        )?
        .query_row(params![id.number(), identity.as_str(), role.as_str(), now.millis()], |row| {
            column::name(row, 0)
        })
        .optional()?;
    Ok(found.ok_or_else(|| {
        RequestRefusal::Malformed(format!("you have no grant {id} of role {role} under way"))
    }))
}

/// Why an identity may ask for nothing.
fn barred(
    connection: &Connection,
    identity: &Identity,
    now: Timestamp,
) -> Result<Option<String>, LedgerError> {
    if grant::standing(connection, identity)?.0 != Standing::Active {
        return Ok(Some(format!("{identity} is unknown or disabled")));
    }
    let locks = order::locks_in_force(connection, now)?;
    let own = Target::Identity(identity.clone());
    let lock = locks.iter().find(|lock| lock.target == own);
    Ok(lock.map(|lock| format!("{} is locked: {}", lock.target, lock.reason)))
}

/// Another request that this one repeats, or too many.
fn in_the_way(
    connection: &Connection,
    identity: &Identity,
    (role, hosts): (&RoleName, &BTreeSet<HostName>),
) -> Result<Option<String>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE identity = ? AND due IS NOT NULL",
    )?;
    let live: Vec<Kept> =
        statement.query_map([identity.as_str()], kept)?.collect::<Result<_, _>>()?;
    let pending = live.iter().filter(|kept| matches!(kept.state, State::Pending { .. }));
    let twin = pending
        .clone()
        .find(|kept| kept.asked.role == *role && !kept.asked.hosts.is_disjoint(hosts));
    if let Some(twin) = twin {
        let id = twin.asked.request;
        return Ok(Some(format!(
            "request {id} for role {role} waits already; withdraw it to ask anew: `curfew withdraw {id}`"
        )));
    }
    if pending.count() >= MOST_PENDING || live.len() >= MOST_LIVE {
        let (pending, live) = (MOST_PENDING, MOST_LIVE);
        return Ok(Some(format!(
            "you have too many requests; at most {pending} wait and {live} are under way"
        )));
    }
    Ok(None)
}

/// Lets an event happen to a request, and records it.
pub(super) fn happen(
    connection: &Connection,
    kept: &Kept,
    event: Event,
    (said, now): ((&Actor, Option<&str>), Timestamp),
) -> Result<Result<State, RequestRefusal>, LedgerError> {
    match step(&kept.asked, kept.state, event, now) {
        Ok(state) => {
            if state != kept.state {
                put(connection, kept.asked.request, (state, said), now)?;
            }
            Ok(Ok(state))
        }
        Err(why) => {
            Ok(Err(RequestRefusal::Conflict(format!("request {}: {why}", kept.asked.request))))
        }
    }
}

/// Records where a request stands now.
pub(super) fn put(
    connection: &Connection,
    request: RequestId,
    (state, (by, reason)): (State, (&Actor, Option<&str>)),
    now: Timestamp,
) -> Result<(), LedgerError> {
    let data = entry::RequestMoved { by, request, state, reason };
    entry::append(connection, Kind::RequestMoved, now, &data)?;
    set(connection, request, (state, reason))
}

/// The row of it. Every move counts the epoch, whatever it is: an entry whose body was erased leaves no doubt about that.
pub(super) fn set(
    connection: &Connection,
    request: RequestId,
    (state, note): (State, Option<&str>),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached("UPDATE requests SET state = ?, due = ?, note = ? WHERE id = ?")?
        .execute(params![
            serde_json::to_string(&state)?,
            state.due().map(Timestamp::millis),
            note,
            request.number()
        ])?;
    grant::bump_epoch(connection)
}

/// The rows of a new request.
pub(super) fn insert(
    connection: &Connection,
    asked: &Asked,
    (text, confirmed): (&str, bool),
    risk: Option<&Reckoned>,
) -> Result<(), LedgerError> {
    let (id, state) = (asked.request.number(), begin(asked));
    connection
        .prepare_cached(
            "INSERT INTO requests (id, identity, role, asked, state, due, extends, at, confirmed, risk, breakglass) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            asked.identity.as_str(),
            asked.role.as_str(),
            text,
            serde_json::to_string(&state)?,
            state.due().map(Timestamp::millis),
            asked.extends.map(GrantId::number),
            asked.at.millis(),
            confirmed,
            risk.map(serde_json::to_string).transpose()?,
            asked.breakglass
        ])?;
    let mut statement = connection
        .prepare_cached("INSERT INTO request_hosts (request, host, place) VALUES (?, ?, ?)")?;
    for (place, host) in (1_u64..).zip(&asked.hosts) {
        statement.execute(params![id, host.as_str(), place])?;
    }
    Ok(())
}

/// Records that something was not taken.
pub(super) fn refused(
    connection: &Connection,
    (by, request): (&Identity, Option<RequestId>),
    refusal: &RequestRefusal,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let (reason, policy) = (refusal.to_string(), refusal.judged());
    let data = entry::RequestRefused { by, request, reason, policy };
    entry::append(connection, Kind::RequestRefused, now, &data)?;
    Ok(())
}

/// A grant is used for the first time under a request, or again.
pub(super) fn used(
    connection: &Connection,
    (request, before): (RequestId, State),
    (by, now): (&Identity, Timestamp),
) -> Result<(), LedgerError> {
    let kept = find(connection, request)?.filter(|kept| kept.state == before);
    let Some(kept) = kept else { return Err(LedgerError::Stale) };
    let said = (&Actor::person(by), kept.note.as_deref());
    match happen(connection, &kept, Event::Used, (said, now))? {
        Ok(_) => Ok(()),
        Err(_meanwhile) => Err(LedgerError::Stale),
    }
}

/// A grant was ended: its request is over when it was the last one, and so are requests to extend it.
pub(super) fn given_back(
    connection: &Connection,
    grant: GrantId,
    (said, now): ((&Actor, Option<&str>), Timestamp),
) -> Result<(), LedgerError> {
    let own: Option<u64> = connection
        .prepare_cached("SELECT request FROM grants WHERE id = ?")?
        .query_row([grant.number()], |row| row.get(0))?;
    let own = own.map(RequestId::try_new).transpose()?;
    if let Some(request) = own
        && live_grants(connection, request, now)?.is_empty()
        && let Some(kept) = find(connection, request)?
    {
        // One that is over by now stays as it is.
        let _is_over = happen(connection, &kept, Event::Returned, (said, now))?;
    }
    for kept in extending(connection, grant)? {
        let event = match kept.state {
            State::Active { .. } => Event::Returned,
            _ => Event::Withdrawn,
        };
        let _is_over = happen(connection, &kept, event, (said, now))?;
    }
    Ok(())
}

/// A grant lasts longer: so does its request.
pub(super) fn lengthened(
    connection: &Connection,
    (grant, until): (GrantId, Timestamp),
    (by, now): (&Actor, Timestamp),
) -> Result<(), LedgerError> {
    let own: Option<u64> = connection
        .prepare_cached("SELECT request FROM grants WHERE id = ?")?
        .query_row([grant.number()], |row| row.get(0))?;
    if let Some(request) = own.map(RequestId::try_new).transpose()?
        && let Some(kept) = find(connection, request)?
    {
        let said = (by, kept.note.as_deref());
        let _is_over = happen(connection, &kept, Event::Extended(until), (said, now))?;
    }
    Ok(())
}

fn extending(connection: &Connection, grant: GrantId) -> Result<Vec<Kept>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE extends = ? AND due IS NOT NULL",
    )?;
    let rows = statement.query_map([grant.number()], kept)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends what ran under a request that is over now: its grants, or the grant that it made longer.
fn end_grants(
    connection: &Connection,
    keyring: &Keyring,
    kept: &Kept,
    ((by, reason), now): ((&Actor, &str), Timestamp),
) -> Result<(), LedgerError> {
    let mut grants = live_grants(connection, kept.asked.request, now)?;
    if let (Some(grant), State::Active { until }) = (kept.asked.extends, kept.state) {
        grants.push((grant, until));
    }
    for (grant, until) in grants {
        extend::end(connection, keyring, (grant, until), ((by, reason), now))?;
        given_back(connection, grant, ((by, Some(reason)), now))?;
    }
    Ok(())
}

/// The grants under a request that are not over.
pub(super) fn live_grants(
    connection: &Connection,
    request: RequestId,
    now: Timestamp,
) -> Result<Vec<(GrantId, Timestamp)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, until FROM grants WHERE request = ? AND until > ? ORDER BY id",
    )?;
    let rows = statement.query_map(params![request.number(), now.millis()], |row| {
        Ok((column::number(row, 0, GrantId::try_new)?, column::moment(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All that are not over.
fn live(connection: &Connection) -> Result<Vec<Kept>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE due IS NOT NULL ORDER BY id",
    )?;
    let rows = statement.query_map((), kept)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A request.
pub(super) fn find(
    connection: &Connection,
    request: RequestId,
) -> Result<Option<Kept>, LedgerError> {
    Ok(connection
        .prepare_cached(
            "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE id = ?",
        )?
        .query_row([request.number()], kept)
        .optional()?)
}

/// A request, if it is any of the speaker's business: their own, one that they can approve, or any for an operator.
pub(super) fn visible(
    connection: &Connection,
    request: RequestId,
    (by, rules): (&Speaker, &Rules<'_>),
    now: Timestamp,
) -> Result<Option<Kept>, LedgerError> {
    let Some(kept) = find(connection, request)? else { return Ok(None) };
    let is_theirs = match &by.identity {
        None => by.is_operator,
        Some(_) if by.is_operator => true,
        Some(who) if *who == kept.asked.identity => true,
        Some(who) => approval::has_a_say(connection, &kept, (who, rules), now)?,
    };
    Ok(Some(kept).filter(|_| is_theirs))
}

/// The hosts of a request that there are.
pub(super) fn hosts(connection: &Connection, asked: &Asked) -> Result<Vec<Host>, LedgerError> {
    let mut found = Vec::new();
    for name in &asked.hosts {
        let host = grant::host_at(connection, &Address::try_new(name.as_str())?)?;
        found.extend(host.filter(|host| host.name == *name));
    }
    Ok(found)
}

/// A row of a request: its text, its state, its note, whether its ticket was confirmed, its risk.
pub(super) fn kept(row: &Row<'_>) -> Result<Kept, SqlError> {
    let text: String = row.get(0)?;
    let asked = Asked::parse(&text).map_err(|flaw| SqlError::column(0, flaw))?;
    let (state, note, confirmed) = (column::json(row, 1)?, row.get(2)?, row.get(3)?);
    let (risk, review) = (column::maybe_json(row, 4)?, column::maybe_json(row, 5)?);
    Ok(Kept { asked, text, state, note, confirmed, risk, review })
}

/// The columns of a [`Kept`].
pub(super) const COLUMNS: &str = "asked, state, note, confirmed, risk, review";
/// How far ahead a start can be.
const AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most requests of one person that wait at once, so that nobody buries approvers.
const MOST_PENDING: usize = 20;
/// Most that are under way at once.
const MOST_LIVE: usize = 100;
