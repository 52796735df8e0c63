//! Exchanging a job's token for a login: no secret is shared, and what a job is was written into the settings beforehand.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use idp::claims::{Claims, Expected};
use idp::jws::Unverified;
use wire::api::Token;
use wire::identifier::Identity;
use wire::login::{Known, WorkloadAsk};
use wire::problem::Code;
use wire::time::Timestamp;

use super::body::Body;
use super::caller::Peer;
use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::config::identity::Workload;
use crate::issuer::NoClaims;
use crate::ledger::{Answered, LedgerError};
use crate::oidc;
use crate::random::{Secret, sha256};

/// `POST /v1/login/workload`
pub(crate) async fn login(
    State(authority): State<Arc<Authority>>,
    Extension(Peer(from)): Extension<Peer>,
    Body(ask): Body<WorkloadAsk>,
) -> Result<Json<Known>, Refusal> {
    let now = clock::now();
    authority.challenges.admit(from, now)?;
    let exchanged = exchange(&authority, &ask, now).await;
    if matches!(&exchanged, Err(Refusal(problem)) if problem.code != Code::Busy) {
        authority.challenges.failed(from, now);
    }
    exchanged.map(Json)
}

async fn exchange(
    authority: &Authority,
    ask: &WorkloadAsk,
    now: Timestamp,
) -> Result<Known, Refusal> {
    let (workload, claims) = recognised(authority, ask, now).await?;
    let issuer = workload.issuer.name.as_bytes();
    let number = claims.id.as_deref().unwrap_or(&ask.token);
    let answered = Answered {
        hash: sha256(&[b"workload\n", issuer, b"\n", number.as_bytes()]),
        until: claims.until,
    };
    let secret = Secret::generate().map_err(|error| Refusal::internal(&error))?;
    let expires = now.after(workload.login_lifetime);
    let identity = workload.identity.clone();
    let who = (identity.clone(), answered);
    match authority.ledger.begin_workload(who, (secret.hash(), expires), now).await {
        Ok(()) => {}
        Err(LedgerError::Answered) => {
            return Err(refused("this token was exchanged already; a job asks for a fresh one"));
        }
        Err(LedgerError::NotFound(why) | LedgerError::Conflict(why)) => return Err(refused(&why)),
        Err(error) => return Err(error.into()),
    }
    tracing::info!(%identity, subject = ?claims.subject, "a workload logged in");
    Ok(Known { identity, token: Token { token: secret.reveal(), expires } })
}

/// The one kind of job that the token is of, and what it says.
async fn recognised<'a>(
    authority: &'a Authority,
    ask: &WorkloadAsk,
    now: Timestamp,
) -> Result<(&'a Workload, Claims), Refusal> {
    let unverified = Unverified::parse(&ask.token).map_err(NoClaims::from)?;
    let issuer = unverified.claimed_issuer().unwrap_or_default();
    let candidates = authority.config.workloads.iter().filter(|one| {
        one.issuer.name == issuer && ask.identity.as_ref().is_none_or(|name| *name == one.identity)
    });
    let (mut found, mut flaw) = (Vec::new(), None);
    for workload in candidates {
        let expected = Expected {
            issuer: &workload.issuer.name,
            audience: &workload.audience,
            others: false,
            nonce: None,
            skew: workload.issuer.skew,
            longest: workload.longest_token,
        };
        let at = authority.issuers.of(&workload.issuer.name)?;
        match at.claims(&ask.token, &expected, now).await {
            Ok(claims) if oidc::is_one_of(&claims, workload) => found.push((workload, claims)),
            Ok(_other) => {}
            Err(none) => flaw = Some(none),
        }
    }
    let names: BTreeSet<&Identity> = found.iter().map(|(one, _)| &one.identity).collect();
    if names.len() > 1 {
        let names: Vec<&str> = names.into_iter().map(Identity::as_str).collect();
        return Err(refused(&format!("several identities fit; name one of {}", names.join(", "))));
    }
    match (found.pop(), flaw) {
        (Some(found), _) => Ok(found),
        (None, Some(flaw)) => Err(flaw.into()),
        (None, None) if issuer.is_empty() => Err(NoClaims::Unknown.into()),
        (None, None) => {
            Err(refused("no workload of the settings has these claims, or this issuer"))
        }
    }
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Code::Unauthenticated, format!("the login was refused: {why}"))
}
