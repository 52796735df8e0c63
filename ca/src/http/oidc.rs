//! Logging in through the identity provider: the authority asks it, and believes its token alone.
//!
//! Whoever begins gets a handle: what the authority must know at the end, sealed. So nothing is kept for those who never
//! come back, every node can finish what another began, and whoever did not begin cannot finish: a code or a state that
//! somebody else brings is worth nothing without the handle.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::State;
use axum::{Extension, Json};
use idp::claims::{Claims, Expected};
use idp::provider::{self, DeviceCode, Granted, MAX_ANSWER};
use serde::{Deserialize, Serialize};
use wire::api::Token;
use wire::login::{Flow, Known, OidcAnswer, OidcBegin, OidcBegun, OidcFinish};
use wire::problem::Code;
use wire::time::Timestamp;

use super::body::Body;
use super::caller::Peer;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::config::identity::Oidc;
use crate::issuer::{Away, IssuerAt, NoClaims};
use crate::ledger::{Answered, LedgerError};
use crate::oidc;
use crate::random::{Secret, sha256};

/// What is sealed into a handle.
#[derive(Serialize, Deserialize)]
struct Pending {
    until: Timestamp,
    interval_secs: u64,
    way: Way,
}

#[derive(Serialize, Deserialize)]
enum Way {
    /// The provider's code for this device.
    Device(String),
    /// What the browser must bring back, what the token must repeat, and the proof key.
    Code { state: String, nonce: String, verifier: String },
}

/// `POST /v1/login/oidc/begin`
pub(crate) async fn begin(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    Body(ask): Body<OidcBegin>,
) -> Result<Json<OidcBegun>, Refusal> {
    let now = clock::now();
    authority.challenges.admit(from, now)?;
    let rules = rules(&authority)?;
    let _turn = turn(&authority)?;
    let at = authority.issuers.of(&rules.issuer.name)?;
    let (pending, begun) = match ask.flow {
        Flow::Device => by_device(rules, at, now).await?,
        Flow::Code => by_code(rules, at, now).await?,
    };
    let handle = authority.sealer.seal(&pending).map_err(|error| Refusal::internal(&error))?;
    Ok(Json(OidcBegun { handle, ..begun }))
}

/// `POST /v1/login/oidc/finish`
pub(crate) async fn finish(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    Body(ask): Body<OidcFinish>,
) -> Result<Json<OidcAnswer>, Refusal> {
    let now = clock::now();
    authority.challenges.admit(from, now)?;
    let done = done(&authority, &ask, now).await;
    if matches!(&done, Err(Refusal(problem)) if problem.code != Code::Busy) {
        authority.challenges.failed(from, now);
    }
    done.map(Json)
}

async fn done(
    authority: &Authority,
    ask: &OidcFinish,
    now: Timestamp,
) -> Result<OidcAnswer, Refusal> {
    let rules = rules(authority)?;
    let pending: Option<Pending> = authority.sealer.open(&ask.handle);
    let pending = pending.filter(|pending| now < pending.until).ok_or_else(over)?;
    let at = authority.issuers.of(&rules.issuer.name)?;
    let turn = turn(authority)?;
    let (form, nonce) = question(rules, &pending, ask)?;
    let place = at.provider(now).await?.token.clone();
    let place = place.ok_or_else(|| at.away("it names no token_endpoint".into()))?;
    let bytes = asked(at, &place, form).await?;
    let granted = Granted::parse(&bytes).map_err(|flaw| at.away(flaw.to_string()))?;
    drop(turn);
    let token = match granted {
        Granted::Token(token) => token,
        Granted::Pending { slower } => {
            let more = if slower { 5 } else { 0 };
            let interval_secs = pending.interval_secs.saturating_add(more);
            return Ok(OidcAnswer::Pending { interval_secs });
        }
        Granted::Denied => return Err(refused("it was denied at the identity provider".into())),
        Granted::Over => return Err(over()),
    };
    let expected = Expected {
        issuer: &rules.issuer.name,
        audience: &rules.client_id,
        others: true,
        nonce,
        skew: rules.issuer.skew,
        longest: LONGEST_TOKEN,
    };
    let claims = at.claims(&token, &expected, now).await?;
    let answered = Answered { hash: sha256(&[ask.handle.as_bytes()]), until: pending.until };
    let known = let_in(authority, (rules, &claims), answered, now).await?;
    Ok(OidcAnswer::Done(known))
}

