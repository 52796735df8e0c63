//! Requests as people ask for them and see them, over HTTP.

use serde::{Deserialize, Serialize};

use super::{Sentence, SignedApproval, State};
use crate::identifier::{
    Fingerprint, GrantId, HostName, Identity, QuorumName, RequestId, RoleName, Ticket,
};
use crate::log::Hash;
use crate::review::{Review, Verdict};
use crate::time::Timestamp;

/// "I want this role there": `POST /v1/requests`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestAsk {
    /// The role.
    pub role: RoleName,
    /// Where; with a grant to extend, nothing.
    #[serde(default)]
    pub hosts: Vec<HostName>,
    /// For how long, in seconds; the role's default, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_secs: Option<u64>,
    /// From when; from the first use, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// The grant that is to last longer, by the duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// Why.
    pub reason: Sentence,
    /// What will have been done in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Sentence>,
    /// The ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// Whether it cannot wait.
    #[serde(default)]
    pub urgent: bool,
    /// Whether it is break-glass: at once, without approval, and never quietly.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub breakglass: bool,
}

/// A request in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its number.
    pub request: RequestId,
    /// Who asks.
    pub identity: Identity,
    /// The role.
    pub role: RoleName,
    /// Where.
    pub hosts: Vec<HostName>,
    /// For how long, in seconds.
    pub duration_secs: u64,
    /// Why.
    pub reason: Sentence,
    /// Whether it cannot wait.
    pub urgent: bool,
    /// Whether it is break-glass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub breakglass: bool,
    /// Until when it is to be reviewed: of break-glass that was used, and that nobody has reviewed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_due: Option<Timestamp>,
    /// The verdict on it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
    /// When it was asked.
    pub at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// Whether the caller's approval would count.
    pub yours_to_approve: bool,
}

/// A request with all that an approver needs: `GET /v1/requests/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDetail {
    /// What is shown in a listing.
    pub view: RequestView,
    /// The request's text; its hash is what an approval names.
    pub text: String,
    /// The rules in force now; an approval names them.
    pub policy: Hash,
    /// The authority's clock.
    pub now: Timestamp,
    /// The approvals so far, in order of time.
    pub approvals: Vec<ApprovalView>,
    /// What is still missing; nothing when all that is demanded is there.
    pub missing: Vec<Missing>,
    /// What the policy in force demands besides, and is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demanded: Vec<Demanded>,
    /// How much of a risk it is, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskView>,
    /// The grants that were begun under it.
    pub grants: Vec<GrantId>,
    /// Why it ended, when somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An approval, and whether it counts now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Whose.
    pub by: Identity,
    /// By which key.
    pub key: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// For how long at most, in seconds.
    pub duration_secs: u64,
    /// Why it counts no more, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// What was signed, with the signature.
    pub signed: SignedApproval,
}

/// A quorum that is not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name.
    pub quorum: QuorumName,
    /// On which host.
    pub host: HostName,
    /// The seats that are free.
    pub seats: Vec<MissingSeat>,
    /// When more people can take a seat than now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widens: Option<Timestamp>,
    /// When fewer people do than now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrinks: Option<Timestamp>,
    /// Why nobody can meet it, if nobody can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What the policy demands of a certificate under a request, and is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demanded {
    /// On which host.
    pub host: HostName,
    /// The name of the rule that demands it; absent when the policy lets nobody have it at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What to do about it, in the words of the policy.
    pub advice: String,
    /// Whether approvals can give it; what else is missing is asked again at each certificate.
    #[serde(default)]
    pub by_approval: bool,
    /// Quorums that would do, or are a part of what would, with their free seats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quorums: Vec<Missing>,
    /// Who can approve, as far as there are few, where it counts whoever does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<Identity>,
}

/// How much of a risk a request is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskView {
    /// From 0 to 100, as of when it was asked for.
    pub score: u8,
    /// What adds most, the most first: `+12 no second factor was shown in this login`.
    pub reasons: Vec<String>,
    /// What would make it lower, what does most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lower: Vec<Lower>,
    /// What was not known, and counts in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What would make a risk lower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lower {
    /// By how much.
    pub by: u8,
    /// How, in words.
    pub how: String,
}

/// A free seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSeat {
    /// Its place in the quorum, from 0.
    pub seat: usize,
    /// Who can take it, in words: `somebody of team dba`.
    pub words: String,
    /// Who can take it, by name, as far as there are few.
    pub who: Vec<Identity>,
}

/// "I approve": `POST /v1/requests/{id}/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalAsk {
    /// What was signed, with the signature.
    pub signed: SignedApproval,
}

/// "No": `POST /v1/requests/{id}/deny` and `…/withdraw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoAsk {
    /// Why.
    pub reason: Sentence,
}

/// "This is my verdict on that use of break-glass": `POST /v1/requests/{id}/review`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictAsk {
    /// The verdict.
    pub verdict: Verdict,
    /// What it was, and what was done.
    pub note: String,
    /// Who gives it, where whoever asks is known to nobody: at the authority's own machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<Identity>,
}
