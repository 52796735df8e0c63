//! What the authority is, and who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::VERSION;
use wire::api;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// `GET /v1/authority`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
) -> Result<Json<api::Authority>, Refusal> {
    let printed = |key| Authority::printed(key).map_err(|error| Refusal::internal(&error));
    Ok(Json(api::Authority {
        version: VERSION,
        fingerprint: authority.root.fingerprint(),
        user_authorities: vec![printed(authority.signer.user_authority())?],
        host_authorities: vec![printed(authority.signer.host_authority())?],
        at: clock::now(),
    }))
}

/// `GET /v1/whoami`
pub(crate) async fn whoami(caller: Caller) -> Result<Json<api::Whoami>, Refusal> {
    let login = caller.person()?;
    let api =
        api::Whoami { identity: login.identity, operator: login.operator, expires: login.until };
    Ok(Json(api))
}
