//! Requests: asking, looking, approving, saying no. Who has no business with one learns that there is none.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use policy::Act;
use serde::Deserialize;
use wire::identifier::{Identity, NameError, RequestId};
use wire::problem::Code;
use wire::request::{
    ApprovalAsk, NoAsk, RequestAsk, RequestDetail, RequestView, State as Stand, VerdictAsk,
};
use wire::review::Review;

use super::body::{Body, Path, Query};
use super::caller::{Caller, Peer};
use super::power::{Onlooker, Power};
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{Bearing, NewApproval, NewRequest, NewVerdict, No, RequestRefusal, Speaker};

/// Which ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Those that are over too.
    #[serde(default)]
    all: bool,
}

/// How long to wait for something to be decided.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    #[serde(default)]
    wait_millis: u64,
    /// How many approvals the caller has heard of: with another number there is something to tell already.
    #[serde(default)]
    approvals: Option<usize>,
}

/// `GET /v1/requests?all=`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Vec<RequestView>>, Refusal> {
    let by = speaker(&authority, &caller).await?;
    let rules = (authority.roles(), authority.policy());
    Ok(Json(authority.ledger.requests((by, which.all), rules, clock::now()).await?))
}

/// `POST /v1/requests`
pub(crate) async fn make(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    caller: Caller,
    Body(ask): Body<RequestAsk>,
) -> Result<Json<RequestDetail>, Refusal> {
    let by = speaker(&authority, &caller).await?;
    let login = caller.person()?;
    let identity = login.identity;
    let confirmed = check_ticket(&authority, &ask, &identity).await?;
    let new = NewRequest {
        identity: identity.clone(),
        bearing: Bearing {
            risk: authority.risk(),
            from: Some(from),
            key: login.key,
            mfa_at: login.mfa_at,
        },
        ask,
        confirmed,
        authority: authority.root.fingerprint(),
        roles: authority.roles(),
        policy: authority.policy(),
        keyring: authority.keyring(),
        patience: authority.config.patience,
    };
    let request = authority.ledger.make_request(new, clock::now()).await??;
    tracing::info!(%request, %identity, "access was asked for");
    detail(&authority, (by, request)).await
}

/// `GET /v1/requests/{id}?wait_millis=&approvals=`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(request): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<RequestDetail>, Refusal> {
    let request = id(&request)?;
    let mut decided = authority.ledger.checkpoints();
    decided.borrow_and_update();
    if wait.wait_millis > 0 {
        // Before the wait: who may not see it does not wait for it.
        let seen = detail(&authority, (speaker(&authority, &caller).await?, request)).await?;
        // What was decided since the caller last heard of it would be no change any more.
        let is_news = wait.approvals.is_some_and(|heard| heard != seen.0.approvals.len());
        if is_news || !matches!(seen.0.view.state, Stand::Pending { .. }) {
            return Ok(seen);
        }
        let wait = Duration::from_millis(wait.wait_millis).min(MAX_WAIT);
        let is_told = tokio::time::timeout(wait, decided.changed()).await;
        if !matches!(is_told, Ok(Ok(()))) {
            return Ok(seen);
        }
    }
    detail(&authority, (speaker(&authority, &caller).await?, request)).await
}

/// `POST /v1/requests/{id}/approve`
pub(crate) async fn approve(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(request): Path<String>,
    Body(ask): Body<ApprovalAsk>,
) -> Result<Json<RequestDetail>, Refusal> {
    let (by, request) = (speaker(&authority, &caller).await?, id(&request)?);
    let login = caller.person()?;
    let identity = login.identity;
    let mfa_at = login.mfa_at;
    let new = NewApproval { by: identity.clone(), mfa_at, request, signed: ask.signed };
    let with = ((authority.roles(), authority.policy()), authority.keyring());
    let state = authority.ledger.approve_request(new, with, clock::now()).await?;
    let state = state.inspect_err(|refusal| {
        tracing::info!(%request, by = %identity, %refusal, "an approval was not taken");
    })?;
    tracing::info!(%request, by = %identity, state = state.word(), "a request was approved");
    authority.krl.wake();
    detail(&authority, (by, request)).await
}

/// `POST /v1/requests/{id}/deny`
pub(crate) async fn deny(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(request): Path<String>,
    Body(ask): Body<NoAsk>,
) -> Result<Json<RequestDetail>, Refusal> {
    let (by, request) = (speaker(&authority, &caller).await?, id(&request)?);
    let no = No { request, by: by.clone(), reason: ask.reason.to_string() };
    let with = ((authority.roles(), authority.policy()), authority.keyring());
    let state = authority.ledger.deny_request(no, with, clock::now()).await??;
    let actor = by.actor();
    tracing::warn!(%request, by = actor.as_str(), state = state.word(), "a request was refused");
    authority.krl.wake();
    detail(&authority, (by, request)).await
}

