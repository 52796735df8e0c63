//! What stands behind a certificate for which a role requires approval: a request, and those who approved it.
//!
//! Everything is counted anew at each certificate, by the rules of that moment: that a request was approved once is not enough.

use std::collections::BTreeSet;

use policy::Verdict;
use wire::identifier::{HostName, Identity, Label, QuorumName, RequestId, RoleName, TeamName};
use wire::identity::Kind;
use wire::request::{Asked, Missing, MissingSeat, State};
use wire::time::Timestamp;

use super::demand::{Voice, demand, judge_approval};
use super::{Denial, Facts, Grant, Host, Plan, Rules, Standing};
use crate::approval::{Candidate, Case, Count, Quorums};
use crate::request::{Event, Refused, settle, step};
use crate::role::Role;

/// A request of the identity for the host that is not over, and its approvals whose signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backing {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Where it stands.
    pub(crate) state: State,
    /// Who approved.
    pub(crate) approvals: Vec<Approver>,
    /// Who asks, as they stand now.
    pub(crate) who: Requester,
    /// From when until when the grant goes that it is to make longer.
    pub(crate) window: Option<(Timestamp, Timestamp)>,
    /// Whether the tracker said that its ticket is open and theirs; one that is closed ends it.
    pub(crate) ticket_open: bool,
    /// How much of a risk it was when it was asked for, if that was reckoned.
    pub(crate) risk: Option<u8>,
}

/// Who asks, as far as policy goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requester {
    /// Whether they exist and are active.
    pub(crate) standing: Standing,
    /// Whether it is a person or a workload.
    pub(crate) kind: Kind,
    /// Their teams.
    pub(crate) teams: BTreeSet<TeamName>,
    /// Whether they are an operator.
    pub(crate) operator: bool,
}

/// Somebody who approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approver {
    /// Who.
    pub(crate) candidate: Candidate,
    /// Whether they are an operator.
    pub(crate) operator: bool,
    /// When they approved.
    pub(crate) at: Timestamp,
    /// When they had last shown a second factor then.
    pub(crate) mfa_at: Option<Timestamp>,
    /// From then on the approval begins nothing any more.
    pub(crate) until: Timestamp,
}

/// A role, by which rules it is granted, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule<'a> {
    /// Its name.
    pub(crate) name: &'a RoleName,
    /// The role.
    pub(crate) role: &'a Role,
    /// The rules that it is one of.
    pub(crate) rules: &'a Rules<'a>,
    /// When a certificate's grant ends at the latest, by the role and by what is asked for.
    pub(crate) longest: Timestamp,
    /// Now.
    pub(crate) now: Timestamp,
}

impl Backing {
    /// Those whose approval counts at `now`: what has begun is not ended by the age of its approvals.
    pub(crate) fn people(&self, now: Timestamp) -> impl Iterator<Item = &Approver> {
        let has_begun = matches!(self.state, State::Active { .. });
        self.approvals.iter().filter(move |one| has_begun || now < one.until)
    }

