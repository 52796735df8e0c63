//! `/v1/retention`: how long what was recorded is kept, what is held, and deletions, for operators. Deletions are asked for and
//! approved by people who are logged in, and never over the operator's socket.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::api::SessionView;
use wire::retention::{
    Class, ClassView, DeletionAsk, DeletionView, HoldAsk, HoldView, MAX_SESSIONS, RetentionView,
};

use super::body::{Body, Path, Query};
use super::power::Administrator;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::recording::reader::Reader;

/// Of which class.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Of {
    class: Class,
}

/// `GET /v1/retention`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    Administrator(_caller): Administrator,
) -> Result<Json<RetentionView>, Refusal> {
    let (holds, deletions) = authority.ledger.retention().await?;
    let classes = Class::ALL.map(|class| ClassView {
        class,
        keep_secs: authority.config.retention.of(class).map(|keep| keep.as_secs()),
    });
    Ok(Json(RetentionView { classes: classes.into(), holds, deletions }))
}

/// `GET /v1/retention/due?class=`: sessions of which this can be deleted, the oldest first.
pub(crate) async fn due(
    State(authority): State<Arc<Authority>>,
    Administrator(_caller): Administrator,
    Query(of): Query<Of>,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let Of { class } = of;
    let Some(keep) = authority.config.retention.of(class) else { return Ok(Json(Vec::new())) };
    let (mut due, mut after) = (Vec::new(), None);
    loop {
        let page = (after, MAX_SESSIONS);
        let (found, last) = authority.ledger.deletable((class, keep), page, clock::now()).await?;
        if last.is_none() {
            return Ok(Json(due));
        }
        after = last;
        for one in found {
            let is_there = match class {
                Class::Activity => one.execs > 0,
                Class::Terminals => {
                    let (host, session) = (one.host.clone(), one.session);
                    let recordings = Reader::of(&authority).list(host, session).await?;
                    recordings.iter().any(|recording| recording.blocks > 0)
                }
            };
            due.extend(is_there.then_some(one));
        }
        if due.len() >= MAX_SESSIONS {
            due.truncate(MAX_SESSIONS);
            return Ok(Json(due));
        }
    }
}

/// `POST /v1/retention/holds`
pub(crate) async fn hold(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<HoldAsk>,
) -> Result<Json<HoldView>, Refusal> {
    super::check_reason(&ask.reason)?;
    Ok(Json(authority.ledger.hold(caller.actor(), ask, clock::now()).await?))
}

/// `POST /v1/retention/releases`
pub(crate) async fn release(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<HoldAsk>,
) -> Result<Json<()>, Refusal> {
    super::check_reason(&ask.reason)?;
    authority.ledger.release(caller.actor(), ask, clock::now()).await?;
    Ok(Json(()))
}

/// `POST /v1/retention/deletions`
pub(crate) async fn ask(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Body(ask): Body<DeletionAsk>,
) -> Result<Json<DeletionView>, Refusal> {
    super::check_reason(&ask.reason)?;
    let by = caller.person()?.identity;
    let keep = authority.config.retention.of(ask.class);
    let asked = authority.ledger.ask_deletion(by, ask, (keep, clock::now())).await?;
    tracing::warn!(deletion = asked.deletion, by = %asked.asked_by, class = %asked.class, "a deletion was asked for");
    Ok(Json(asked))
}

/// `POST /v1/retention/deletions/{number}/approve`
pub(crate) async fn approve(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Path(number): Path<u64>,
) -> Result<Json<DeletionView>, Refusal> {
    let by = caller.person()?.identity;
    let retention = authority.config.retention;
    let keep = move |class| retention.of(class);
    let approved =
        authority.ledger.approve_deletion(by.clone(), number, keep, clock::now()).await?;
    tracing::warn!(deletion = number, %by, "a deletion was approved");
    Ok(Json(approved))
}

/// `POST /v1/retention/deletions/{number}/withdraw`
pub(crate) async fn withdraw(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Path(number): Path<u64>,
) -> Result<Json<DeletionView>, Refusal> {
    Ok(Json(authority.ledger.withdraw_deletion(caller.actor(), number, clock::now()).await?))
}
