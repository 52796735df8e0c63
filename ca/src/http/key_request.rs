//! `/v1/keys/requests`: another key to log in with, asked for by its owner and approved by somebody else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use policy::Act;
use wire::key_request::{KeyApprovalAsk, KeyRequestAsk, KeyRequestView};
use wire::problem::Code;
use wire::request::NoAsk;

use super::body::{Body, Path};
use super::caller::Caller;
use super::power::{Administrator, Power};
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{Bringer, Login};

/// `GET /v1/keys/requests`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<KeyRequestView>>, Refusal> {
    let by = bringer(&authority, &caller).await?;
    Ok(Json(authority.ledger.key_requests(by, clock::now()).await?))
}

/// `POST /v1/keys/requests`
pub(crate) async fn make(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<KeyRequestAsk>,
) -> Result<Json<KeyRequestView>, Refusal> {
    let by = person(bringer(&authority, &caller).await?)?;
    let root = authority.root.fingerprint();
    let number = authority.ledger.request_key(by.clone(), (ask, root), clock::now()).await??;
    tracing::info!(request = number, by = %by.identity, "a key to log in with was asked for");
    shown(&authority, by, number).await
}

/// `POST /v1/keys/requests/{number}/approve`
pub(crate) async fn approve(
    State(authority): State<Arc<Authority>>,
    Administrator(caller): Administrator,
    Path(number): Path<String>,
    Body(ask): Body<KeyApprovalAsk>,
) -> Result<Json<KeyRequestView>, Refusal> {
    let number = parsed(&number)?;
    let by = person(bringer(&authority, &caller).await?)?;
    let with = (authority.root.fingerprint(), authority.keyring());
    let ledger = &authority.ledger;
    let taken = ledger.approve_key(by.clone(), (number, ask.signed), with, clock::now()).await??;
    let order = taken.order.map(|order| order.number());
    let (identity, key) = (&taken.identity, &taken.key);
    tracing::warn!(request = number, %identity, %key, by = %by.identity, order, "a key was approved");
    authority.krl.wake();
    shown(&authority, by, number).await
}

/// `POST /v1/keys/requests/{number}/end`
pub(crate) async fn end(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(number): Path<String>,
    Body(ask): Body<NoAsk>,
) -> Result<Json<KeyRequestView>, Refusal> {
    let number = parsed(&number)?;
    let by = bringer(&authority, &caller).await?;
    let said = (number, ask.reason.to_string());
    let state = authority.ledger.end_key_request(by.clone(), said, clock::now()).await?;
    let actor = caller.actor();
    tracing::info!(
        request = number,
        by = actor.as_str(),
        state = state.as_str(),
        "a request for a key ended"
    );
    found(authority.ledger.key_requests(by, clock::now()).await?, number)
}

async fn shown(
    authority: &Authority,
    by: Bringer,
    number: u64,
) -> Result<Json<KeyRequestView>, Refusal> {
    found(authority.ledger.key_requests(Some(by), clock::now()).await?, number)
}

fn found(all: Vec<KeyRequestView>, number: u64) -> Result<Json<KeyRequestView>, Refusal> {
    let found = all.into_iter().find(|view| view.request == number);
    let lost = "the request was recorded, and cannot be listed among so many; look again";
    found.map(Json).ok_or_else(|| Refusal::new(Code::Busy, lost))
}

/// Whoever calls, and whether the policy lets them administer; nobody on the operator's socket.
async fn bringer(authority: &Authority, caller: &Caller) -> Result<Option<Bringer>, Refusal> {
    let Caller::Person(login) = caller else { return Ok(None) };
    let administers = Power::of(authority, caller).await?.may(Act::Administer);
    let Login { identity, method, mfa_at, .. } = login.clone();
    Ok(Some(Bringer { identity, method, mfa_at, administers }))
}

fn person(by: Option<Bringer>) -> Result<Bringer, Refusal> {
    let why = "a request for a key is made and approved by people who have logged in; here, `curfew-ca identity key add`";
    by.ok_or_else(|| Refusal::new(Code::Denied, why))
}

fn parsed(text: &str) -> Result<u64, Refusal> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_number && *number > 0);
    let why = "a request for a key is named by its number, such as 42";
    number.ok_or_else(|| Refusal::new(Code::Malformed, why))
}