    /// Those of them whom the policy of now lets approve it on this host, as they are now and with what they had shown then.
    pub(crate) fn counted(
        &self,
        host: &Host,
        (rules, now): (&Rules<'_>, Timestamp),
    ) -> Vec<Candidate> {
        let may = |one: &&Approver| {
            let judged = judge_approval(self, &Voice::of(one), (host, rules));
            matches!(judged.verdict(), Verdict::Allowed { .. })
        };
        self.people(now).filter(may).map(|one| one.candidate.clone()).collect()
    }

    /// What the role requires on this host and is not there. Of break-glass nothing is: it is what is taken without.
    pub(crate) fn missing(&self, host: &Host, rule: &Rule<'_>) -> Vec<Missing> {
        if self.asked.breakglass {
            return Vec::new();
        }
        let (people, owners) = (self.counted(host, (rule.rules, rule.now)), owners(&host.labels));
        missing(&people, (&host.name, rule), &self.case(&owners, rule.now))
    }

    /// What is counted for, on a host that these teams own.
    pub(crate) fn case<'a>(&'a self, owners: &'a BTreeSet<TeamName>, now: Timestamp) -> Case<'a> {
        case(&self.asked, owners, now)
    }

    /// The quorums that its role requires and that are met by fewer people than they have seats; and by whom.
    pub(crate) fn shrunk(&self, host: &Host, rule: &Rule<'_>) -> Vec<(QuorumName, Vec<Identity>)> {
        let people = self.counted(host, (rule.rules, rule.now));
        let owners = owners(&host.labels);
        let case = self.case(&owners, rule.now);
        let quorums = rule.rules.roles.approval();
        let few = rule.role.requires.iter().filter_map(|name| {
            match quorums.count(name, &people, &case) {
                Count::Shrunk(by) => Some((name.clone(), by)),
                Count::Met(_) | Count::Automatic(_) | Count::Open(_) | Count::Unknown => None,
            }
        });
        few.collect()
    }
}

/// What is counted for, of a request, on a host that these teams own.
pub(crate) fn case<'a>(
    asked: &'a Asked,
    owners: &'a BTreeSet<TeamName>,
    now: Timestamp,
) -> Case<'a> {
    let (requester, role) = (&asked.identity, &asked.role);
    Case { requester, role, urgent: asked.urgent, owners, asked: asked.at, now }
}

/// What nobody has approved yet of a role on a host.
pub(crate) fn demanded(who: &Identity, host: &Host, rule: &Rule<'_>) -> Vec<Missing> {
    let owners = owners(&host.labels);
    let (asked, now) = (rule.now, rule.now);
    let (requester, role, urgent) = (who, rule.name, false);
    let case = Case { requester, role, urgent, owners: &owners, asked, now };
    missing(&[], (&host.name, rule), &case)
}

