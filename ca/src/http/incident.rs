//! Incidents: what must never happen, for operators; and the report of one, for whom the policy lets take out what is recorded.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::incident::{IncidentView, SettleAsk};
use wire::problem::Code;
use wire::report::Report;

use super::body::{Body, Path, Query};
use super::power::{Administrator, Exporter};
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{Gathered, Speaker};

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

/// `POST /v1/incidents/{number}/report`: the entry that says so is durable before anything is read.
pub(crate) async fn report(
    State(authority): State<Arc<Authority>>,
    Exporter(caller): Exporter,
    Path(number): Path<String>,
) -> Result<Json<Report>, Refusal> {
    let malformed = |_| Refusal::new(Code::Malformed, "an incident is named by its number");
    let number: u64 = number.parse().map_err(malformed)?;
    let absent = || Refusal::new(Code::NotFound, format!("there is no incident {number}"));
    let (ledger, now) = (&authority.ledger, clock::now());
    let reading = ledger.begin_report(caller.actor(), number, now).await?.ok_or_else(absent)?;
    let gathered = ledger.report(number).await?.ok_or_else(absent)?;
    let Gathered { incident, relation, sessions, requests, mut orders, entries } = gathered;
    let mut details = Vec::new();
    for request in requests {
        let by = Speaker { identity: None, is_operator: true };
        let rules = ((authority.roles(), authority.policy()), authority.risk());
        details.extend(ledger.request((by, request), rules, now).await?);
    }
    for order in &mut orders.0 {
        if let Some(progress) = authority.progress(order.order).await? {
            order.came_to(progress);
        }
    }
    tracing::info!(incident = number, entry = reading, "the report of an incident was read");
    Ok(Json(Report {
        version: wire::VERSION,
        made: now,
        by: caller.actor().as_str().to_owned(),
        reading,
        authority: authority.root.fingerprint(),
        tree: ledger.checkpoints().borrow().head(),
        incident,
        relation,
        sessions: sessions.0,
        more_sessions: sessions.1,
        requests: details,
        orders: orders.0,
        more_orders: orders.1,
        entries: entries.0,
        more_entries: entries.1,
        unsearched: entries.2,
    }))
}
