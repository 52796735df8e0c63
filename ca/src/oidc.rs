//! Who somebody is here whom the identity provider vouches for, from claims and settings alone: no I/O, no clock.

use idp::claims::Claims;
use wire::identifier::{Identity, NameError, TeamName};

use crate::config::identity::{Oidc, Workload};
use crate::ledger::{May, Vouchee};

/// Why a person of the provider's is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOurs {
    /// Nothing to call them.
    #[error("the identity provider says nothing in the claim {0}, which names people here")]
    NoName(String),
    /// Anybody can write any address.
    #[error("the identity provider has not verified the address (email_verified)")]
    Unverified,
    /// Of another domain.
    #[error("only people of {0} are let in")]
    Domain(String),
    /// A claim is missing.
    #[error("the identity provider does not say what is required in the claim {0}")]
    Required(String),
    /// No name for here.
    #[error("what the identity provider calls them is no name here: {0}")]
    Name(#[from] NameError),
}

/// Who they are, and what may be done for them.
pub(crate) fn who(claims: &Claims, rules: &Oidc) -> Result<Vouchee, NotOurs> {
    let name = claims.text(&rules.name_claim);
    let name = name.ok_or_else(|| NotOurs::NoName(rules.name_claim.clone()))?;
    if rules.name_claim == "email" && !claims.is_true("email_verified") {
        return Err(NotOurs::Unverified);
    }
    // Addresses differ in their letters' case and in nothing else; the subject, not the name, says whose it is.
    let name = name.to_ascii_lowercase();
    let domain = name.rsplit_once('@').map(|(_, domain)| domain);
    let is_ours = domain.is_some_and(|domain| rules.domains.contains(domain));
    if !rules.domains.is_empty() && !is_ours {
        let list: Vec<&str> = rules.domains.iter().map(String::as_str).collect();
        return Err(NotOurs::Domain(list.join(", ")));
    }
    let lacking =
        |(name, value): &(&String, &String)| !claims.is(name, value) && !claims.holds(name, value);
    if let Some((name, _)) = rules.require.iter().find(lacking) {
        return Err(NotOurs::Required(name.clone()));
    }
    let teams = rules.teams_claim.as_ref().map(|claim| {
        let named = |said: &str| match &rules.teams {
            Some(table) => table.get(said).cloned(),
            None => TeamName::try_new(said).ok(),
        };
        claims.texts(claim).into_iter().filter_map(named).collect()
    });
    Ok(Vouchee {
        issuer: rules.issuer.name.clone(),
        subject: claims.subject.clone(),
        identity: Identity::try_new(name)?,
        may: May { create: rules.create, bind_existing: rules.bind_existing },
        teams,
        mfa_at: claims.second_factor(&rules.mfa_methods, &rules.mfa_classes),
    })
}

/// Whether a job is one of these.
pub(crate) fn is_one_of(claims: &Claims, workload: &Workload) -> bool {
    workload.claims.iter().all(|(name, value)| claims.is(name, value))
}
