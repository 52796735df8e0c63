//! Who calls: someone with a token, or whoever is at the authority's own machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use wire::identifier::Identity;
use wire::identity::Kind;
use wire::problem::Code;

use super::refusal::Refusal;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{Actor, Login};
use crate::random::Secret;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// On the operator's socket, by its peer's credentials.
    Local,
    /// With a token that holds.
    Person(Login),
}

/// A person who asks for a certificate: their login, and what it is looked up by.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// The hash of their token.
    pub(crate) token: [u8; 32],
    /// The login, possibly as of an epoch that is over.
    pub(crate) login: Login,
}

/// A caller at the authority's own machine.
#[derive(Debug, Clone)]
pub(crate) struct Operator(pub(crate) Caller);

/// Marks requests that came over the operator's socket. Only its listener puts it there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Caller {
    /// As the ledger names them.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Local => Actor::local(),
            Self::Person(login) => Actor::person(&login.identity),
        }
    }

    /// Who gives a verdict: themselves, or, at the authority's own machine, whoever is named there. That is said and not proved,
    /// and the entry says by whose word.
    pub(crate) fn reviewer(&self, named: Option<Identity>) -> Result<Identity, Refusal> {
        match (self, named) {
            (Self::Person(login), None) => Ok(login.identity.clone()),
            (Self::Person(login), Some(named)) if named == login.identity => Ok(named),
            (Self::Person(_), Some(_)) => {
                Err(Refusal::new(Code::Denied, "nobody gives a verdict in the name of another"))
            }
            (Self::Local, Some(named)) => Ok(named),
            (Self::Local, None) => Err(Refusal::new(
                Code::Malformed,
                "say who reviews it: --reviewer IDENTITY; who took part cannot",
            )),
        }
    }

    /// The person, where only a person will do.
    pub(crate) fn person(self) -> Result<Login, Refusal> {
        match self {
            Self::Person(login) => Ok(login),
            Self::Local => Err(not_a_person()),
        }
    }
}

impl FromRequestParts<Arc<Authority>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        if parts.extensions.get::<Local>().is_some() {
            return Ok(Self::Local);
        }
        match authority.ledger.login(token(parts)?, clock::now()).await? {
            Some(login) => {
                demand_factor(authority, &login)?;
                Ok(Self::Person(login))
            }
            None => Err(ended()),
        }
    }
}

impl FromRequestParts<Arc<Authority>> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        if parts.extensions.get::<Local>().is_some() {
            return Err(not_a_person());
        }
        let token = token(parts)?;
        let login = authority.ledger.login_lately(token, clock::now()).await?;
        let login = login.ok_or_else(ended)?;
        demand_factor(authority, &login)?;
        Ok(Self { token, login })
    }
}

/// A refusal where everybody is asked for a second factor and this person has shown none in this login.
fn demand_factor(authority: &Authority, login: &Login) -> Result<(), Refusal> {
    if !authority.config.second_factor || login.kind == Kind::Workload || login.mfa_at.is_some() {
        return Ok(());
    }
    let message = "this authority asks everybody for a second factor: log in with a security key that asks for touch and PIN, or through the \
                   provider. To get such a key enrolled, give an operator what `curfew keys offer` prints";
    Err(Refusal::new(Code::Denied, message))
}

/// The hash of the token that the request shows.
fn token(parts: &Parts) -> Result<[u8; 32], Refusal> {
    let shown = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Refusal::new(Code::Unauthenticated, "log in first: `curfew login`"))?;
    Ok(Secret::shown(shown).hash())
}

/// Told to whoever shows a token that does not hold any more.
pub(crate) fn ended() -> Refusal {
    Refusal::new(Code::Unauthenticated, "this login has ended; log in again: `curfew login`")
}

fn not_a_person() -> Refusal {
    Refusal::new(
        Code::Denied,
        "this call is for a person who has logged in, not for the operator's socket",
    )
}

impl FromRequestParts<Arc<Authority>> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Refusal> {
        match Caller::from_request_parts(parts, authority).await? {
            Caller::Local => Ok(Self(Caller::Local)),
            Caller::Person(_) => {
                let message = "this call is for whoever is at the authority's own machine";
                Err(Refusal::new(Code::Denied, message))
            }
        }
    }
}
