//! `GET /v1/incidents` and `POST /v1/incidents/settle`: what must never happen, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use wire::incident::{IncidentView, SettleAsk};

use super::body::Body;
use super::power::Administrator;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// Which ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The settled ones too.
    #[serde(default)]
    all: bool,
}

/// `GET /v1/incidents?all=`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Administrator(_caller): Administrator,
    Query(which): Query<Which>,
) -> Result<Json<Vec<IncidentView>>, Refusal> {
    Ok(Json(authority.ledger.incidents(which.all).await?))
}

/// `POST /v1/incidents/settle`
pub(crate) async fn settle(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<SettleAsk>,
) -> Result<Json<SettleAsk>, Refusal> {
    super::check_reason(&ask.reason)?;
    let what = (ask.number, ask.reason.clone());
    authority.ledger.settle_incident(caller.actor(), what, clock::now()).await?;
    tracing::warn!(incident = ask.number, reason = ask.reason, "an incident was settled");
    Ok(Json(ask))
}
