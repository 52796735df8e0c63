//! `POST /v1/reviews` and `GET /v1/reviews/due`: verdicts on sessions, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::api::SessionView;
use wire::review::{Review, ReviewAsk, Verdict};

use super::body::Body;
use super::caller::Operator;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// `POST /v1/reviews`. A verdict other than `ok` says why.
pub(crate) async fn review(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<ReviewAsk>,
) -> Result<Json<Review>, Refusal> {
    if ask.verdict != Verdict::Ok || !ask.note.is_empty() {
        super::check_reason(&ask.note)?;
    }
    let session = ask.session;
    let review = authority.ledger.review(caller.actor(), ask, clock::now()).await?;
    tracing::info!(%session, verdict = review.verdict.as_str(), "a session was reviewed");
    Ok(Json(review))
}

/// `GET /v1/reviews/due`
pub(crate) async fn due(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    Ok(Json(authority.ledger.due().await?))
}
