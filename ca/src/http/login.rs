//! Logging in: a challenge, and its signature by an enrolled key (PROTOCOL.sshsig).

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use policy::Act;
use ssh_key::PublicKey;
use wire::api::{Challenge, ChallengeAsk, KeyRow, LoginAsk, OrderProgress, RevokeKey, Token};
use wire::identifier::{Fingerprint, Identity};
use wire::login::{EndLogins, LoginRow, LoginsEnded};
use wire::problem::Code;
use wire::signature::Presence;
use wire::sshsig;

use super::body::Body;
use super::caller::{Caller, Peer};
use super::power::Power;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::challenge::ChallengeRefusal;
use crate::clock;
use crate::ledger::{Actor, Answered, Ending, LedgerError, NewLogin, Proof};
use crate::random::{Secret, sha256};

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
    let (key, presence, answered) = proved?;
    let token = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let expires = now.after(authority.config.login_lifetime);
    // Something one has, and something one knows or is: the key itself asked for both.
    let mfa = presence.is_some_and(|presence| presence.touched && presence.verified);
    let new = NewLogin {
        hash: token.hash(),
        identity: ask.identity.clone(),
        proof: Proof::Key(key),
        mfa_at: mfa.then_some(now),
        until: expires,
    };
    match authority.ledger.begin_login((new, answered), now).await {
        Ok(()) => {}
        Err(LedgerError::NotFound(_)) => return Err(refused()),
        // At another node of this authority.
        Err(LedgerError::Answered) => return Err(ChallengeRefusal::Used.into()),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(identity = %ask.identity, "logged in");
    Ok(Json(Token { token: token.reveal(), expires }))
}

/// The key that signed, what it says of its holder, and what it answered.
type Proved = (Fingerprint, Option<Presence>, Answered);

/// Which of the identity's keys made the signature. Whoever fails learns nothing about which identities there are.
async fn prove(authority: &Authority, ask: &LoginAsk) -> Result<Proved, Refusal> {
    let until = authority.challenges.take(&ask.identity, &ask.challenge, clock::now())?;
    let answered = Answered { hash: sha256(&[ask.challenge.as_bytes()]), until };
    let seal = sshsig::parse(&ask.signature)
        .map_err(|flaw| Refusal::new(Code::Malformed, format!("the signature: {flaw}")))?;
    let message =
        wire::login::message(&authority.root.fingerprint(), &ask.identity, &ask.challenge);
    for text in authority.ledger.login_keys(ask.identity.clone()).await? {
        let key = PublicKey::from_openssh(&text).map_err(|error| Refusal::internal(&error))?;
        let (key, purpose) = (key.key_data(), wire::login::NAMESPACE);
        // Also refused: a security key that nobody touched.
        if let Ok(presence) = sshsig::verify(&seal, key, purpose, message.as_bytes()) {
            return Ok((wire::certificate::fingerprint(key), presence, answered));
        }
    }
    Err(refused())
}

fn refused() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "the login was refused: the identity is unknown or disabled, or this is not one of its keys",
    )
}

/// `GET /v1/logins`
pub(crate) async fn list(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<LoginRow>>, Refusal> {
    let is_for_all = Power::of(&authority, &caller).await?.may(Act::Administer);
    let whose = match &caller {
        Caller::Person(login) if !is_for_all => Some(login.identity.clone()),
        Caller::Person(_) | Caller::Local => None,
    };
    Ok(Json(authority.ledger.logins(whose, clock::now()).await?))
}

/// `POST /v1/logins/end`
pub(crate) async fn end(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<EndLogins>,
) -> Result<Json<LoginsEnded>, Refusal> {
    let own = match &caller {
        Caller::Local => None,
        Caller::Person(login) => Some(login),
    };
    let is_for_all = Power::of(&authority, &caller).await?.may(Act::Administer);
    let only = own.filter(|_| !is_for_all).map(|login| login.identity.clone());
    let ending = match (ask.login, ask.identity) {
        (Some(_), Some(_)) => {
            return Err(Refusal::new(Code::Malformed, "name a login or an identity, not both"));
        }
        (Some(number), None) => Ending::One(number),
        (None, Some(identity)) => {
            if only.as_ref().is_some_and(|only| *only != identity) {
                return Err(Refusal::new(Code::Denied, "the logins of others are for operators"));
            }
            Ending::All(identity)
        }
        (None, None) => match own {
            Some(login) => Ending::One(login.number),
            None => return Err(Refusal::new(Code::Malformed, "name a login or an identity")),
        },
    };
    let ended = authority.ledger.end_logins(caller.actor(), (ending, only), clock::now()).await?;
    tracing::info!(by = caller.actor().as_str(), ended, "logins were ended");
    Ok(Json(LoginsEnded { ended: u64::try_from(ended).unwrap_or(u64::MAX) }))
}

/// `GET /v1/keys`
pub(crate) async fn keys(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
) -> Result<Json<Vec<KeyRow>>, Refusal> {
    let identity = caller.person()?.identity;
    Ok(Json(authority.ledger.keys_of(identity).await?))
}

/// `POST /v1/keys/revoke`: one's own. Whoever fears for a key waits for nobody.
pub(crate) async fn revoke_key(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Body(ask): Body<RevokeKey>,
) -> Result<Json<OrderProgress>, Refusal> {
    super::check_reason(&ask.reason)?;
    let actor = caller.actor();
    let identity = caller.person()?.identity;
    revoked(&authority, actor, (identity, ask)).await
}

/// Takes a key away, and says how far its order has come.
pub(crate) async fn revoked(
    authority: &Authority,
    by: Actor,
    (identity, ask): (Identity, RevokeKey),
) -> Result<Json<OrderProgress>, Refusal> {
    let RevokeKey { key, reason } = ask;
    let order = (reason, authority.keyring());
    let whose = (identity.clone(), key.clone());
    let number = authority.ledger.revoke_key(by, whose, order, clock::now()).await?;
    authority.krl.wake();
    tracing::warn!(%identity, %key, order = number.number(), "a login key was revoked");
    super::progress_of(authority, number).await
}
