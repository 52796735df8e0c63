//! Approvals: signatures of people over what they approve, taken, counted, and shown.
//!
//! Whoever can write into the database can put rows here, and gains nothing: each time approvals are counted their signatures are
//! verified again, by keys that are enrolled at that moment, over the text of the request as it is.

use std::sync::Arc;
use std::time::Duration;

use policy::Verdict;
use ssh_key::PublicKey;
use wire::identifier::{Fingerprint, GrantId, HostName, Identity, QuorumName, RequestId};
use wire::identity::Kind;
use wire::incident::Cause;
use wire::lock::{Lock, Target};
use wire::log::Hash;
use wire::request::{Approval, ApprovalView, RequestDetail, RequestView, SignedApproval, State};
use wire::time::Timestamp;

use super::entry;
use super::request::{self, Kept, RequestRefusal, Speaker};
use super::sql::{Connection, OptionalExtension as _, params};
use super::{Actor, Ledger, LedgerError, column, extend, grant, incident, order, pass, team};
use crate::access::backing::{self, Approver, Backing, Requester, Rule, case};
use crate::access::demand::{Voice, demand, judge_approval};
use crate::access::{Host, Rules, Standing};
use crate::approval::Candidate;
use crate::key::Keyring;
use crate::policy::{Judged, Policy};
use crate::risk::{Reckoned, Risk};
use crate::role::{Role, Roles};

#[path = "approval/lacking.rs"]
mod lacking;

/// Who approves what, with what they signed.
#[derive(Debug, Clone)]
pub(crate) struct NewApproval {
    /// Who.
    pub(crate) by: Identity,
    /// When they last showed a second factor in this login.
    pub(crate) mfa_at: Option<Timestamp>,
    /// Which request.
    pub(crate) request: RequestId,
    /// What they signed.
    pub(crate) signed: SignedApproval,
}

/// A row of an approval.
struct Row {
    by: Identity,
    key: Fingerprint,
    signed: SignedApproval,
    at: Timestamp,
    mfa_at: Option<Timestamp>,
}

impl Ledger {
    /// Takes an approval, counts, and lets the request go on if nothing is missing any more: in one transaction.
    pub(crate) async fn approve_request(
        &self,
        new: NewApproval,
        ((roles, policy), keyring): ((Arc<Roles>, Policy), Arc<Keyring>),
        now: Timestamp,
    ) -> Result<Result<State, RequestRefusal>, LedgerError> {
        let own = Arc::clone(&self.roles);
        self.write(move |connection| {
            super::role::refuse_others(connection, &own)?;
            let speaker = Speaker { identity: Some(new.by.clone()), is_operator: false };
            // Before anything is said of the request: who has no business with it learns nothing.
            let rules = Rules::of(&roles, &policy);
            let seen = request::visible(connection, new.request, (&speaker, &rules), now)?;
            let Some(kept) = seen else { return Ok(Err(RequestRefusal::Unknown(new.request))) };
            match take(connection, (&kept, &new), &rules, now)? {
                Ok(()) => Ok(Ok(recount(connection, &kept, (&rules, &keyring), now)?)),
                Err(refusal) => {
                    let about = (&new.by, Some(new.request));
                    request::refused(connection, about, &refusal, now)?;
                    Ok(Err(refusal))
                }
            }
        })
        .await
    }

    /// Requests that are any of the speaker's business: those under way, and with `all` the last ones that are over.
    pub(crate) async fn requests(
        &self,
        (by, all): (Speaker, bool),
        (roles, policy): (Arc<Roles>, Policy),
        now: Timestamp,
    ) -> Result<Vec<RequestView>, LedgerError> {
        self.read(move |connection| {
            let rules = Rules::of(&roles, &policy);
            let mut statement = connection.prepare_cached(
                "SELECT asked, state, note, confirmed, risk, review FROM requests WHERE ? OR due IS NOT NULL ORDER BY id DESC LIMIT 1000",
            )?;
            let found: Vec<Kept> =
                statement.query_map([all], request::kept)?.collect::<Result<_, _>>()?;
            let mut views = Vec::new();
            for kept in found {
                let view = view(connection, &kept, (by.identity.as_ref(), &rules), now)?;
                let is_theirs = by.identity.as_ref() == Some(&view.identity);
                let may_look = by.is_operator || is_theirs || view.yours_to_approve;
                let has_a_say = || match &by.identity {
                    Some(who) => has_a_say(connection, &kept, (who, &rules), now),
                    None => Ok(true),
                };
                if may_look || has_a_say()? {
                    views.push(view);
                }
            }
            Ok(views)
        })
        .await
    }

