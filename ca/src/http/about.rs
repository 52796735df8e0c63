//! What the authority is, and who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::VERSION;
use wire::api;
use wire::trust::AuthorityKey;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;

/// `GET /v1/authority`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
) -> Result<Json<api::Authority>, Refusal> {
    let keys = authority.ledger.keys_now();
    let texts = |keys: &[AuthorityKey]| keys.iter().map(ToString::to_string).collect();
    Ok(Json(api::Authority {
        version: VERSION,
        fingerprint: authority.root.fingerprint(),
        user_authorities: texts(keys.believed.user_authorities()),
        host_authorities: texts(keys.believed.host_authorities()),
        log_keys: keys.believed.log_keys().to_vec(),
        at: clock::now(),
    }))
}

/// `GET /v1/whoami`
pub(crate) async fn whoami(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<api::Whoami>, Refusal> {
    let login = caller.person()?;
    let teams = authority.ledger.teams_of(login.identity.clone()).await?;
    Ok(Json(api::Whoami {
        identity: login.identity,
        operator: login.operator,
        expires: login.until,
        kind: login.kind,
        teams: teams.into_iter().collect(),
        method: login.method,
        login: login.number,
        mfa_at: login.mfa_at,
    }))
}
