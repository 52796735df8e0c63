//! `POST /v1/reviews`, `GET /v1/reviews/due` and `/gaps`: verdicts on sessions, for whom the policy lets give them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::api::SessionView;
use wire::problem::Code;
use wire::review::{Review, ReviewAsk, Verdict};

use super::body::Body;
use super::caller::Caller;
use super::power::Onlooker;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// `POST /v1/reviews`. A verdict other than `ok` says why.
pub(crate) async fn review(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<ReviewAsk>,
) -> Result<Json<Review>, Refusal> {
    if ask.verdict != Verdict::Ok || !ask.note.is_empty() {
        super::check_reason(&ask.note)?;
    }
    let session = ask.session;
    let absent = || Refusal::new(Code::NotFound, format!("there is no session {session}"));
    let view = authority.ledger.session_head(session).await?.ok_or_else(absent)?;
    let onlooker = Onlooker::of(&authority, &caller).await?;
    onlooker.demand_review((&authority, &caller), &view).await?;
    let review = authority.ledger.review(caller.actor(), ask, clock::now()).await?;
    tracing::info!(%session, verdict = review.verdict.as_str(), "a session was reviewed");
    Ok(Json(review))
}

/// `GET /v1/reviews/gaps`
pub(crate) async fn gaps(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let onlooker = Onlooker::of(&authority, &caller).await?;
    let mut gaps = authority.ledger.gaps().await?;
    gaps.retain(|session| onlooker.may_review(session));
    Ok(Json(gaps))
}

/// `GET /v1/reviews/due`
pub(crate) async fn due(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let onlooker = Onlooker::of(&authority, &caller).await?;
    let mut due = authority.ledger.due().await?;
    due.retain(|session| onlooker.may_review(session));
    Ok(Json(due))
}