    /// All that there is to a request, if it is any of the speaker's business.
    pub(crate) async fn request(
        &self,
        (by, request): (Speaker, RequestId),
        ((roles, policy), risk): ((Arc<Roles>, Policy), Risk),
        now: Timestamp,
    ) -> Result<Option<RequestDetail>, LedgerError> {
        self.read(move |connection| {
            let rules = Rules::of(&roles, &policy);
            let seen = request::visible(connection, request, (&by, &rules), now)?;
            let Some(kept) = seen else { return Ok(None) };
            let view = view(connection, &kept, (by.identity.as_ref(), &rules), now)?;
            let (missing, demanded) = if view.state.is_live() {
                lacking::lacking(connection, &kept, &rules, now)?
            } else {
                Default::default()
            };
            let approvals = views(connection, &kept, &rules, now)?;
            let grants = grants_of(connection, &kept)?;
            let (weights, policy) = (risk, roles.digest()?);
            let Kept { text, note, risk, .. } = kept;
            Ok(Some(RequestDetail {
                view,
                text,
                policy,
                now,
                approvals,
                missing,
                demanded,
                risk: risk.map(|reckoned| weights.view(&reckoned)),
                grants,
                note,
            }))
        })
        .await
    }
}

/// Checks an approval and keeps it.
fn take(
    connection: &Connection,
    (kept, new): (&Kept, &NewApproval),
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Result<(), RequestRefusal>, LedgerError> {
    let denied = |why: &str| Ok(Err(RequestRefusal::Denied(why.to_owned())));
    let asked = &kept.asked;
    if new.by == asked.identity {
        return denied("nobody approves their own request, operators included");
    }
    if let State::Ended { how, .. } = backing::current(kept.state, now) {
        let (id, how) = (asked.request, how.word());
        return Ok(Err(RequestRefusal::Conflict(format!("request {id} is over: {how}"))));
    }
    let locks = order::locks_in_force(connection, now)?;
    let me = candidate(connection, &new.by, (&locks, now))?;
    if !me.is_active {
        return denied("only people approve, and none who is disabled or locked");
    }
    let Some((key, text)) = signer(connection, (&new.by, &new.signed.signature), &locks)? else {
        return denied("the signature is by no key of yours that is enrolled and not locked");
    };
    let (said, _presence) = match new.signed.verify(&text) {
        Ok(verified) => verified,
        Err(flaw) => return Ok(Err(RequestRefusal::Denied(format!("the approval: {flaw}")))),
    };
    if let Err(why) = agrees(&said, (kept, new), (rules.roles.digest()?, now)) {
        return denied(why);
    }
    let known = connection
        .prepare_cached("SELECT 1 FROM approvals WHERE request = ? AND identity = ?")?
        .exists(params![asked.request.number(), new.by.as_str()])?;
    if known {
        let why = "you have approved this request already; one person counts once";
        return Ok(Err(RequestRefusal::Conflict(why.into())));
    }
    let policy = match judged(connection, (kept, new), (&me, rules), now)? {
        Ok(policy) => policy,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let data = entry::Approved {
        by: &new.by,
        request: asked.request,
        key: &key,
        public_key: &text.to_openssh().map_err(unwritable)?,
        signed: &new.signed,
        mfa_at: new.mfa_at,
        policy: &policy,
    };
    entry::append(connection, entry::Kind::RequestApproved, now, &data)?;
    insert(connection, (asked.request, &new.by, &key), (&new.signed, new.mfa_at, now))?;
    Ok(Ok(()))
}

/// What the policy says to an approval, host by host: one that it lets count on no host at all is not taken.
fn judged(
    connection: &Connection,
    (kept, new): (&Kept, &NewApproval),
    (me, rules): (&Candidate, &Rules<'_>),
    now: Timestamp,
) -> Result<Result<Vec<Judged>, RequestRefusal>, LedgerError> {
    let backing = backing(connection, kept, now)?;
    let operator = grant::is_operator(connection, &new.by)?;
    let voice = Voice { candidate: me, operator, mfa_at: new.mfa_at, at: now };
    let hosts = request::hosts(connection, &kept.asked)?;
    let judge = |host: &Host| judge_approval(&backing, &voice, (host, rules));
    let said: Vec<Judged> = hosts.iter().map(judge).collect();
    let is_yes = |judged: &Judged| matches!(judged.verdict(), Verdict::Allowed { .. });
    if said.iter().any(is_yes) {
        return Ok(Ok(said));
    }
    let says_more = |judged: &Judged| !matches!(judged.verdict(), Verdict::NotEligible);
    let place = said.iter().position(says_more).unwrap_or(0);
    Ok(Err(match hosts.into_iter().zip(said).nth(place) {
        Some((host, judged)) => {
            RequestRefusal::Policy { host: host.name, judged: Box::new(judged) }
        }
        None => RequestRefusal::Denied("none of its hosts is there any more".into()),
    }))
}

/// Whether what was signed is about this request, as it is, by these rules, now.
fn agrees(
    said: &Approval,
    (kept, new): (&Kept, &NewApproval),
    (policy, now): (Hash, Timestamp),
) -> Result<(), &'static str> {
    let asked = &kept.asked;
    if said.authority != asked.authority {
        return Err("the approval is for another authority");
    }
    if said.request != asked.request {
        return Err("the approval is of another request");
    }
    if said.hash != Hash::of(kept.text.as_bytes()) {
        return Err("the approval is of another text: the request is not as it was shown");
    }
    if said.by != new.by {
        return Err("the approval names somebody else");
    }
    if said.duration_secs == 0 || said.duration_secs > asked.duration_secs {
        return Err("an approver can shorten what is asked for, and not lengthen it");
    }
    if said.policy != policy {
        return Err("the rules have changed since the request was shown; look at it again");
    }
    if said.at > now.after(SKEW) || said.at < now.before(FRESH) {
        return Err("the approval was not signed just now; approve again");
    }
    if said.until <= now || said.until > asked.latest_start().after(SKEW) {
        return Err("the approval's end is past, or beyond that of the request");
    }
    Ok(())
}

/// Counts what is there, and lets the request go on if nothing is missing any more.
pub(super) fn recount(
    connection: &Connection,
    kept: &Kept,
    (rules, keyring): (&Rules<'_>, &Keyring),
    now: Timestamp,
) -> Result<State, LedgerError> {
    let (asked, roles) = (&kept.asked, rules.roles);
    let Some(role) = roles.find(&asked.role) else { return Ok(kept.state) };
    let backing = backing(connection, kept, now)?;
    let shortest = rows(connection, asked.request)?
        .iter()
        .filter_map(|row| row.signed.read().ok())
        .map(|said| said.duration_secs)
        .chain([asked.duration_secs])
        .min();
    let rule = Rule { name: &asked.role, role, rules, longest: now, now };
    let hosts = request::hosts(connection, asked)?;
    let secs = shortest.unwrap_or(0);
    let state = match backing::approved(&backing, &hosts, (&rule, secs)) {
        Ok(state) if state != kept.state => state,
        Ok(_) | Err(_) => return Ok(kept.state),
    };
    let why = grounds(&backing, role, now);
    request::put(connection, asked.request, (state, (&Actor::rules(), Some(&why))), now)?;
    tell_shrunk(connection, (&backing, &hosts), &rule, now)?;
    match asked.extends {
        Some(grant) => {
            let kept = Kept { state, note: Some(why), ..kept.clone() };
            extend_it(connection, (&kept, grant, secs), (rules, keyring), now)
        }
        None => Ok(state),
    }
}

/// That fewer people approved than there are seats is an incident on each host where it is so.
fn tell_shrunk(
    connection: &Connection,
    (backing, hosts): (&Backing, &[Host]),
    rule: &Rule<'_>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    for host in hosts {
        for (quorum, by) in backing.shrunk(host, rule) {
            let asked = &backing.asked;
            let (request, identity) = (asked.request, asked.identity.clone());
            let cause = Cause::Shrunk { request, identity, role: asked.role.clone(), quorum, by };
            incident::open(connection, &host.name, &cause, (1, now))?;
        }
    }
    Ok(())
}

/// On what a request is approved, in words.
fn grounds(backing: &Backing, role: &Role, now: Timestamp) -> String {
    let names: Vec<String> =
        backing.people(now).map(|one| one.candidate.identity.to_string()).collect();
    if backing.asked.breakglass {
        return "break-glass: nobody approved it".into();
    }
    match (role.requires.is_empty(), names.is_empty()) {
        (true, true) => "no approval is required".into(),
        (false, true) => "who asks is on call".into(),
        (_, false) => format!("approved by {}", names.join(", ")),
    }
}

/// An approved extension is one at once: the grant gets its later end, by an order to its host.
fn extend_it(
    connection: &Connection,
    (kept, grant, secs): (&Kept, GrantId, u64),
    (rules, keyring): (&Rules<'_>, &Keyring),
    now: Timestamp,
) -> Result<State, LedgerError> {
    let asked = &kept.asked;
    let by = Actor::person(&asked.identity);
    let wish = extend::GrantWish {
        grant,
        owner: Some(asked.identity.clone()),
        by: by.clone(),
        reason: asked.reason.to_string(),
        mfa_at: None,
    };
    let backing = backing(connection, kept, now)?;
    let span = Duration::from_secs(secs);
    let said = (&wish, span, backing);
    let (state, why) = match extend::approved(connection, said, (rules, keyring), now) {
        Ok(Ok(until)) => (State::Active { until }, kept.note.clone().unwrap_or_default()),
        Ok(Err(denial)) => (over(now), denial.to_string()),
        Err(LedgerError::Conflict(why) | LedgerError::NotFound(why)) => (over(now), why),
        Err(error) => return Err(error),
    };
    request::put(connection, asked.request, (state, (&Actor::rules(), Some(&why))), now)?;
    Ok(state)
}

const fn over(now: Timestamp) -> State {
    State::Ended { how: wire::request::End::Unused, at: now }
}

/// A request and its approvals whose signatures hold, as the decision takes them.
pub(super) fn backing(
    connection: &Connection,
    kept: &Kept,
    now: Timestamp,
) -> Result<Backing, LedgerError> {
    let locks = order::locks_in_force(connection, now)?;
    let mut approvals = Vec::new();
    for row in rows(connection, kept.asked.request)? {
        match holds(connection, kept, &row, &locks)? {
            Ok(said) => approvals.push(Approver {
                candidate: candidate(connection, &row.by, (&locks, now))?,
                operator: grant::is_operator(connection, &row.by)?,
                at: row.at,
                mfa_at: row.mfa_at,
                until: said.until,
            }),
            Err(why) => {
                let (request, by) = (kept.asked.request, &row.by);
                tracing::warn!(%request, %by, why, "an approval does not count");
            }
        }
    }
    Ok(Backing {
        who: requester(connection, &kept.asked.identity)?,
        window: window(connection, kept.asked.extends)?,
        ticket_open: kept.confirmed,
        risk: kept.risk.as_ref().map(Reckoned::score),
        asked: kept.asked.clone(),
        state: kept.state,
        approvals,
    })
}

/// Who asks, as they stand now.
pub(super) fn requester(
    connection: &Connection,
    identity: &Identity,
) -> Result<Requester, LedgerError> {
    let (standing, kind) = grant::standing(connection, identity)?;
    let teams = team::of(connection, identity)?;
    Ok(Requester { standing, kind, teams, operator: grant::is_operator(connection, identity)? })
}

/// From when until when the grant goes that is to last longer.
pub(super) fn window(
    connection: &Connection,
    grant: Option<GrantId>,
) -> Result<Option<(Timestamp, Timestamp)>, LedgerError> {
    let Some(grant) = grant else { return Ok(None) };
    Ok(connection
        .prepare_cached("SELECT began, until FROM grants WHERE id = ?")?
        .query_row([grant.number()], |row| Ok((column::moment(row, 0)?, column::moment(row, 1)?)))
        .optional()?)
}

/// The requests of an identity that bear on a host, as the decision takes them.
pub(super) fn backings(
    connection: &Connection,
    (identity, host): (&Identity, &HostName),
    now: Timestamp,
) -> Result<Vec<Backing>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT asked, state, note, confirmed, risk, review FROM requests JOIN request_hosts ON request = id \
         WHERE identity = ? AND host = ? AND due IS NOT NULL AND extends IS NULL ORDER BY id",
    )?;
    let found: Vec<Kept> = statement
        .query_map(params![identity.as_str(), host.as_str()], request::kept)?
        .collect::<Result<_, _>>()?;
    found.iter().map(|kept| backing(connection, kept, now)).collect()
}

/// Whether somebody's approval would count for a request, or would have.
pub(super) fn has_a_say(
    connection: &Connection,
    kept: &Kept,
    (who, rules): (&Identity, &Rules<'_>),
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let asked = &kept.asked;
    let Some(role) = rules.roles.find(&asked.role).filter(|_| *who != asked.identity) else {
        return Ok(false);
    };
    let locks = order::locks_in_force(connection, now)?;
    let me = candidate(connection, who, (&locks, now))?;
    if !me.is_active {
        return Ok(false);
    }
    let operator = grant::is_operator(connection, who)?;
    let voice = Voice { candidate: &me, operator, mfa_at: None, at: now };
    let (hosts, quorums) = (request::hosts(connection, asked)?, rules.roles.approval());
    let backing = backing(connection, kept, now)?;
    Ok(hosts.iter().any(|host| {
        let owners = backing::owners(&host.labels);
        let case = case(asked, &owners, now);
        let fills = |name: &QuorumName| quorums.has_a_say(name, &me, &case);
        let is_wanted = || {
            // As it was before anybody approved: what is met has its people too.
            let demand = demand(&backing, ((host, rules), &[], (asked.duration_secs, now)));
            demand.quorums().any(fills) || demand.lacking.iter().any(|one| one.approvers)
        };
        let fits = role.requires.iter().any(fills) || (kept.state.is_live() && is_wanted());
        fits && may_approve(&backing, &voice, (host, rules))
    }))
}

/// Whether the policy lets somebody approve a request on a host at all; what it demands for that can be missing still.
fn may_approve(backing: &Backing, voice: &Voice<'_>, (host, rules): (&Host, &Rules<'_>)) -> bool {
    let judged = judge_approval(backing, voice, (host, rules));
    !matches!(judged.verdict(), Verdict::NotEligible | Verdict::Refused(_))
}

/// A request in a listing.
fn view(
    connection: &Connection,
    kept: &Kept,
    (who, rules): (Option<&Identity>, &Rules<'_>),
    now: Timestamp,
) -> Result<RequestView, LedgerError> {
    let asked = &kept.asked;
    let state = backing::current(kept.state, now);
    let waits = matches!(state, State::Pending { .. });
    let given = rows(connection, asked.request)?.into_iter().any(|row| Some(&row.by) == who);
    let taken = match asked.breakglass {
        true => Some(pass::taken(connection, kept.clone())?),
        false => None,
    };
    let yours = match who {
        Some(who) if waits && !given => has_a_say(connection, kept, (who, rules), now)?,
        _ => false,
    };
    Ok(RequestView {
        request: asked.request,
        identity: asked.identity.clone(),
        role: asked.role.clone(),
        hosts: asked.hosts.iter().cloned().collect(),
        duration_secs: asked.duration_secs,
        reason: asked.reason.clone(),
        urgent: asked.urgent,
        breakglass: asked.breakglass,
        review_due: taken.and_then(|taken| taken.due()),
        review: kept.review.clone(),
        at: asked.at,
        state,
        yours_to_approve: yours,
    })
}

fn views(
    connection: &Connection,
    kept: &Kept,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Vec<ApprovalView>, LedgerError> {
    let locks = order::locks_in_force(connection, now)?;
    let (backing, hosts) =
        (backing(connection, kept, now)?, request::hosts(connection, &kept.asked)?);
    let counts = |by: &Identity| {
        hosts.iter().any(|host| {
            backing.counted(host, (rules, now)).iter().any(|person| person.identity == *by)
        })
    };
    let mut views = Vec::new();
    for row in rows(connection, kept.asked.request)? {
        let held = holds(connection, kept, &row, &locks)?;
        let duration_secs = held.as_ref().map_or(0, |said| said.duration_secs);
        let person = candidate(connection, &row.by, (&locks, now))?;
        let void = match held {
            Err(why) => Some(why.to_owned()),
            Ok(_) if !person.is_active => Some("who gave it is disabled or locked".into()),
            Ok(said) if said.until <= now && !matches!(kept.state, State::Active { .. }) => {
                Some("it has expired".into())
            }
            Ok(_) => (!counts(&row.by)).then(|| "the policy in force does not let it count".into()),
        };
        let Row { by, key, signed, at, .. } = row;
        views.push(ApprovalView { by, key, at, duration_secs, void, signed });
    }
    Ok(views)
}

fn grants_of(connection: &Connection, kept: &Kept) -> Result<Vec<GrantId>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM grants WHERE request = ? ORDER BY id")?;
    let rows = statement
        .query_map([kept.asked.request.number()], |row| column::number(row, 0, GrantId::try_new))?;
    let mut grants: Vec<GrantId> = rows.collect::<Result<_, _>>()?;
    grants.extend(kept.asked.extends);
    Ok(grants)
}

/// What an approval says, if it is by a key that is its giver's, and about this request as it is.
fn holds(
    connection: &Connection,
    kept: &Kept,
    row: &Row,
    locks: &[Lock],
) -> Result<Result<Approval, &'static str>, LedgerError> {
    let Some((key, text)) = signer(connection, (&row.by, &row.signed.signature), locks)? else {
        return Ok(Err("its key is not enrolled any more, or is locked"));
    };
    let Ok((said, _presence)) = row.signed.verify(&text) else {
        return Ok(Err("its signature does not hold"));
    };
    let is_about_it = said.hash == Hash::of(kept.text.as_bytes())
        && said.request == kept.asked.request
        && said.authority == kept.asked.authority
        && said.by == row.by
        && key == row.key;
    Ok(if is_about_it { Ok(said) } else { Err("it is not about this request as it is") })
}

/// The enrolled key that a signature names, if it is this identity's and not locked.
pub(super) fn signer(
    connection: &Connection,
    (by, signature): (&Identity, &str),
    locks: &[Lock],
) -> Result<Option<(Fingerprint, PublicKey)>, LedgerError> {
    let Ok(seal) = wire::sshsig::parse(signature) else { return Ok(None) };
    let print = wire::certificate::fingerprint(seal.public_key());
    let is_locked = locks.iter().any(|lock| lock.target == Target::Key(print.clone()));
    let is_theirs = connection
        .prepare_cached("SELECT 1 FROM keys WHERE fingerprint = ? AND identity = ?")?
        .exists(params![print.as_str(), by.as_str()])?;
    let key = PublicKey::from(seal.public_key().clone());
    Ok(Some((print, key)).filter(|_| is_theirs && !is_locked))
}

/// A person as they can count now.
pub(super) fn candidate(
    connection: &Connection,
    identity: &Identity,
    (locks, now): (&[Lock], Timestamp),
) -> Result<Candidate, LedgerError> {
    let target = Target::Identity(identity.clone());
    let is_locked = locks.iter().any(|lock| lock.holds_at(now) && lock.target == target);
    let may_approve = grant::standing(connection, identity)? == (Standing::Active, Kind::Person);
    Ok(Candidate {
        identity: identity.clone(),
        is_active: may_approve && !is_locked,
        teams: team::of(connection, identity)?,
    })
}

/// Everybody who could approve something.
pub(super) fn people(
    connection: &Connection,
    now: Timestamp,
) -> Result<Vec<Candidate>, LedgerError> {
    let locks = order::locks_in_force(connection, now)?;
    let mut statement = connection.prepare_cached(
        "SELECT name FROM identities WHERE NOT disabled ORDER BY name LIMIT 2000",
    )?;
    let names: Vec<Identity> =
        statement.query_map((), |row| column::name(row, 0))?.collect::<Result<_, _>>()?;
    names.iter().map(|name| candidate(connection, name, (&locks, now))).collect()
}

fn rows(connection: &Connection, request: RequestId) -> Result<Vec<Row>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT identity, key, approval, signature, at, mfa FROM approvals WHERE request = ? ORDER BY at, identity",
    )?;
    let rows = statement.query_map([request.number()], |row| {
        Ok(Row {
            by: column::name(row, 0)?,
            key: column::name(row, 1)?,
            signed: SignedApproval { approval: row.get(2)?, signature: row.get(3)? },
            at: column::moment(row, 4)?,
            mfa_at: column::maybe_moment(row, 5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The row of an approval.
pub(super) fn insert(
    connection: &Connection,
    (request, by, key): (RequestId, &Identity, &Fingerprint),
    (signed, mfa_at, at): (&SignedApproval, Option<Timestamp>, Timestamp),
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO approvals (request, identity, key, approval, signature, at, mfa) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            request.number(),
            by.as_str(),
            key.as_str(),
            signed.approval,
            signed.signature,
            at.millis(),
            mfa_at.map(Timestamp::millis)
        ])?;
    Ok(())
}

pub(super) fn unwritable(_error: ssh_key::Error) -> LedgerError {
    LedgerError::Torn("a login key cannot be written".into())
}

/// How far an approver's clock may be ahead: they are told ours.
pub(super) const SKEW: Duration = Duration::from_secs(60);
/// How long what was shown may lie on a screen before it is signed and sent.
pub(super) const FRESH: Duration = Duration::from_secs(15 * 60);
