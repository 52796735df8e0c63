//! Grants that have not ended: one's own, or everybody's for an operator; ending one early, and extending one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use policy::Act;
use wire::api::{EndGrantAsk, ExtendAsk, ExtendReply, GrantView, OrderProgress};
use wire::identifier::{GrantId, Identity, NameError};
use wire::problem::Code;

use super::body::{Body, Path};
use super::caller::Caller;
use super::check_reason;
use super::order::wait_for;
use super::power::Power;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::GrantWish;

/// `GET /v1/grants`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<GrantView>>, Refusal> {
    let owner = owner((&authority, &caller), Act::Lock).await?;
    Ok(Json(authority.ledger.live_grants(owner, clock::now()).await?))
}

/// `POST /v1/grants/{id}/end`. Somebody else's grant is not there.
pub(crate) async fn end(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(grant): Path<String>,
    Body(ask): Body<EndGrantAsk>,
) -> Result<Json<OrderProgress>, Refusal> {
    check_reason(&ask.reason)?;
    let wish = wish((&authority, &caller), Act::Lock, (&grant, ask.reason)).await?;
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
    let wish = wish((&authority, &caller), Act::Administer, (&grant, ask.reason)).await?;
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

async fn wish(
    (authority, caller): (&Authority, &Caller),
    act: Act,
    (grant, reason): (&str, String),
) -> Result<GrantWish, Refusal> {
    let grant: GrantId = grant
        .parse()
        .map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))?;
    let mfa_at = match caller {
        Caller::Local => None,
        Caller::Person(login) => login.mfa_at,
    };
    let owner = owner((authority, caller), act).await?;
    Ok(GrantWish { grant, owner, by: caller.actor(), reason, mfa_at })
}

/// Whose grants the caller may touch; everybody's when this is nothing.
async fn owner(
    (authority, caller): (&Authority, &Caller),
    act: Act,
) -> Result<Option<Identity>, Refusal> {
    let is_for_all = Power::of(authority, caller).await?.may(act);
    Ok(match caller {
        Caller::Person(login) if !is_for_all => Some(login.identity.clone()),
        Caller::Person(_) | Caller::Local => None,
    })
}

/// How long the answer waits for hosts.
const PATIENCE: Duration = Duration::from_secs(5);
