//! `/v1/behaviour`: the rules of behaviour, and signing them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::behaviour::{AcceptAsk, BehaviourAsk, BehaviourView};
use wire::identity::Method;
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
    let (acknowledged, by_login) = match caller {
        Caller::Local => (None, false),
        Caller::Person(login) => {
            let may = is_unsigned(&authority) && login.method == Method::Oidc;
            let keys = authority.ledger.keys_of(login.identity.clone()).await?;
            let acknowledged =
                authority.ledger.acknowledged_at(login.identity, rules.hash()).await?;
            (acknowledged, may && keys.is_empty())
        }
    };
    let (text, hash) = (rules.text().to_owned(), rules.hash());
    Ok(Json(BehaviourView { text, hash, acknowledged, by_login, now: clock::now() }))
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

/// `POST /v1/behaviour/accept`: for whoever comes through the provider and has no key, where the settings let them.
pub(crate) async fn accept(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<AcceptAsk>,
) -> Result<Json<BehaviourView>, Refusal> {
    let rules = in_force(&authority)?;
    let login = caller.clone().person()?;
    if !is_unsigned(&authority) || login.method != Method::Oidc {
        return Err(Refusal::new(Code::Denied, UNSIGNED));
    }
    if ask.text != rules.hash() {
        return Err(Refusal::new(Code::Denied, OTHERS));
    }
    let by = login.identity.clone();
    authority.ledger.accept_behaviour(login, rules.hash(), clock::now()).await??;
    tracing::info!(%by, hash = %rules.hash(), "the rules of behaviour were accepted by a login, unsigned");
    show(State(authority), caller).await
}

/// Whether the settings let people who have no key accept by their login.
fn is_unsigned(authority: &Authority) -> bool {
    authority.config.behaviour.as_ref().is_some_and(|at| at.unsigned)
}

fn in_force(authority: &Authority) -> Result<Behaviour, Refusal> {
    let none = || Refusal::new(Code::NotFound, "this authority has no rules of behaviour");
    authority.behaviour().ok_or_else(none)
}

const UNSIGNED: &str = "the rules of behaviour are signed with a key: ask for one with `curfew keys add`, then `curfew behaviour --sign`";
const OTHERS: &str =
    "the rules of behaviour are others by now; read them again: `curfew behaviour`";
