//! Entries with their bodies, for operators: a page at a time, or as they come.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::ledger::{EraseAsk, Erased, Page, Range};
use wire::time::Timestamp;

use super::body::{Body, Query};
use super::caller::Operator;
use super::power::Exporter;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::Search;

/// Which entries, and how long to wait for the first of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    after: u64,
    #[serde(default = "most")]
    limit: u64,
    kind: Option<String>,
    text: Option<String>,
    since_millis: Option<Timestamp>,
    before_millis: Option<Timestamp>,
    #[serde(default)]
    wait_millis: u64,
}

/// Which range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeAsked {
    after: u64,
    to: u64,
}

/// `GET /v1/entries?after=&limit=&kind=&text=&since_millis=&before_millis=&wait_millis=`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Exporter(_caller): Exporter,
    Query(asked): Query<Asked>,
) -> Result<Json<Page>, Refusal> {
    let wait = Duration::from_millis(asked.wait_millis).min(MAX_WAIT);
    let mut checkpoints = authority.ledger.checkpoints();
    let is_more = checkpoints.wait_for(|step| step.head().size > asked.after);
    // Nothing new in that time is an answer too: an empty page.
    drop(tokio::time::timeout(wait, is_more).await);
    let search = Search {
        after: asked.after,
        limit: asked.limit,
        kind: asked.kind,
        text: asked.text,
        since: asked.since_millis,
        before: asked.before_millis,
    };
    Ok(Json(authority.ledger.entries(search).await?))
}

/// `GET /v1/entries/range?after=&to=`
pub(crate) async fn range(
    State(authority): State<Arc<Authority>>,
    Exporter(_caller): Exporter,
    Query(asked): Query<RangeAsked>,
) -> Result<Json<Range>, Refusal> {
    Ok(Json(authority.ledger.range(asked.after, asked.to).await?))
}

/// `POST /admin/erase`
pub(crate) async fn erase(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<EraseAsk>,
) -> Result<Json<Erased>, Refusal> {
    super::check_reason(&ask.reason)?;
    let erased = authority.ledger.erase(caller.actor(), ask, clock::now()).await?;
    tracing::warn!(entry = erased.seq, bodies = erased.entries.len(), "bodies were erased");
    Ok(Json(erased))
}

const fn most() -> u64 {
    1000
}

/// Longest wait; a caller who wants more asks again.
const MAX_WAIT: Duration = Duration::from_secs(30);