/// Records the login of whomever the claims are about.
async fn let_in(
    authority: &Authority,
    (rules, claims): (&Oidc, &Claims),
    answered: Answered,
    now: Timestamp,
) -> Result<Known, Refusal> {
    let who = oidc::who(claims, rules).map_err(|none| refused(none.to_string()))?;
    let secret = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let expires = now.after(rules.login_lifetime);
    let login = (secret.hash(), expires);
    let identity = match authority.ledger.begin_vouched((who, answered), login, now).await {
        Ok(identity) => identity,
        Err(LedgerError::Answered) => return Err(over()),
        Err(LedgerError::NotFound(why) | LedgerError::Conflict(why)) => return Err(refused(why)),
        Err(error) => return Err(error.into()),
    };
    authority.krl.wake();
    tracing::info!(%identity, "logged in through the identity provider");
    Ok(Known { identity, token: Token { token: secret.reveal(), expires } })
}

async fn by_device(
    rules: &Oidc,
    at: &IssuerAt,
    now: Timestamp,
) -> Result<(Pending, OidcBegun), Refusal> {
    let place = at.provider(now).await?.device.clone();
    let place = place.ok_or_else(|| at.away("it names no device_authorization_endpoint".into()))?;
    let scopes = rules.scopes.join(" ");
    let form = form(rules, &[("scope", scopes.as_str())])?;
    let bytes = asked(at, &place, form).await?;
    let code = DeviceCode::parse(&bytes).map_err(|flaw| at.away(flaw.to_string()))?;
    let until = now.after(code.lifetime);
    let interval_secs = code.interval.as_secs();
    let begun = OidcBegun {
        handle: String::new(),
        url: code.verification_uri,
        code: Some(code.user_code),
        complete: code.complete,
        interval_secs,
        expires: until,
    };
    Ok((Pending { until, interval_secs, way: Way::Device(code.device_code) }, begun))
}

