//! What only the operator of this machine can do, over the socket that only root and the authority's user can use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use wire::api::{OrderProgress, RevokeKey};
use wire::identifier::{Address, Fingerprint, HostName, Identity, Label, RoleName};
use wire::identity;
use wire::log::LogKey;
use wire::problem::Code;
use wire::time::Timestamp;

use crate::authority::Authority;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::refusal::Refusal;
use crate::key::Purpose;
use crate::ledger::{Bound, IdentityRow, Nature, NewKey, NewToken};
use crate::random::Secret;
use crate::role::Role;

pub(crate) mod access;
pub(crate) mod backup;
pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod risk;
pub(crate) mod scim;
pub(crate) mod team;

/// "Add this identity with this key."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddIdentity {
    /// Its name.
    pub(crate) identity: Identity,
    /// A public key, in OpenSSH form.
    pub(crate) public_key: String,
    /// Whether it may lock, unlock and see everybody's sessions.
    pub(crate) operator: bool,
    /// Whether it is a workload, and no person.
    #[serde(default)]
    pub(crate) workload: bool,
}

/// "Disable this identity."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DisableIdentity {
    /// Its name.
    pub(crate) identity: Identity,
    /// Why.
    pub(crate) reason: String,
}

/// "Enable this identity again."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnableIdentity {
    /// Its name.
    pub(crate) identity: Identity,
}

/// "Take this key of this identity away."
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RevokeKeyOf {
    /// Whose.
    pub(crate) identity: Identity,
    /// Which, and why.
    #[serde(flatten)]
    pub(crate) revoke: RevokeKey,
}

/// "Make a token for this host."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeToken {
    /// Its name.
    pub(crate) host: HostName,
    /// Where it is reached.
    pub(crate) addresses: Vec<Address>,
    /// Its labels.
    pub(crate) labels: Vec<Label>,
    /// How long the token can be used, in seconds.
    pub(crate) valid_secs: u64,
}

/// "Remove this host."
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveHost {
    /// Its name.
    pub(crate) host: HostName,
}

/// "Give this host other addresses or labels"; what is absent stays.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeHost {
    /// Its name.
    pub(crate) host: HostName,
    /// Where it is reached, all of it.
    pub(crate) addresses: Option<Vec<Address>>,
    /// Its labels, all of them.
    pub(crate) labels: Option<Vec<Label>>,
}

/// A token with all that a host needs beside it.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenMade {
    /// For which host.
    pub(crate) host: HostName,
    /// Where hosts are served: `name:port`.
    pub(crate) authority: String,
    /// The fingerprint of the authority's root.
    pub(crate) fingerprint: Fingerprint,
    /// The secret; it is shown this once.
    pub(crate) token: String,
    /// When it is of no use any more.
    pub(crate) expires: Timestamp,
    /// The command to run on the host.
    pub(crate) command: String,
}

/// What is locked, as the list that stock sshd reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KrlMade {
    /// The list, in base64.
    pub(crate) krl: String,
    /// The order key's signature over it, armoured.
    pub(crate) signature: String,
    /// How many certificates it revokes, however many authorities they may be of.
    pub(crate) certificates: u64,
    /// How many locked sessions it cannot name.
    pub(crate) sessions: u64,
}

/// The operator's routes.
pub(crate) fn router(authority: Arc<Authority>) -> Router {
    Router::new()
        .route("/admin/access", get(access::list))
        .route("/admin/identities", get(identities).post(add_identity))
        .route("/admin/identities/disable", post(disable_identity))
        .route("/admin/identities/enable", post(enable_identity))
        .route("/admin/identities/keys/revoke", post(revoke_key))
        .route("/admin/identities/bound", get(bound))
        .route("/admin/identities/unbind", post(unbind))
        .route("/admin/scim/tokens", get(scim::list).post(scim::make))
        .route("/admin/scim/tokens/end", post(scim::end))
        .route("/admin/teams", get(team::list).post(team::change))
        .route("/admin/tokens", post(make_token))
        .route("/admin/hosts/change", post(change_host))
        .route("/admin/hosts/remove", post(remove_host))
        .route("/admin/roles", get(roles))
        .route("/admin/krl", get(krl))
        .route("/admin/log-keys", get(log_keys))
        .route("/admin/requests/{request}/questions", get(risk::questions))
        .route("/admin/requests/{request}/risk", get(risk::show))
        .route("/admin/erase", post(crate::http::erase))
        .route("/admin/backup", post(backup::begin))
        .route("/admin/keys", get(keys::list).post(keys::step))
        .route("/admin/keys/recording", post(keys::make_recording))
        .with_state(authority)
}

