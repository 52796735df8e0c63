//! Sessions: one's own, or everybody's for an operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use wire::api::{SessionDetail, SessionView};
use wire::identifier::{Identity, NameError, SessionId};
use wire::problem::Code;

use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;

/// `GET /v1/sessions`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    Ok(Json(authority.ledger.sessions(owner(caller)).await?))
}

/// `GET /v1/sessions/{id}`. Somebody else's session is not there.
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Json<SessionDetail>, Refusal> {
    let session: SessionId = session
        .parse()
        .map_err(|error: NameError| Refusal::new(Code::Malformed, error.to_string()))?;
    let detail = authority.ledger.session(session).await?;
    let owner = owner(caller);
    detail
        .filter(|detail| owner.is_none_or(|owner| owner == detail.session.identity))
        .map(Json)
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no session {session}")))
}

/// Whose sessions the caller sees; everybody's when this is nothing.
fn owner(caller: Caller) -> Option<Identity> {
    match caller {
        caller if caller.is_operator() => None,
        Caller::Person(login) => Some(login.identity),
        Caller::Local => None,
    }
}
