//! How far an order has come, with a wait for those who want to see it through.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::api::OrderProgress;
use wire::identifier::{NameError, OrderNumber};
use wire::problem::Code;

use super::body::{Path, Query};
use super::lock::progress_of;
use super::power::Locker;
use super::refusal::Refusal;
use crate::authority::Authority;

/// How long to wait for the order to be complete, and whether also for what hosts say of each session that it ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    #[serde(default)]
    wait_millis: u64,
    #[serde(default)]
    kills: bool,
}

/// `GET /v1/orders/{number}?wait_millis=`
pub(crate) async fn progress(
    State(authority): State<Arc<Authority>>,
    Locker(_caller): Locker,
    Path(number): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Json<OrderProgress>, Refusal> {
    let malformed = |message: String| Refusal::new(Code::Malformed, message);
    let number: OrderNumber =
        number.parse().map_err(|error: NameError| malformed(error.to_string()))?;
    let span = Duration::from_millis(wait.wait_millis).min(MAX_WAIT);
    until(&authority, number, (span, wait.kills)).await
}

/// How far an order has come when it is complete, or when the wait is over.
pub(crate) async fn wait_for(
    authority: &Authority,
    number: OrderNumber,
    wait: Duration,
) -> Result<Json<OrderProgress>, Refusal> {
    until(authority, number, (wait, false)).await
}

async fn until(
    authority: &Authority,
    number: OrderNumber,
    (wait, kills): (Duration, bool),
) -> Result<Json<OrderProgress>, Refusal> {
    match tokio::time::timeout(wait, complete(authority, number, kills)).await {
        Ok(progress) => progress,
        Err(_elapsed) => progress_of(authority, number).await,
    }
}

async fn complete(
    authority: &Authority,
    number: OrderNumber,
    kills: bool,
) -> Result<Json<OrderProgress>, Refusal> {
    // Subscribed before it is read, so that what comes between is not missed.
    let mut changed = authority.fleet.changes();
    loop {
        let progress = progress_of(authority, number).await?;
        if progress.complete && (!kills || progress.kills_are_in()) {
            return Ok(progress);
        }
        // That a host has been silent for too long is no change that anybody tells.
        if let Ok(Err(_gone)) = tokio::time::timeout(GLANCE, changed.changed()).await {
            return Ok(progress);
        }
    }
}

/// How often to look when nothing is told.
const GLANCE: Duration = Duration::from_secs(1);
/// Longest wait; a caller who wants more asks again.
const MAX_WAIT: Duration = Duration::from_secs(30);
