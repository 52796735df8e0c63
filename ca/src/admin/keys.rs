//! The authority's own keys, as the operator of this machine sees and moves them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use wire::identifier::{Fingerprint, HostName};
use wire::recording::RecordingKey;
use wire::time::Timestamp;

use crate::authority::{Act, Authority, Plan, RotationError};
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::key::{Purpose, Slot};
use crate::ledger::Standing;
use crate::rotation::{Confirmation, Exceptions, Stage};

/// "Take this step."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveKeys {
    /// Of which purpose.
    pub(crate) purpose: Purpose,
    /// Which step.
    pub(crate) step: KeyStep,
    /// Hosts that are not waited for.
    pub(crate) without: BTreeSet<HostName>,
    /// Whether the key goes although certificates that it signed are still valid.
    pub(crate) early: bool,
    /// Why.
    pub(crate) reason: String,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyStep {
    /// On.
    Rotate,
    /// Back.
    Revert,
    /// The former key ends.
    Retire,
    /// This key ends at once.
    Compromise(Fingerprint),
}

/// All keys, and who believes them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeysView {
    /// Each key, those that are over included.
    pub(crate) keys: Vec<KeyView>,
    /// In which phase each purpose is: `steady`, `announced` or `signing`.
    pub(crate) phases: Vec<(Purpose, String)>,
    /// Enrolled hosts.
    pub(crate) hosts: usize,
    /// Those that have not confirmed the keys of now, with the reason.
    pub(crate) unconfirmed: Vec<(HostName, Confirmation)>,
    /// The authority's clock.
    pub(crate) at: Timestamp,
}

/// One key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyView {
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Its number among those.
    pub(crate) number: u32,
    /// Where it is kept.
    pub(crate) slot: String,
    /// What holds it; unknown when it is not there any more.
    pub(crate) backend: Option<String>,
    /// Its type; unknown when the key is not where keys are kept any more.
    pub(crate) kind: Option<String>,
    /// Its fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// As hosts are told it.
    pub(crate) public_key: String,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Since when.
    pub(crate) since: Timestamp,
    /// When the last certificate ends that rests on it.
    pub(crate) certificates_until: Option<Timestamp>,
}

/// A step was taken.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeysMoved {
    /// The order by which hosts hear of it.
    pub(crate) order: u64,
    /// The keys afterwards.
    pub(crate) keys: KeysView,
}

/// "Make a new recording key."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeRecording {
    /// Why.
    pub(crate) reason: String,
}

/// A recording key was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordingMade {
    /// Its public half.
    pub(crate) key: RecordingKey,
    /// The order by which hosts hear of it.
    pub(crate) order: u64,
}

/// `POST /admin/keys/recording`
pub(super) async fn make_recording(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<MakeRecording>,
) -> Result<Json<RecordingMade>, Refusal> {
    crate::http::check_reason(&ask.reason)?;
    let made = authority.renew_recording_key(caller.actor(), ask.reason, clock::now()).await;
    let (key, order) = made.map_err(refused)?;
    tracing::warn!(%key, %order, "terminals are recorded to another key");
    Ok(Json(RecordingMade { key, order: order.number() }))
}

/// `GET /admin/keys`
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<KeysView>, Refusal> {
    Ok(Json(view(&authority).await?))
}

/// `POST /admin/keys`
pub(super) async fn step(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<MoveKeys>,
) -> Result<Json<KeysMoved>, Refusal> {
    crate::http::check_reason(&ask.reason)?;
    let act = match ask.step.clone() {
        KeyStep::Rotate => Act::Rotate,
        KeyStep::Revert => Act::Revert,
        KeyStep::Retire => Act::Retire,
        KeyStep::Compromise(key) => Act::Compromise(key),
    };
    let exceptions = Exceptions { without: ask.without, early: ask.early };
    let plan = Plan { purpose: ask.purpose, act, exceptions, reason: ask.reason };
    let by = caller.actor();
    let who = by.as_str().to_owned();
    let order = authority.rotate(by, plan, clock::now()).await.map_err(refused)?;
    tracing::warn!(purpose = ask.purpose.name(), step = ?ask.step, by = %who, order = order.number(),
        "the authority's keys have changed");
    Ok(Json(KeysMoved { order: order.number(), keys: view(&authority).await? }))
}

fn refused(error: RotationError) -> Refusal {
    match error {
        RotationError::Ledger(error) => error.into(),
        other => Refusal::internal(&other),
    }
}

async fn view(authority: &Authority) -> Result<KeysView, Refusal> {
    let standing = authority.ledger.keys().await?;
    let unconfirmed: Vec<_> = standing
        .hosts
        .iter()
        .filter(|(_, said)| *said != Confirmation::Confirmed)
        .cloned()
        .collect();
    let phases =
        standing.keys.iter().map(|(purpose, keys)| (*purpose, keys.phase().to_owned())).collect();
    let hosts = standing.hosts.len();
    Ok(KeysView { keys: keys(authority, &standing), phases, hosts, unconfirmed, at: clock::now() })
}

fn keys(authority: &Authority, standing: &Standing) -> Vec<KeyView> {
    let keyring = authority.keyring();
    let all = standing
        .keys
        .iter()
        .flat_map(|(purpose, keys)| keys.all().iter().map(move |key| (*purpose, key)));
    all.map(|(purpose, key)| {
        let found = keyring.find(&key.fingerprint);
        let end = standing.ends.iter().find(|(known, _)| *known == key.fingerprint);
        let slot = Slot { purpose, number: key.number };
        KeyView {
            purpose,
            number: key.number,
            slot: slot.to_string(),
            backend: authority.backend(slot).map(str::to_owned),
            kind: found.map(|found| found.public().algorithm().to_string()),
            fingerprint: key.fingerprint.clone(),
            public_key: key.public_key.clone(),
            stage: key.stage,
            since: key.since,
            certificates_until: end.map(|(_, end)| *end),
        }
    })
    .collect()
}
