//! `/v1/behaviour`: the rules of behaviour, and signing them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::behaviour::{BehaviourAsk, BehaviourView};
use wire::problem::Code;

use super::body::Body;
use super::caller::Caller;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::behaviour::Behaviour;
use crate::clock;

/// `GET /v1/behaviour`
pub(crate) async fn show(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<BehaviourView>, Refusal> {
    let rules = in_force(&authority)?;
    let acknowledged = match caller {
        Caller::Local => None,
        Caller::Person(login) => {
            authority.ledger.acknowledged_at(login.identity, rules.hash()).await?
        }
    };
    let (text, hash) = (rules.text().to_owned(), rules.hash());
    Ok(Json(BehaviourView { text, hash, acknowledged, now: clock::now() }))
}

/// `POST /v1/behaviour`
pub(crate) async fn sign(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<BehaviourAsk>,
) -> Result<Json<BehaviourView>, Refusal> {
    let rules = in_force(&authority)?;
    let by = caller.clone().person()?.identity;
    let about = (authority.root.fingerprint(), rules.hash());
    let (ledger, who) = (&authority.ledger, by.clone());
    ledger.acknowledge((who, ask.signed), about, clock::now()).await??;
    tracing::info!(%by, hash = %rules.hash(), "the rules of behaviour were signed");
    show(State(authority), caller).await
}

fn in_force(authority: &Authority) -> Result<Behaviour, Refusal> {
    let none = || Refusal::new(Code::NotFound, "this authority has no rules of behaviour");
    authority.behaviour().ok_or_else(none)
}
