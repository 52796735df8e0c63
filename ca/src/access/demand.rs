//! What the policy demands of a request, and what of it approvals can give: the same questions as at a certificate, asked before
//! there is one, with the approvals that are there and with all that there could be.

use std::collections::BTreeSet;

use policy::{Act, Question, Requirement, Verdict};
use wire::identifier::{HostName, Login, QuorumName};
use wire::time::Timestamp;

use super::backing::{Approver, Backing};
use super::{Host, Rules, question};
use crate::approval::Candidate;
use crate::policy::Judged;

/// Somebody who approves, or could, at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice<'a> {
    /// Who.
    pub(crate) candidate: &'a Candidate,
    /// Whether they are an operator.
    pub(crate) operator: bool,
    /// When they last showed a second factor.
    pub(crate) mfa_at: Option<Timestamp>,
    /// When they approve.
    pub(crate) at: Timestamp,
}

/// What the policy demands of a request on one host and is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Each requirement once, in order of the policy's files.
    pub(crate) lacking: Vec<Lacking>,
    /// Why the policy lets nobody have it at all.
    pub(crate) barred: Option<String>,
}

/// One requirement that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// Which.
    pub(crate) requirement: Requirement,
    /// Quorums that would meet it, or are a part of what would.
    pub(crate) quorums: BTreeSet<QuorumName>,
    /// Whether approvals count whoever gives them.
    pub(crate) approvers: bool,
}

impl<'a> Voice<'a> {
    /// Who approved, as they did.
    pub(crate) const fn of(one: &'a Approver) -> Self {
        Self { candidate: &one.candidate, operator: one.operator, mfa_at: one.mfa_at, at: one.at }
    }
}

impl Demand {
    /// Whether approvals could still change something, or the policy says no whoever approves.
    pub(crate) fn waits(&self) -> bool {
        self.barred.is_some() || self.lacking.iter().any(Lacking::is_by_approval)
    }

    /// Every quorum that is of use.
    pub(crate) fn quorums(&self) -> impl Iterator<Item = &QuorumName> {
        self.lacking.iter().flat_map(|one| &one.quorums)
    }
}

impl Lacking {
    /// Whether approvals can meet it.
    pub(crate) fn is_by_approval(&self) -> bool {
        self.approvers || !self.quorums.is_empty()
    }
}

