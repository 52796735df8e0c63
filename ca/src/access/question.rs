//! An ask in the words of policy: who, what, where, and what speaks for it.

use std::collections::BTreeSet;
use std::time::Duration;

use policy::{Access, Act, Being, Evidence, Place, Question, Who};
use wire::identifier::{Identity, Login, QuorumName, RequestId, RoleName};
use wire::identity::Kind;
use wire::time::Timestamp;

use super::backing::owners;
use super::{Ask, Facts, Host, Plan, Rules, Running, Standing};
use crate::approval::{Case, Count};

/// What a certificate is asked for, under a role that was chosen for it.
pub(super) fn issue(
    (ask, facts, rules): (&Ask, &Facts, &Rules<'_>),
    (host, role): (&Host, &RoleName),
    (plan, now): (Plan, Timestamp),
) -> Question {
    let (began, request) = match plan {
        Plan::Begin(_) => (now, None),
        Plan::Under { request, .. } => (now, Some(request)),
        Plan::Reuse(id, _) => {
            let grant = facts.grants.iter().find(|grant| grant.id == id);
            (grant.map_or(now, |grant| grant.from.min(now)), grant.and_then(|grant| grant.request))
        }
    };
    let access = Access {
        host: place(host),
        role: role.to_string(),
        login: ask.login.to_string(),
        seconds: whole_secs(plan.until().since(began)),
        renewal: matches!(plan, Plan::Reuse(..)),
        reason: ask.reason.clone().unwrap_or_default(),
        risk: None,
        evidence: evidence((&ask.identity, facts, rules), (host, request), now),
    };
    question((&ask.identity, facts, rules), access, (ask.mfa_at, now))
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
        risk: None,
        evidence: evidence((&running.identity, facts, rules), (host, running.request), now),
    };
    question((&running.identity, facts, rules), access, (running.mfa_at, now))
}

fn question(
    (identity, facts, rules): (&Identity, &Facts, &Rules<'_>),
    access: Access,
    (mfa_at, now): (Option<Timestamp>, Timestamp),
) -> Question {
    let holder = facts.holder(identity);
    let held = rules.roles.iter().filter(|(_, role)| role.is_had_by(holder));
    Question {
        who: Who {
            name: identity.to_string(),
            kind: match facts.kind {
                Kind::Person => Being::Person,
                Kind::Workload => Being::Workload,
            },
            teams: facts.teams.iter().map(ToString::to_string).collect(),
            roles: held.map(|(name, _)| name.to_string()).collect(),
            disabled: facts.standing != Standing::Active,
            operator: facts.operator,
        },
        act: Act::Issue(access),
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
/// for nothing here. Whether a ticket is open is not known yet.
fn evidence(
    (identity, facts, rules): (&Identity, &Facts, &Rules<'_>),
    (host, request): (&Host, Option<RequestId>),
    now: Timestamp,
) -> Evidence {
    let approval = rules.roles.approval();
    let mut shifts = approval.rotas.values().flatten();
    let on_call =
        shifts.any(|shift| shift.who == *identity && shift.from <= now && now < shift.until);
    let backing = facts.requests.iter().find(|backing| Some(backing.asked.request) == request);
    let Some(backing) = backing else {
        return Evidence { on_call, ..Evidence::default() };
    };
    let (people, owners) = (backing.people(now), owners(&host.labels));
    let case = Case { requester: identity, owners: &owners, asked: backing.asked.at, now };
    let is_met = |name: &&QuorumName| {
        matches!(approval.count(name, &people, &case), Count::Met(_) | Count::Automatic(_))
    };
    let counted: BTreeSet<&Identity> = people
        .iter()
        .filter(|person| person.is_active && person.identity != *identity)
        .map(|person| &person.identity)
        .collect();
    Evidence {
        approvers: u32::try_from(counted.len()).unwrap_or(u32::MAX),
        quorums: approval.quorums.keys().filter(is_met).map(ToString::to_string).collect(),
        ticket: backing.asked.ticket.as_ref().map(ToString::to_string),
        ticket_open: false,
        on_call,
        urgent: backing.asked.urgent,
    }
}

/// A begun second counts as one: no grant is longer than policy was told.
fn whole_secs(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}
