//! `/v1/breakglass`: receipts of custodians, how they join with what hosts saw, and verdicts, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, GroupAsk, GroupView, ReceiptAsk, ReceiptTaken, Reconciled,
    RetireAsk,
};
use wire::problem::Code;
use wire::review::Review;

use super::body::Body;
use super::power::Administrator;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::ceremony::{Charter, NoReceipt, Proven};
use crate::clock;

/// `GET /v1/breakglass`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    Administrator(_caller): Administrator,
) -> Result<Json<BreakGlass>, Refusal> {
    Ok(Json(authority.ledger.breakglass((authority.config.drills, clock::now())).await?))
}

/// `POST /v1/breakglass/groups`
pub(crate) async fn add_group(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<GroupAsk>,
) -> Result<Json<GroupView>, Refusal> {
    super::check_reason(&ask.reason)?;
    let charter = Charter::read(&ask.group)
        .map_err(|flaw| Refusal::new(Code::Malformed, format!("this is no group: {flaw}")))?;
    let key = charter.said.key.clone();
    let what = (charter, ask.people, ask.reason);
    let view = authority.ledger.add_breakglass_group(caller.actor(), what, clock::now()).await?;
    tracing::warn!(%key, by = caller.actor().as_str(), "receipts of a break-glass group are taken");
    Ok(Json(view))
}

/// `POST /v1/breakglass/groups/retire`
pub(crate) async fn retire_group(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<RetireAsk>,
) -> Result<Json<RetireAsk>, Refusal> {
    super::check_reason(&ask.reason)?;
    let what = (ask.key.clone(), ask.reason.clone());
    authority.ledger.retire_breakglass_group(caller.actor(), what, clock::now()).await?;
    tracing::warn!(key = %ask.key, by = caller.actor().as_str(), "a break-glass key was retired");
    Ok(Json(ask))
}

/// `POST /v1/breakglass/receipts`. Verified before anything is kept: who asks need not be believed.
pub(crate) async fn take_receipt(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<ReceiptAsk>,
) -> Result<Json<ReceiptTaken>, Refusal> {
    let groups = authority.ledger.breakglass_groups().await?;
    let proven = Proven::read(&ask.receipt, &groups).map_err(|refused| {
        let code = match &refused {
            NoReceipt::Foreign(_) => Code::Denied,
            NoReceipt::False(_) | NoReceipt::Nobody => Code::Malformed,
        };
        tracing::warn!(%refused, by = caller.actor().as_str(), "a receipt of break-glass was refused");
        Refusal::new(code, refused.to_string())
    })?;
    let said = proven.said.clone();
    let taken = authority.ledger.take_breakglass_receipt(caller.actor(), proven, clock::now());
    Ok(Json(ReceiptTaken { said, is_new: taken.await? }))
}

/// `POST /v1/breakglass/reconcile`
pub(crate) async fn reconcile(
    State(authority): State<Arc<Authority>>,
    Administrator(_caller): Administrator,
) -> Result<Json<Reconciled>, Refusal> {
    Ok(Json(authority.ledger.reconcile((authority.config.drills, clock::now())).await?))
}

/// `POST /v1/breakglass/reviews`
pub(crate) async fn review(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<CeremonyReviewAsk>,
) -> Result<Json<Review>, Refusal> {
    super::check_reason(&ask.note)?;
    let serial = ask.serial;
    let who = (caller.actor(), caller.reviewer(ask.reviewer.clone())?);
    let review = authority.ledger.review_ceremony(who, ask, clock::now()).await?;
    tracing::info!(%serial, verdict = review.verdict.as_str(), "a use of break-glass was reviewed");
    Ok(Json(review))
}
