//! `GET /v1/attempts`: denied attempts, one's own, or everybody's for an operator.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use policy::Act;
use serde::Deserialize;
use wire::attempt::AttemptView;
use wire::identifier::{Address, Identity};
use wire::time::Timestamp;

use super::body::Query;
use super::caller::Caller;
use super::power::Power;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::ledger::Asked;

/// Which ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    host: Option<Address>,
    #[serde(default)]
    identity: Option<Identity>,
    #[serde(default)]
    serial: Option<u64>,
    #[serde(default)]
    since_secs: Option<u64>,
    /// How long to wait for the first.
    #[serde(default)]
    wait_millis: u64,
}

/// `GET /v1/attempts?host=&identity=&serial=&since_secs=&wait_millis=`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Vec<AttemptView>>, Refusal> {
    let is_for_all = Power::of(&authority, &caller).await?.may(Act::Administer);
    let identity = match caller {
        Caller::Person(login) if !is_for_all => Some(login.identity),
        Caller::Person(_) | Caller::Local => which.identity,
    };
    let since = which.since_secs.map(Timestamp::from_secs);
    let asked = Asked { identity, host: which.host, serial: which.serial, since };
    let wait = Duration::from_millis(which.wait_millis).min(MAX_WAIT);
    match tokio::time::timeout(wait, first(&authority, &asked)).await {
        Ok(found) => found.map(Json),
        Err(_elapsed) => Ok(Json(authority.ledger.attempts(asked).await?)),
    }
}

/// Returns when there is one.
async fn first(authority: &Authority, asked: &Asked) -> Result<Vec<AttemptView>, Refusal> {
    // Subscribed before it is read, so that what comes between is not missed.
    let mut changed = authority.fleet.changes();
    loop {
        let found = authority.ledger.attempts(asked.clone()).await?;
        if !found.is_empty() || changed.changed().await.is_err() {
            return Ok(found);
        }
    }
}

/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(10);