fn missing(
    people: &[Candidate],
    (host, rule): (&HostName, &Rule<'_>),
    case: &Case<'_>,
) -> Vec<Missing> {
    let quorums = rule.rules.roles.approval();
    rule.role.requires.iter().filter_map(|name| open(quorums, name, (people, host, case))).collect()
}

/// A quorum, unless it is met: its free seats.
pub(crate) fn open(
    quorums: &Quorums,
    name: &QuorumName,
    (people, host, case): (&[Candidate], &HostName, &Case<'_>),
) -> Option<Missing> {
    let (seats, problem) = match quorums.count(name, people, case) {
        Count::Met(_) | Count::Automatic(_) | Count::Shrunk(_) => return None,
        Count::Open(seats) => (seats, None),
        Count::Unknown => (Vec::new(), Some("there is no quorum of that name".to_owned())),
    };
    let seats = seats.into_iter().map(|seat| MissingSeat {
        seat,
        words: quorums.words(name, seat, case),
        who: Vec::new(),
    });
    let (widens, shrinks) = (quorums.next_circle(name, case), quorums.shrinks(name, case));
    let (quorum, host, seats) = (name.clone(), host.clone(), seats.collect());
    Some(Missing { quorum, host, seats, widens, shrinks, problem })
}

/// Under what a certificate can be issued, of what is there already: a grant that is under way, or an approved request.
/// Nothing, where a role requires nothing and neither is there; a denial that says what is missing, where it does.
pub(super) fn under(
    who: &Identity,
    (host, facts): (&Host, &Facts),
    rule: &Rule<'_>,
) -> Result<Option<Plan>, Denial> {
    let of_role = |backing: &&Backing| {
        let is_ticketed =
            !rule.role.ticket || backing.asked.ticket.is_some() || backing.asked.breakglass;
        backing.asked.role == *rule.name && is_ticketed
    };
    let mut reason = None;
    for backing in facts.requests.iter().filter(of_role) {
        let missing = backing.missing(host, rule);
        if !missing.is_empty() {
            reason = Some(Denial::Unapproved {
                request: Some(backing.asked.request),
                role: rule.name.clone(),
                host: host.name.clone(),
                missing: in_words(&missing),
            });
            continue;
        }
        let grant = facts.grants.iter().filter(|grant| belongs(grant, backing.asked.request));
        if let Some(grant) = grant.filter(|grant| rule.now < grant.until).max_by_key(|g| g.until) {
            return Ok(Some(Plan::Reuse(grant.id, grant.until.min(rule.longest))));
        }
        match step(&backing.asked, backing.state, Event::Used, rule.now) {
            Ok(State::Active { until }) => {
                let until = Timestamp::from_secs(until.min(rule.longest).secs());
                let request = backing.asked.request;
                return Ok(Some(Plan::Under { request, until, before: backing.state }));
            }
            Ok(_) | Err(Refused::Over(_)) => {}
            Err(refused) => {
                let request = backing.asked.request;
                reason = Some(Denial::Waiting { request, why: waiting(refused) });
            }
        }
    }
    if rule.role.is_free() {
        return Ok(None);
    }
    if rule.role.requires.is_empty() {
        let (role, host) = (rule.name.clone(), host.name.clone());
        return Err(reason.unwrap_or(Denial::Unticketed { role, host }));
    }
    Err(reason.unwrap_or_else(|| Denial::Unapproved {
        request: None,
        role: rule.name.clone(),
        host: host.name.clone(),
        missing: in_words(&demanded(who, host, rule)),
    }))
}

/// Whether a grant may be taken up again that no request stands behind.
pub(super) fn is_free(grant: &Grant, role: &Role) -> bool {
    role.is_free() && grant.request.is_none()
}

fn belongs(grant: &Grant, request: RequestId) -> bool {
    grant.request == Some(request)
}

fn waiting(refused: Refused) -> String {
    match refused {
        Refused::Early(from) => format!("it begins at {} (seconds since 1970)", from.secs()),
        other => other.to_string(),
    }
}

/// `owner+security (somebody of team dba; somebody of team security)`
pub(crate) fn in_words(missing: &[Missing]) -> String {
    let one = |missing: &Missing| {
        let seats: Vec<&str> = missing.seats.iter().map(|seat| seat.words.as_str()).collect();
        let said = missing.problem.clone().unwrap_or_else(|| seats.join("; "));
        format!("{} ({said})", missing.quorum)
    };
    let all: Vec<String> = missing.iter().map(one).collect();
    all.join(", ")
}

/// The teams that own a host, by its labels `owner=TEAM`.
pub(crate) fn owners(labels: &BTreeSet<Label>) -> BTreeSet<TeamName> {
    let owner = |label: &Label| match label.as_str().split_once('=') {
        Some(("owner", team)) => team.parse().ok(),
        _ => None,
    };
    labels.iter().filter_map(owner).collect()
}

/// Where a request stands now.
pub(crate) fn current(state: State, now: Timestamp) -> State {
    settle(state, now)
}

/// Where a request stands once its newest approval is counted: on each of its hosts all that is required must be there, by its
/// role and by the policy, as far as approvals can give it. What else the policy demands is asked at each certificate.
pub(crate) fn approved(
    backing: &Backing,
    hosts: &[Host],
    (rule, secs): (&Rule<'_>, u64),
) -> Result<State, Refused> {
    let is_whole = backing.asked.hosts.iter().all(|name| {
        let host = hosts.iter().find(|host| host.name == *name);
        let is_there = |host| {
            let people = backing.counted(host, (rule.rules, rule.now));
            let asked = ((host, rule.rules), &people[..], (secs, rule.now));
            // Break-glass waits for nobody: what is missing then is asked, and refused, when it is asked for.
            let waits = !backing.asked.breakglass && demand(backing, asked).waits();
            backing.missing(host, rule).is_empty() && !waits
        };
        host.is_some_and(is_there)
    });
    let now = rule.now;
    match current(backing.state, now) {
        State::Ended { how, .. } => Err(Refused::Over(how)),
        state if !is_whole => Ok(state),
        State::Active { until } => Ok(State::Active { until }),
        state => step(&backing.asked, state, Event::Approved { secs }, now),
    }
}
