//! `/admin/requests/{request}/…`: what policy would be asked of a request, and what its risk is made of.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use policy::Question;
use risk::Otherwise;
use serde::{Deserialize, Serialize};
use wire::identifier::{NameError, RequestId};
use wire::problem::Code;

use crate::authority::Authority;
use crate::clock;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::risk::Reckoned;

/// A risk, and how it came about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RiskTold {
    /// As it was kept.
    pub(crate) kept: Reckoned,
    /// What would have made it lower.
    pub(crate) otherwise: Vec<Otherwise>,
    /// Whether the weights that it was made by are here still.
    pub(crate) has_weights: bool,
    /// Whether the case comes out the same from what the ledger has of the time before.
    pub(crate) is_same: bool,
    /// The case as it comes out now.
    pub(crate) again: ::risk::Case,
}

/// `GET /admin/requests/{request}/questions`
pub(crate) async fn questions(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
    Path(request): Path<String>,
) -> Result<Json<Vec<Question>>, Refusal> {
    let request = id(&request)?;
    let rules = (authority.roles(), authority.policy());
    let found = authority.ledger.request_questions(request, rules, clock::now()).await?;
    let absent = || Refusal::new(Code::NotFound, format!("there is no request {request}"));
    found.map(Json).ok_or_else(absent)
}

/// `GET /admin/requests/{request}/risk`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
    Path(request): Path<String>,
) -> Result<Json<RiskTold>, Refusal> {
    let (request, risk) = (id(&request)?, authority.risk());
    let with = (authority.roles(), authority.policy(), risk.clone());
    let found = authority.ledger.replay_risk(request, with).await?;
    let absent = || {
        let why =
            format!("there is no request {request}, or no risk was reckoned when it was made");
        Refusal::new(Code::NotFound, why)
    };
    let replayed = found.ok_or_else(absent)?;
    Ok(Json(RiskTold {
        otherwise: risk.otherwise(&replayed.kept),
        has_weights: risk.has(&replayed.kept),
        is_same: *replayed.kept.case() == replayed.again,
        kept: replayed.kept,
        again: replayed.again,
    }))
}

fn id(text: &str) -> Result<RequestId, Refusal> {
    text.parse().map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))
}
