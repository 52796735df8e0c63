//! Logging in: a challenge, and its signature by an enrolled key (PROTOCOL.sshsig).

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use ssh_key::public::KeyData;
use ssh_key::{PublicKey, SshSig};
use wire::api::{Challenge, ChallengeAsk, LoginAsk, Token};
use wire::identifier::Fingerprint;
use wire::problem::Code;

use super::body::Body;
use super::caller::Peer;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::LedgerError;
use crate::random::Secret;

/// `POST /v1/login/challenge`
pub(crate) async fn challenge(
    State(authority): State<Arc<Authority>>,
    Body(ask): Body<ChallengeAsk>,
) -> Result<Json<Challenge>, Refusal> {
    let made = authority.challenges.make(&ask.identity, clock::now());
    made.map(Json).map_err(|error| Refusal::internal(&error))
}

/// `POST /v1/login`
pub(crate) async fn login(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    Body(ask): Body<LoginAsk>,
) -> Result<Json<Token>, Refusal> {
    let now = clock::now();
    authority.challenges.admit(from, now)?;
    let proved = prove(&authority, &ask).await;
    if matches!(&proved, Err(Refusal(problem)) if problem.code != Code::Internal) {
        authority.challenges.failed(from, now);
    }
    let key = proved?;
    let token = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let expires = now.after(authority.config.login_lifetime);
    let who = (ask.identity.clone(), key);
    match authority.ledger.begin_login(token.hash(), who, expires, now).await {
        Ok(()) => {}
        Err(LedgerError::NotFound(_)) => return Err(refused()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(identity = %ask.identity, "logged in");
    Ok(Json(Token { token: token.reveal(), expires }))
}

/// Which of the identity's keys made the signature. Whoever fails learns nothing about which identities there are.
async fn prove(authority: &Authority, ask: &LoginAsk) -> Result<Fingerprint, Refusal> {
    authority.challenges.take(&ask.identity, &ask.challenge, clock::now())?;
    let signature: SshSig = ask.signature.parse().map_err(|error: ssh_key::Error| {
        Refusal::new(Code::Malformed, format!("the signature cannot be read: {error}"))
    })?;
    let message =
        wire::login::message(&authority.root.fingerprint(), &ask.identity, &ask.challenge);
    for text in authority.ledger.login_keys(ask.identity.clone()).await? {
        let key = PublicKey::from_openssh(&text).map_err(|error| Refusal::internal(&error))?;
        if key.key_data() == signature.public_key()
            && key.verify(wire::login::NAMESPACE, message.as_bytes(), &signature).is_ok()
            && is_touched(&signature)
        {
            return Ok(wire::certificate::fingerprint(key.key_data()));
        }
    }
    Err(refused())
}

/// A security key says in its signature whether someone touched it (PROTOCOL.u2f); without that it is refused.
fn is_touched(signature: &SshSig) -> bool {
    if !matches!(signature.public_key(), KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)) {
        return true;
    }
    let bytes = signature.signature_bytes();
    let flags = bytes.len().checked_sub(SK_TRAILER).and_then(|at| bytes.get(at));
    flags.is_some_and(|flags| flags & USER_PRESENT != 0)
}

fn refused() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "the login was refused: the identity is unknown or disabled, or this is not one of its keys",
    )
}

/// A security key's signature ends in a byte of flags and a counter of four.
const SK_TRAILER: usize = 5;
const USER_PRESENT: u8 = 1;
