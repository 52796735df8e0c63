//! Grants that have not ended: one's own, or everybody's for an operator; ending one early, and extending one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use wire::api::{EndGrantAsk, ExtendAsk, ExtendReply, GrantView, OrderProgress};
use wire::identifier::{GrantId, Identity, NameError};
use wire::problem::Code;

use super::body::Body;
use super::caller::Caller;
use super::check_reason;
use super::order::wait_for;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::GrantWish;

/// `GET /v1/grants`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<GrantView>>, Refusal> {
    Ok(Json(authority.ledger.live_grants(owner(&caller), clock::now()).await?))
}

/// `POST /v1/grants/{id}/end`. Somebody else's grant is not there.
pub(crate) async fn end(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(grant): Path<String>,
    Body(ask): Body<EndGrantAsk>,
) -> Result<Json<OrderProgress>, Refusal> {
    check_reason(&ask.reason)?;
    let wish = wish(&caller, &grant, ask.reason)?;
    let by = wish.by.as_str().to_owned();
    let id = wish.grant;
    let order = authority.ledger.end_grant(wish, authority.keyring(), clock::now()).await?;
    tracing::warn!(order = order.number(), %by, grant = %id, "a grant was ended early");
    wait_for(&authority, order, PATIENCE).await
}

/// `POST /v1/grants/{id}/extend`. Somebody else's grant is not there.
pub(crate) async fn extend(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(grant): Path<String>,
    Body(ask): Body<ExtendAsk>,
) -> Result<Json<ExtendReply>, Refusal> {
    check_reason(&ask.reason)?;
    let wish = wish(&caller, &grant, ask.reason)?;
    let by = wish.by.as_str().to_owned();
    let id = wish.grant;
    let decided = authority
        .ledger
        .extend_grant(
            (wish, Duration::from_secs(ask.by_secs)),
            ((authority.roles(), authority.policy()), authority.keyring()),
            clock::now(),
        )
        .await?;
    let (order, until) = decided.map_err(|denial| {
        tracing::info!(grant = %id, %by, %denial, "an extension was denied");
        Refusal::new(Code::Denied, denial.to_string())
    })?;
    tracing::warn!(order = order.number(), %by, grant = %id, "a grant was extended");
    let Json(progress) = wait_for(&authority, order, PATIENCE).await?;
    Ok(Json(ExtendReply { grant: id, until, progress }))
}

fn wish(caller: &Caller, grant: &str, reason: String) -> Result<GrantWish, Refusal> {
    let grant: GrantId = grant
        .parse()
        .map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))?;
    let mfa_at = match caller {
        Caller::Local => None,
        Caller::Person(login) => login.mfa_at,
    };
    Ok(GrantWish { grant, owner: owner(caller), by: caller.actor(), reason, mfa_at })
}

/// Whose grants the caller may touch; everybody's when this is nothing.
fn owner(caller: &Caller) -> Option<Identity> {
    match caller {
        caller if caller.is_operator() => None,
        Caller::Person(login) => Some(login.identity.clone()),
        Caller::Local => None,
    }
}

/// How long the answer waits for hosts.
const PATIENCE: Duration = Duration::from_secs(5);