async fn identities(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<IdentityRow>>, Refusal> {
    Ok(Json(authority.ledger.identities().await?))
}

async fn add_identity(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<AddIdentity>,
) -> Result<Json<IdentityRow>, Refusal> {
    let key = login_key(&ask.public_key)?;
    let who = ask.identity.clone();
    let kind = if ask.workload { identity::Kind::Workload } else { identity::Kind::Person };
    let added = (key, Nature { kind, operator: ask.operator });
    authority.ledger.add_identity(caller.actor(), ask.identity, added, clock::now()).await?;
    authority.krl.wake();
    tracing::info!(identity = %who, "an identity was added or got a key");
    authority.ledger.identity(who).await?.map(Json).ok_or_else(|| {
        Refusal::new(Code::Internal, "the identity was recorded and cannot be read back")
    })
}

async fn disable_identity(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<DisableIdentity>,
) -> Result<Json<OrderProgress>, Refusal> {
    crate::http::check_reason(&ask.reason)?;
    let order = (ask.reason, authority.keyring());
    let who = ask.identity.clone();
    let ledger = &authority.ledger;
    let number = ledger.disable_identity(caller.actor(), ask.identity, order, clock::now()).await?;
    tracing::warn!(identity = %who, order = number.number(), "an identity was disabled");
    crate::http::progress_of(&authority, number).await
}

async fn enable_identity(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<EnableIdentity>,
) -> Result<Json<Option<OrderProgress>>, Refusal> {
    let key = authority.keyring();
    let who = ask.identity.clone();
    let ledger = &authority.ledger;
    let number = ledger.enable_identity(caller.actor(), ask.identity, key, clock::now()).await?;
    authority.krl.wake();
    tracing::warn!(identity = %who, "an identity was enabled");
    match number {
        None => Ok(Json(None)),
        Some(number) => {
            let Json(progress) = crate::http::progress_of(&authority, number).await?;
            Ok(Json(Some(progress)))
        }
    }
}

async fn revoke_key(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<RevokeKeyOf>,
) -> Result<Json<OrderProgress>, Refusal> {
    let RevokeKeyOf { identity, revoke } = ask;
    crate::http::check_reason(&revoke.reason)?;
    crate::http::revoked(&authority, caller.actor(), (identity, revoke)).await
}

async fn bound(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<Bound>>, Refusal> {
    Ok(Json(authority.ledger.bound().await?))
}

async fn unbind(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<EnableIdentity>,
) -> Result<Json<EnableIdentity>, Refusal> {
    authority.ledger.unbind(caller.actor(), ask.identity.clone(), clock::now()).await?;
    tracing::warn!(identity = %ask.identity, "an identity was let go by the identity provider's account");
    Ok(Json(ask))
}

async fn make_token(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<MakeToken>,
) -> Result<Json<TokenMade>, Refusal> {
    let valid = Duration::from_secs(ask.valid_secs);
    if valid.is_zero() || valid > MAX_TOKEN {
        return Err(Refusal::new(Code::Malformed, "a token is valid for 1s to 30d"));
    }
    refuse_many(ask.addresses.len().max(ask.labels.len()))?;
    let now = clock::now();
    let secret = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let until = now.after(valid);
    let host = ask.host.clone();
    let token = NewToken { host: ask.host, addresses: ask.addresses, labels: ask.labels, until };
    authority.ledger.make_token(caller.actor(), (token, secret.hash()), now).await?;
    tracing::info!(%host, "a token for a host was made");
    let address = authority.address(authority.config.hosts_listen.port());
    let fingerprint = authority.root.fingerprint();
    let token = secret.reveal();
    let command = format!("curfew-agent enroll --authority {address} --fingerprint {fingerprint}");
    Ok(Json(TokenMade { host, authority: address, fingerprint, token, expires: until, command }))
}

async fn change_host(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<ChangeHost>,
) -> Result<Json<ChangeHost>, Refusal> {
    let length = |count: Option<usize>| count.unwrap_or(0);
    refuse_many(length(ask.addresses.as_ref().map(Vec::len)))?;
    refuse_many(length(ask.labels.as_ref().map(Vec::len)))?;
    let whose = (caller.actor(), ask.host.clone());
    let to = (ask.addresses.clone(), ask.labels.clone());
    authority.ledger.change_host(whose, to, clock::now()).await?;
    // Its certificates say its names: it gets others at once, or when it is back.
    authority.fleet.ask_renewal(&ask.host);
    tracing::warn!(host = %ask.host, "a host got other addresses or labels");
    Ok(Json(ask))
}

fn refuse_many(count: usize) -> Result<(), Refusal> {
    if count <= MAX_ADDRESSES {
        return Ok(());
    }
    let message = format!("a host has at most {MAX_ADDRESSES} addresses and labels");
    Err(Refusal::new(Code::Malformed, message))
}

async fn remove_host(
    State(authority): State<Arc<Authority>>,
    Operator(caller): Operator,
    Body(ask): Body<RemoveHost>,
) -> Result<Json<RemoveHost>, Refusal> {
    authority.ledger.remove_host(caller.actor(), ask.host.clone(), clock::now()).await?;
    authority.fleet.dismiss(&ask.host);
    tracing::warn!(host = %ask.host, "a host was removed");
    Ok(Json(ask))
}

async fn roles(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Json<BTreeMap<RoleName, Role>> {
    Json(authority.roles().as_map().clone())
}

async fn log_keys(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<Vec<LogKey>>, Refusal> {
    let mut keys = Vec::new();
    for (_, key) in authority.keyring().slots(Purpose::Log) {
        keys.push(authority.ledger.log_key(key.clone()).await?);
    }
    Ok(Json(keys))
}

async fn krl(
    State(authority): State<Arc<Authority>>,
    Operator(_caller): Operator,
) -> Result<Json<KrlMade>, Refusal> {
    let made = crate::krl::refresh(&authority).await;
    let (list, _) = made.map_err(|error| Refusal::internal(&error))?;
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Json(KrlMade {
        krl: base64::engine::general_purpose::STANDARD.encode(list.bytes()),
        signature: list.announced().signature.clone(),
        certificates: count(list.revoked().serials.len()),
        sessions: count(list.revoked().sessions.len()),
    }))
}

/// A key that logins can be checked with.
fn login_key(text: &str) -> Result<NewKey, Refusal> {
    let malformed = |message: String| Refusal::new(Code::Malformed, message);
    let key = wire::sshsig::login_key(text)
        .map_err(|flaw| malformed(format!("the public key: {flaw}")))?;
    let public_key = Authority::printed(&key).map_err(|error| malformed(error.to_string()))?;
    Ok(NewKey { fingerprint: wire::certificate::fingerprint(key.key_data()), public_key })
}

const MAX_TOKEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most addresses and labels of a host: OpenSSH reads 256 principals, nobody needs as many.
const MAX_ADDRESSES: usize = 32;