/// `POST /v1/requests/{id}/withdraw`
pub(crate) async fn withdraw(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(request): Path<String>,
    Body(ask): Body<NoAsk>,
) -> Result<Json<RequestDetail>, Refusal> {
    let (by, request) = (speaker(&authority, &caller).await?, id(&request)?);
    let who = (caller.person()?.identity, request);
    authority.ledger.withdraw_request(who, ask.reason.to_string(), clock::now()).await??;
    detail(&authority, (by, request)).await
}

/// `POST /v1/requests/{id}/review`: of break-glass, by somebody else.
pub(crate) async fn review(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(request): Path<String>,
    Body(ask): Body<VerdictAsk>,
) -> Result<Json<Review>, Refusal> {
    super::check_reason(&ask.note)?;
    let (request, by) = (id(&request)?, caller.actor());
    let reviewer = caller.reviewer(ask.reviewer)?;
    let taken = authority.ledger.taken_pass(request).await?;
    let asked = taken.ok_or(RequestRefusal::Unknown(request))?;
    let onlooker = Onlooker::of(&authority, &caller).await?;
    onlooker.demand_verdict((&authority, &caller), &asked).await?;
    let (verdict, note) = (ask.verdict, ask.note);
    let new = NewVerdict { request, reviewer, by, verdict, note };
    let review = authority.ledger.review_pass(new, clock::now()).await??;
    tracing::warn!(%request, by = review.by, verdict = verdict.as_str(), "break-glass was reviewed");
    Ok(Json(review))
}

/// Has the tracker confirm the ticket, and says whether it did. A role that needs one gets none that nobody can confirm.
async fn check_ticket(
    authority: &Authority,
    ask: &RequestAsk,
    identity: &Identity,
) -> Result<bool, Refusal> {
    let is_needed = authority.roles().find(&ask.role).is_some_and(|role| role.ticket);
    match (&ask.ticket, &authority.tracker) {
        (None, _) => Ok(false),
        (Some(_), None) if is_needed => {
            let why = "this role needs a ticket, and the authority has no tracker to look it up: `[tracker]` in ca.toml";
            Err(Refusal::new(Code::Denied, why))
        }
        (Some(_), None) => Ok(false),
        (Some(ticket), Some(tracker)) => match tracker.look_up(ticket, identity).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(unfit)) => Err(Refusal::new(Code::Denied, unfit.to_string())),
            Err(error) => {
                tracing::error!(%ticket, %error, "a ticket could not be looked up");
                let why = format!(
                    "ticket {ticket} could not be looked up, and nothing was asked for; try again: {error}"
                );
                Err(Refusal::new(Code::Busy, why))
            }
        },
    }
}

async fn detail(
    authority: &Authority,
    (by, request): (Speaker, RequestId),
) -> Result<Json<RequestDetail>, Refusal> {
    let rules = ((authority.roles(), authority.policy()), authority.risk());
    let found = authority.ledger.request((by, request), rules, clock::now()).await?;
    Ok(Json(found.ok_or(RequestRefusal::Unknown(request))?))
}

/// Whoever calls, and whether the policy lets them see to requests of others.
async fn speaker(authority: &Authority, caller: &Caller) -> Result<Speaker, Refusal> {
    let is_operator = Power::of(authority, caller).await?.may(Act::Administer);
    let identity = match caller {
        Caller::Local => None,
        Caller::Person(login) => Some(login.identity.clone()),
    };
    Ok(Speaker { identity, is_operator })
}

fn id(text: &str) -> Result<RequestId, Refusal> {
    let read: Result<RequestId, NameError> = text.parse();
    read.map_err(|error| Refusal::new(Code::Malformed, error.to_string()))
}

impl From<RequestRefusal> for Refusal {
    fn from(refusal: RequestRefusal) -> Self {
        let code = match &refusal {
            RequestRefusal::Unknown(_) => Code::NotFound,
            RequestRefusal::NotYours { .. }
            | RequestRefusal::Denied(_)
            | RequestRefusal::Policy { .. } => Code::Denied,
            RequestRefusal::Malformed(_) => Code::Malformed,
            RequestRefusal::Conflict(_) => Code::Conflict,
        };
        Self::new(code, refusal.to_string())
    }
}

/// Longest wait; a caller who wants more asks again.
const MAX_WAIT: Duration = Duration::from_secs(30);
