//! An ask in the words of policy: who, what, where, and what speaks for it.

use std::collections::BTreeSet;
use std::time::Duration;

use policy::{Access, Act, Being, Evidence, Pending, Place, Question, Who};
use wire::breakglass::pass::Pass;
use wire::identifier::{Identity, Login, QuorumName, RequestId, RoleName};
use wire::identity::Kind;
use wire::time::Timestamp;

use super::backing::{Backing, owners};
use super::demand::Voice;
use super::{Ask, Facts, Host, Plan, Rules, Running, Standing};
use crate::approval::{Candidate, Count};
use crate::role::Holder;

/// What a certificate is asked for, under a role that was chosen for it.
pub(super) fn issue(
    (ask, facts, rules): (&Ask, &Facts, &Rules<'_>),
    (host, role, risk): (&Host, &RoleName, Option<u8>),
    (plan, now): (Plan, Timestamp),
) -> Question {
    let request = request_behind(facts, plan);
    let began = match plan {
        Plan::Begin(_) | Plan::Under { .. } => now,
        Plan::Reuse(id, _) => {
            let grant = facts.grants.iter().find(|grant| grant.id == id);
            grant.map_or(now, |grant| grant.from.min(now))
        }
    };
    let access = Access {
        host: place(host),
        role: role.to_string(),
        login: ask.login.to_string(),
        seconds: whole_secs(plan.until().since(began)),
        renewal: matches!(plan, Plan::Reuse(..)),
        reason: ask.reason.clone().unwrap_or_default(),
        risk: risk.or_else(|| risk_of(facts, request)),
        evidence: evidence((&ask.identity, facts, rules), (host, request), now),
    };
    let act = if pass_behind(facts, request).is_some() { Act::Breakglass } else { Act::Issue };
    question((&ask.identity, facts, rules), act(access), (ask.mfa_at, now))
}

/// What a certificate under a request says of it, when that is for break-glass.
pub(super) fn pass_behind(facts: &Facts, request: Option<RequestId>) -> Option<Pass> {
    let behind = facts.requests.iter().find(|backing| Some(backing.asked.request) == request)?;
    behind
        .asked
        .breakglass
        .then(|| Pass { request: behind.asked.request, reason: behind.asked.reason.clone() })
}

/// The request that stands behind a certificate, if one does.
pub(super) fn request_behind(facts: &Facts, plan: Plan) -> Option<RequestId> {
    match plan {
        Plan::Begin(_) => None,
        Plan::Under { request, .. } => Some(request),
        Plan::Reuse(id, _) => {
            facts.grants.iter().find(|grant| grant.id == id).and_then(|grant| grant.request)
        }
    }
}

fn risk_of(facts: &Facts, request: Option<RequestId>) -> Option<u8> {
    let mut behind = facts.requests.iter();
    behind.find(|backing| Some(backing.asked.request) == request)?.risk
}

/// What a later end of a grant is asked for, for one of the logins that it has opened.
pub(super) fn extend(
    (running, facts, rules): (&Running, &Facts, &Rules<'_>),
    (host, login): (&Host, &Login),
    (until, now): (Timestamp, Timestamp),
) -> Question {
    let access = Access {
        host: place(host),
        role: running.role.to_string(),
        login: login.to_string(),
        seconds: whole_secs(until.since(running.from)),
        renewal: true,
        reason: String::new(),
        risk: risk_of(facts, running.request),
        evidence: evidence((&running.identity, facts, rules), (host, running.request), now),
    };
    question((&running.identity, facts, rules), Act::Issue(access), (running.mfa_at, now))
}

/// What somebody asks for, before anybody has said anything to it.
pub(super) fn request(
    backing: &Backing,
    (host, login, rules): (&Host, &str, &Rules<'_>),
    (mfa_at, now): (Option<Timestamp>, Timestamp),
) -> Question {
    let would = would(backing, (host, login, rules), &[], (backing.asked.duration_secs, now));
    // Who takes break-glass asks once: what would be asked at the certificate is asked now.
    let act = match would.act {
        Act::Issue(access) => Act::Request(access),
        other => other,
    };
    let moment = rules.policy.moment(now);
    Question { act, moment, mfa_age: mfa_at.map(|at| whole_secs(now.since(at))), ..would }
}

/// What a certificate under a request would be asked for at its beginning, were it approved by these people and nobody else.
pub(super) fn would(
    backing: &Backing,
    (host, login, rules): (&Host, &str, &Rules<'_>),
    people: &[Candidate],
    (secs, now): (u64, Timestamp),
) -> Question {
    let asked = &backing.asked;
    let before = backing.window.map_or(0, |(from, until)| whole_secs(until.since(from)));
    let begins = asked.start.map_or(now, |start| start.max(now));
    let access = Access {
        host: place(host),
        role: asked.role.to_string(),
        login: login.to_string(),
        seconds: before.saturating_add(secs),
        renewal: backing.window.is_some(),
        reason: asked.reason.to_string(),
        risk: backing.risk,
        evidence: spoken(backing, (host, people, rules), now),
    };
    let act = if asked.breakglass { Act::Breakglass } else { Act::Issue };
    Question {
        who: requester(backing, rules),
        act: act(access),
        moment: rules.policy.moment(begins),
        mfa_age: None,
    }
}

/// Whether somebody may approve a request, as one of its hosts and one of its logins see it.
pub(super) fn approve(
    backing: &Backing,
    voice: &Voice<'_>,
    (host, login, rules): (&Host, &str, &Rules<'_>),
) -> Question {
    let (asked, candidate) = (&backing.asked, voice.candidate);
    let before = backing.window.map_or(0, |(from, until)| whole_secs(until.since(from)));
    let pending = Pending {
        id: asked.request.to_string(),
        requester: asked.identity.to_string(),
        beneficiary: asked.identity.to_string(),
        teams: backing.who.teams.iter().map(ToString::to_string).collect(),
        host: place(host),
        role: asked.role.to_string(),
        login: login.to_string(),
        seconds: before.saturating_add(asked.duration_secs),
        risk: backing.risk,
    };
    let holder =
        Holder { identity: &candidate.identity, kind: Kind::Person, teams: &candidate.teams };
    Question {
        who: who(holder, (!candidate.is_active, voice.operator), rules),
        act: Act::Approve(pending),
        moment: rules.policy.moment(voice.at),
        mfa_age: voice.mfa_at.map(|at| whole_secs(voice.at.since(at))),
    }
}

fn requester(backing: &Backing, rules: &Rules<'_>) -> Who {
    let by = &backing.who;
    let holder = Holder { identity: &backing.asked.identity, kind: by.kind, teams: &by.teams };
    who(holder, (by.standing != Standing::Active, by.operator), rules)
}

/// An identity in the words of policy.
pub(crate) fn who(
    holder: Holder<'_>,
    (disabled, operator): (bool, bool),
    rules: &Rules<'_>,
) -> Who {
    let held = rules.roles.iter().filter(|(_, role)| role.is_had_by(holder));
    Who {
        name: holder.identity.to_string(),
        kind: match holder.kind {
            Kind::Person => Being::Person,
            Kind::Workload => Being::Workload,
        },
        teams: holder.teams.iter().map(ToString::to_string).collect(),
        roles: held.map(|(name, _)| name.to_string()).collect(),
        disabled,
        operator,
    }
}

fn question(
    (identity, facts, rules): (&Identity, &Facts, &Rules<'_>),
    act: Act,
    (mfa_at, now): (Option<Timestamp>, Timestamp),
) -> Question {
    let state = (facts.standing != Standing::Active, facts.operator);
    Question {
        who: who(facts.holder(identity), state, rules),
        act,
        moment: rules.policy.moment(now),
        mfa_age: mfa_at.map(|at| whole_secs(now.since(at))),
    }
}

fn place(host: &Host) -> Place {
    Place {
        name: host.name.to_string(),
        labels: host.labels.iter().map(ToString::to_string).collect(),
    }
}

/// What speaks for an access: the request behind it, and who approved that. What was approved of another request speaks
/// for nothing here.
fn evidence(
    (identity, facts, rules): (&Identity, &Facts, &Rules<'_>),
    (host, request): (&Host, Option<RequestId>),
    now: Timestamp,
) -> Evidence {
    let backing = facts.requests.iter().find(|backing| Some(backing.asked.request) == request);
    let Some(backing) = backing else {
        return Evidence { on_call: is_on_call(identity, rules, now), ..Evidence::default() };
    };
    let people = backing.counted(host, (rules, now));
    spoken(backing, (host, &people, rules), now)
}

/// What speaks for a request that these people approved.
fn spoken(
    backing: &Backing,
    (host, people, rules): (&Host, &[Candidate], &Rules<'_>),
    now: Timestamp,
) -> Evidence {
    let (approval, identity) = (rules.roles.approval(), &backing.asked.identity);
    let owners = owners(&host.labels);
    let case = backing.case(&owners, now);
    // A policy that asks for a quorum by its name is not content with fewer people, unless it says so.
    let met = |name: &QuorumName| match approval.count(name, people, &case) {
        Count::Met(_) | Count::Automatic(_) => Some(name.to_string()),
        Count::Shrunk(_) => Some(format!("{name}/shrunk")),
        Count::Open(_) | Count::Unknown => None,
    };
    let counted: BTreeSet<&Identity> = people
        .iter()
        .filter(|person| person.is_active && person.identity != *identity)
        .map(|person| &person.identity)
        .collect();
    Evidence {
        approvers: u32::try_from(counted.len()).unwrap_or(u32::MAX),
        quorums: approval.quorums.keys().filter_map(met).collect(),
        ticket: backing.asked.ticket.as_ref().map(ToString::to_string),
        ticket_open: backing.ticket_open && backing.asked.ticket.is_some(),
        on_call: is_on_call(identity, rules, now),
        urgent: backing.asked.urgent || backing.asked.breakglass,
    }
}

/// Whether somebody is on call anywhere.
pub(crate) fn is_on_call(identity: &Identity, rules: &Rules<'_>, now: Timestamp) -> bool {
    let mut shifts = rules.roles.approval().rotas.values().flatten();
    shifts.any(|shift| shift.who == *identity && shift.from <= now && now < shift.until)
}

/// A begun second counts as one: no grant is longer than policy was told.
fn whole_secs(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}
