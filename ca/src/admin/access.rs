//! `GET /admin/access`: who can get where by which role, and when each of it was last used.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::authority::Authority;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::inventory::{Reach, Somebody, inventory};

/// Of everybody who is active.
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<Reach>>, Refusal> {
    let ledger = &authority.ledger;
    let people: Vec<Somebody> = ledger
        .identities()
        .await?
        .into_iter()
        .filter(|row| !row.disabled)
        .map(|row| Somebody { identity: row.identity, kind: row.kind, teams: row.teams })
        .collect();
    let hosts: Vec<_> = ledger
        .hosts()
        .await?
        .into_iter()
        .map(|host| (host.name, host.labels.into_iter().collect()))
        .collect();
    let uses = ledger.uses().await?;
    Ok(Json(inventory(&people, &hosts, &authority.roles(), &uses)))
}
