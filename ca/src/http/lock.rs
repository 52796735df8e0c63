//! Locks, and lifting them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use wire::api::{LockView, OrderProgress, UnlockAsk};
use wire::lock::{Lock, Target};
use wire::order::Instruction;
use wire::problem::Code;
use wire::request::Sentence;
use wire::time::Timestamp;

use super::body::Body;
use super::power::Locker;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::Directive;

/// A lock as it is asked for. Hosts take what they do not know of a lock from a later version; from people a field that is not
/// known is a mistake: a lock whose end is misspelt would never end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockAsk {
    target: Target,
    reason: String,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// `GET /v1/locks`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    Locker(_caller): Locker,
) -> Result<Json<Vec<LockView>>, Refusal> {
    Ok(Json(authority.ledger.locks(clock::now()).await?))
}

/// `POST /v1/locks`
pub(crate) async fn lock(
    State(authority): State<Arc<Authority>>,
    Locker(caller): Locker,
    Body(LockAsk { target, reason, until }): Body<LockAsk>,
) -> Result<Json<OrderProgress>, Refusal> {
    let lock = Lock { target, reason, until };
    check_reason(&lock.reason)?;
    if !lock.holds_at(clock::now()) {
        return Err(Refusal::new(Code::Malformed, "the lock's end is in the past"));
    }
    refuse_authority(&authority, &lock.target)?;
    let (by, reason) = (caller.actor(), lock.reason.clone());
    give(&authority, Directive { by, reason, instruction: Instruction::Lock(lock) }).await
}

/// `POST /v1/unlocks`
pub(crate) async fn unlock(
    State(authority): State<Arc<Authority>>,
    Locker(caller): Locker,
    Body(ask): Body<UnlockAsk>,
) -> Result<Json<OrderProgress>, Refusal> {
    check_reason(&ask.reason)?;
    if matches!(ask.target, Target::Authority(_)) {
        return Err(given_up_elsewhere());
    }
    let (by, instruction) = (caller.actor(), Instruction::Unlock(ask.target));
    give(&authority, Directive { by, reason: ask.reason, instruction }).await
}

/// A key of the authority is locked for good when it is given up as compromised, and in no other way: a lock on the key
/// that signs, by whichever name, would refuse everybody on every host.
fn refuse_authority(authority: &Authority, target: &Target) -> Result<(), Refusal> {
    let is_ours = match target {
        Target::Authority(_) => true,
        Target::Key(print) => authority
            .user_authorities()
            .iter()
            .any(|key| wire::certificate::fingerprint(key.key_data()) == *print),
        _ => false,
    };
    if is_ours { Err(given_up_elsewhere()) } else { Ok(()) }
}

fn given_up_elsewhere() -> Refusal {
    let message = "a key of the authority is given up with `curfew-ca keys retire --compromised`, on its machine";
    Refusal::new(Code::Malformed, message)
}

/// A reason is shown on terminals and in listings, and people rely on it: it is what a [`Sentence`] is.
pub(crate) fn check_reason(reason: &str) -> Result<(), Refusal> {
    Sentence::check(reason)
        .map_err(|flaw| Refusal::new(Code::Malformed, format!("the reason {flaw}")))
}

async fn give(authority: &Authority, directive: Directive) -> Result<Json<OrderProgress>, Refusal> {
    let described = describe(&directive.instruction);
    let by = directive.by.as_str().to_owned();
    let number = authority.ledger.order(directive, authority.keyring(), clock::now()).await?;
    tracing::warn!(order = number.number(), %by, "{described}");
    progress_of(authority, number).await
}

fn describe(instruction: &Instruction) -> String {
    match instruction {
        Instruction::Lock(lock) => format!("{} is locked", lock.target),
        Instruction::Unlock(target) => format!("{target} is unlocked"),
        Instruction::Restored(_) => "the ledger was restored".into(),
        Instruction::Trust(keys) => format!("hosts are to believe the keys {}", keys.digest()),
    }
}

pub(crate) async fn progress_of(
    authority: &Authority,
    number: wire::identifier::OrderNumber,
) -> Result<Json<OrderProgress>, Refusal> {
    authority
        .progress(number)
        .await?
        .map(Json)
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no order {number}")))
}