/// What the policy demands of a certificate under the request on this host, with the approvals of these people: of each of its
/// logins, and of all together. A login that the policy gives to nobody does not count, unless there is no other.
pub(crate) fn demand(
    backing: &Backing,
    ((host, rules), people, (secs, now)): ((&Host, &Rules<'_>), &[Candidate], (u64, Timestamp)),
) -> Demand {
    let mut found = Demand::default();
    let (mut eligible, mut refused) = (0_usize, None);
    for login in backing.asked.logins.iter().map(Login::as_str) {
        let would = question::would(backing, (host, login, rules), people, (secs, now));
        let missing = match rules.policy.set().decide(&would) {
            Verdict::NotEligible => continue,
            Verdict::Allowed { .. } => Vec::new(),
            Verdict::Missing(missing) => missing,
            failed @ Verdict::Refused(_) => {
                refused = Some(failed.to_string());
                continue;
            }
        };
        eligible = eligible.saturating_add(1);
        for requirement in missing {
            if !found.lacking.iter().any(|one| one.requirement == requirement) {
                found.lacking.push(helped(&would, requirement, rules));
            }
        }
    }
    found.barred = match (refused, eligible) {
        (Some(why), _) => Some(why),
        (None, 0) => {
            let who = &backing.asked.identity;
            Some(format!("the policy in force does not let {who} do that"))
        }
        (None, _) => None,
    };
    found
}

/// Whether the policy lets somebody ask for this: on each host as one of the logins at least. Gives what it said, host by host.
pub(crate) fn judge_request(
    backing: &Backing,
    (hosts, rules): (&[Host], &Rules<'_>),
    (mfa_at, now): (Option<Timestamp>, Timestamp),
) -> Result<Vec<Judged>, (HostName, Box<Judged>)> {
    let mut said = Vec::new();
    for host in hosts {
        let ask = |login: &str| {
            let asked = question::request(backing, (host, login, rules), (mfa_at, now));
            rules.policy.judge(asked)
        };
        let (first, rest) = logins(backing);
        let judged = rest.fold(ask(first), |best, login| better(best, ask, login));
        if rank(&judged) > 0 {
            return Err((host.name.clone(), Box::new(judged)));
        }
        said.push(judged);
    }
    Ok(said)
}

/// What the policy says to somebody's approval of a request on this host: a no to any of its logins is a no.
pub(crate) fn judge_approval(
    backing: &Backing,
    voice: &Voice<'_>,
    (host, rules): (&Host, &Rules<'_>),
) -> Judged {
    let ask =
        |login: &str| rules.policy.judge(question::approve(backing, voice, (host, login, rules)));
    let (first, rest) = logins(backing);
    let mut said = ask(first);
    for login in rest {
        if rank(&said) > 0 {
            break;
        }
        said = ask(login);
    }
    said
}

/// Every question that a request comes to, for whoever explains it: host by host and login by login.
pub(crate) fn questions(
    backing: &Backing,
    (hosts, rules): (&[Host], &Rules<'_>),
    now: Timestamp,
) -> Vec<Question> {
    let of = |host| {
        let people = backing.counted(host, (rules, now));
        let asked = backing.asked.logins.iter().map(Login::as_str);
        asked
            .map(|login| {
                let secs = backing.asked.duration_secs;
                question::would(backing, (host, login, rules), &people, (secs, now))
            })
            .collect::<Vec<_>>()
    };
    hosts.iter().flat_map(of).collect()
}

/// Whether approvals could meet anything of what is missing in an answer.
pub(super) fn is_by_approval(judged: &Judged, rules: &Rules<'_>) -> bool {
    let Verdict::Missing(missing) = judged.verdict() else { return false };
    let all = still(&with_all(judged.question(), rules), rules);
    missing.iter().any(|one| !all.contains(one))
}

/// The logins of a request. There is always one; where a text says otherwise, it opens nothing anyway.
fn logins(backing: &Backing) -> (&str, impl Iterator<Item = &str>) {
    let mut all = backing.asked.logins.iter().map(Login::as_str);
    (all.next().unwrap_or_default(), all)
}

/// A yes is best, and then the no that says most.
const fn rank(judged: &Judged) -> u8 {
    match judged.verdict() {
        Verdict::Allowed { .. } => 0,
        Verdict::Missing(_) => 1,
        Verdict::Refused(_) => 2,
        Verdict::NotEligible => 3,
    }
}

fn better(best: Judged, ask: impl Fn(&str) -> Judged, login: &str) -> Judged {
    if rank(&best) == 0 {
        return best;
    }
    let other = ask(login);
    if rank(&other) < rank(&best) { other } else { best }
}

/// A requirement, with the approvals that would meet it: each quorum alone, or without which all others do not.
fn helped(question: &Question, requirement: Requirement, rules: &Rules<'_>) -> Lacking {
    let all = with_all(question, rules);
    let lacks = |question: &Question| still(question, rules).contains(&requirement);
    if lacks(&all) {
        return Lacking { requirement, quorums: BTreeSet::new(), approvers: false };
    }
    let quorums = rules.roles.approval().quorums.keys();
    let helps = |name: &&QuorumName| {
        let alone = altered(question, |evidence| {
            evidence.quorums.insert(name.to_string());
        });
        let without = altered(&all, |evidence| {
            evidence.quorums.remove(name.as_str());
        });
        !lacks(&alone) || lacks(&without)
    };
    let many = altered(question, |evidence| evidence.approvers = MANY);
    Lacking {
        quorums: quorums.filter(helps).cloned().collect(),
        approvers: !lacks(&many),
        requirement,
    }
}

fn still(question: &Question, rules: &Rules<'_>) -> Vec<Requirement> {
    match rules.policy.set().decide(question) {
        Verdict::Missing(missing) => missing,
        Verdict::Allowed { .. } | Verdict::NotEligible | Verdict::Refused(_) => Vec::new(),
    }
}

/// The same question, were it approved by everybody in every way.
fn with_all(question: &Question, rules: &Rules<'_>) -> Question {
    altered(question, |evidence| {
        let names = rules.roles.approval().quorums.keys();
        evidence.quorums = names.map(ToString::to_string).collect();
        evidence.approvers = MANY;
    })
}

fn altered(question: &Question, alter: impl FnOnce(&mut policy::Evidence)) -> Question {
    let mut question = question.clone();
    if let Act::Issue(access) | Act::Request(access) | Act::Breakglass(access) = &mut question.act {
        alter(&mut access.evidence);
    }
    question
}

/// More people than anybody demands.
const MANY: u32 = 1_000_000;
