//! Logging in: a challenge, and its signature by an enrolled key (PROTOCOL.sshsig).

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use ssh_key::PublicKey;
use wire::api::{Challenge, ChallengeAsk, LoginAsk, Token};
use wire::identifier::Fingerprint;
use wire::problem::Code;
use wire::signature::Presence;
use wire::sshsig;

use super::body::Body;
use super::caller::Peer;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::challenge::ChallengeRefusal;
use crate::clock;
use crate::ledger::{Answered, LedgerError, NewLogin, Proof};
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