async fn by_code(
    rules: &Oidc,
    at: &IssuerAt,
    now: Timestamp,
) -> Result<(Pending, OidcBegun), Refusal> {
    let back = rules.redirect_uri.as_deref().ok_or_else(|| {
        Refusal::new(
            Code::Denied,
            "no redirect_uri is set in [oidc], so there is no flow in a browser",
        )
    })?;
    let place = at.provider(now).await?.authorization.clone();
    let place = place.ok_or_else(|| at.away("it names no authorization_endpoint".into()))?;
    let fresh =
        || Secret::generate().map(Secret::reveal).map_err(|error| Refusal::internal(&error));
    let (state, nonce, verifier) = (fresh()?, fresh()?, fresh()?);
    let (scopes, challenge) = (rules.scopes.join(" "), provider::challenge(&verifier));
    let classes: Vec<&str> = rules.mfa_classes.iter().map(String::as_str).collect();
    let classes = classes.join(" ");
    let mut asked = vec![
        ("response_type", "code"),
        ("client_id", rules.client_id.as_str()),
        ("redirect_uri", back),
        ("scope", scopes.as_str()),
        ("state", state.as_str()),
        ("nonce", nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    if !classes.is_empty() {
        asked.push(("acr_values", classes.as_str()));
    }
    let until = now.after(BROWSER);
    let mark = if place.contains('?') { '&' } else { '?' };
    let begun = OidcBegun {
        handle: String::new(),
        url: format!("{place}{mark}{}", provider::form(&asked)),
        code: None,
        complete: None,
        interval_secs: 1,
        expires: until,
    };
    Ok((Pending { until, interval_secs: 1, way: Way::Code { state, nonce, verifier } }, begun))
}

/// What the provider is asked for a token with, and what the token must repeat.
fn question<'a>(
    rules: &Oidc,
    pending: &'a Pending,
    ask: &OidcFinish,
) -> Result<(String, Option<&'a str>), Refusal> {
    match &pending.way {
        Way::Device(code) => {
            let pairs = [("grant_type", DEVICE_GRANT), ("device_code", code.as_str())];
            Ok((form(rules, &pairs)?, None))
        }
        Way::Code { state, nonce, verifier } => {
            let (Some(code), Some(brought)) = (&ask.code, &ask.state) else {
                return Err(Refusal::new(
                    Code::Malformed,
                    "the browser's code and state are missing",
                ));
            };
            verify_slices_are_equal(state.as_bytes(), brought.as_bytes()).map_err(|_unequal| {
                refused("the browser came back with another state than it was given".into())
            })?;
            let pairs = [
                ("grant_type", "authorization_code"),
                ("code", code.as_str()),
                ("redirect_uri", rules.redirect_uri.as_deref().unwrap_or_default()),
                ("code_verifier", verifier.as_str()),
            ];
            Ok((form(rules, &pairs)?, Some(nonce.as_str())))
        }
    }
}

/// The form, with who we are.
fn form(rules: &Oidc, pairs: &[(&str, &str)]) -> Result<String, Refusal> {
    let secret = rules.client_secret_file.as_ref().map(std::fs::read_to_string).transpose();
    let secret = secret.map_err(|error| Refusal::internal(&error))?;
    let mut pairs = pairs.to_vec();
    pairs.push(("client_id", rules.client_id.as_str()));
    pairs.extend(secret.as_ref().map(|secret| ("client_secret", secret.trim())));
    Ok(provider::form(&pairs))
}

async fn asked(at: &IssuerAt, place: &str, form: String) -> Result<hyper::body::Bytes, Away> {
    match at.web.send(place, form, MAX_ANSWER).await {
        // A refusal has a status of 400 or 401 and a body that says which.
        Ok((status, bytes)) if !status.is_server_error() => Ok(bytes),
        Ok((status, _)) => Err(at.away(format!("it answered {status}"))),
        Err(error) => Err(at.away(super::refusal::chain(&error))),
    }
}

fn rules(authority: &Authority) -> Result<&Oidc, Refusal> {
    authority.config.oidc.as_ref().ok_or_else(|| {
        let message = "this authority asks no identity provider; log in with a key";
        Refusal::new(Code::NotFound, message)
    })
}

/// One of few questions to the provider at a time, so that strangers cannot have it flooded.
fn turn(authority: &Authority) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
    authority.asking.try_acquire().map_err(|_taken| {
        Refusal::new(Code::Busy, "many are logging in right now; try again in a moment")
    })
}

fn over() -> Refusal {
    Refusal::new(Code::Expired, "this login took too long, or was finished already; begin again")
}

fn refused(why: String) -> Refusal {
    Refusal::new(Code::Unauthenticated, format!("the login was refused: {why}"))
}

impl From<NoClaims> for Refusal {
    fn from(none: NoClaims) -> Self {
        match none {
            NoClaims::Away(away) => away.into(),
            other => refused(other.to_string()),
        }
    }
}

impl From<Away> for Refusal {
    fn from(away: Away) -> Self {
        tracing::warn!(issuer = %away.issuer, why = %away.why, "an issuer cannot be asked");
        Self::new(Code::Busy, away.to_string())
    }
}

/// Longest life of a token that says who somebody is: a day is more than providers give.
const LONGEST_TOKEN: Duration = Duration::from_secs(24 * 3_600);
/// How long a person may take in their browser.
const BROWSER: Duration = Duration::from_secs(600);
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
