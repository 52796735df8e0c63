//! Issuers of tokens while the authority serves: their descriptions and keys, kept for a while, and the one line from a
//! token to claims that are for us and hold now.
//!
//! Keys are fetched anew when they are old, and when a token names one that is not among them, at most every few seconds:
//! an issuer that goes over to its next key is followed at once, and tokens with made-up names make nobody fetch. An
//! issuer that cannot be reached is done without for an hour; after that its tokens are refused, and the answer says why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use idp::claims::{ClaimFlaw, Claims, Expected};
use idp::jwk::{KeySet, MAX_SET};
use idp::jws::{TokenFlaw, Unverified};
use idp::provider::{MAX_ANSWER, Provider};
use tokio::sync::Mutex;
use wire::time::Timestamp;

use crate::config::Config;
use crate::config::identity::Issuer;
use crate::web::{Roots, Web};

/// Every issuer of the settings, by its name.
pub(crate) struct Issuers(BTreeMap<String, IssuerAt>);

/// One of them.
pub(crate) struct IssuerAt {
    issuer: Issuer,
    /// How it is asked.
    pub(crate) web: Web,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    provider: Option<(Arc<Provider>, Timestamp)>,
    keys: Option<(Arc<KeySet>, Timestamp)>,
    /// When it was asked last, whatever came of it.
    asked: Option<Timestamp>,
}

/// Why a token brings nobody in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoClaims {
    /// It is not believed.
    #[error(transparent)]
    Token(#[from] TokenFlaw),
    /// It is not for us, or not now.
    #[error(transparent)]
    Claim(#[from] ClaimFlaw),
    /// Its issuer is none of ours.
    #[error("no issuer of these tokens is named in the settings")]
    Unknown,
    /// Its issuer cannot be asked.
    #[error(transparent)]
    Away(#[from] Away),
}

/// An issuer that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{issuer} cannot be asked: {why}; logins that are under way go on, new ones wait for it")]
pub(crate) struct Away {
    /// Which.
    pub(crate) issuer: String,
    /// Why.
    pub(crate) why: String,
}

impl Issuers {
    /// Those of the settings; none is asked yet.
    pub(crate) fn new(config: &Config) -> Result<Self, Roots> {
        let named = config.workloads.iter().map(|workload| &workload.issuer);
        let mut all = BTreeMap::new();
        for issuer in named.chain(config.oidc.iter().map(|oidc| &oidc.issuer)) {
            let web = Web::new(issuer.root.as_deref(), issuer.name.starts_with("https://"))?;
            let at = IssuerAt { issuer: issuer.clone(), web, kept: Mutex::default() };
            all.insert(issuer.name.clone(), at);
        }
        Ok(Self(all))
    }

    /// The issuer of this name.
    pub(crate) fn of(&self, name: &str) -> Result<&IssuerAt, NoClaims> {
        self.0.get(name).ok_or(NoClaims::Unknown)
    }
}

impl IssuerAt {
    /// What a token of this issuer says, when all of it holds.
    pub(crate) async fn claims(
        &self,
        token: &str,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Claims, NoClaims> {
        let unverified = Unverified::parse(token)?;
        let keys = self.keys(unverified.key(), now).await?;
        let verified = unverified.verify(&keys, &self.issuer.algorithms)?;
        Ok(Claims::check(verified, expected, now)?)
    }

    /// Where it is asked for what.
    pub(crate) async fn provider(&self, now: Timestamp) -> Result<Arc<Provider>, Away> {
        let mut kept = self.kept.lock().await;
        self.described(&mut kept, now).await
    }

    /// Its keys; fetched when they are old, or when the one that is wanted is not among them.
    async fn keys(&self, wanted: Option<&str>, now: Timestamp) -> Result<Arc<KeySet>, Away> {
        let mut kept = self.kept.lock().await;
        if let Some((keys, at)) = &kept.keys {
            let is_fresh = now.since(*at) < FRESH;
            let is_known = wanted.is_none_or(|wanted| keys.knows(wanted));
            let is_asked = kept.asked.is_some_and(|asked| now.since(asked) < PAUSE);
            if (is_fresh && is_known) || is_asked {
                return Ok(Arc::clone(keys));
            }
        }
        kept.asked = Some(now);
        match self.fetched(&mut kept, now).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                kept.keys = Some((Arc::clone(&keys), now));
                Ok(keys)
            }
            Err(away) => {
                tracing::warn!(issuer = %self.issuer.name, %away, "keys could not be fetched");
                let old = kept.keys.as_ref().filter(|(_, at)| now.since(*at) < LONGEST);
                old.map(|(keys, _)| Arc::clone(keys)).ok_or(away)
            }
        }
    }

    async fn fetched(&self, kept: &mut Kept, now: Timestamp) -> Result<KeySet, Away> {
        let provider = self.described(kept, now).await?;
        let bytes = self.read(&provider.keys, MAX_SET).await?;
        let keys = KeySet::parse(&bytes).map_err(|flaw| self.away(flaw.to_string()))?;
        tracing::info!(issuer = %self.issuer.name, left_out = keys.left_out, "its keys were fetched");
        Ok(keys)
    }

    async fn described(&self, kept: &mut Kept, now: Timestamp) -> Result<Arc<Provider>, Away> {
        if let Some((provider, _)) =
            kept.provider.as_ref().filter(|(_, at)| now.since(*at) < LONGEST)
        {
            return Ok(Arc::clone(provider));
        }
        let bytes = self.read(&Provider::place(&self.issuer.name), MAX_ANSWER).await?;
        let provider = Provider::parse(&bytes, &self.issuer.name);
        let provider = Arc::new(provider.map_err(|flaw| self.away(flaw.to_string()))?);
        kept.provider = Some((Arc::clone(&provider), now));
        Ok(provider)
    }

    async fn read(&self, url: &str, longest: usize) -> Result<hyper::body::Bytes, Away> {
        match self.web.read(url, longest).await {
            Ok((status, bytes)) if status.is_success() => Ok(bytes),
            Ok((status, _)) => Err(self.away(format!("it answered {status}"))),
            Err(error) => Err(self.away(crate::http::refusal::chain(&error))),
        }
    }

    /// That it cannot be asked.
    pub(crate) fn away(&self, why: String) -> Away {
        Away { issuer: self.issuer.name.clone(), why }
    }
}

/// How long keys are believed without being fetched again.
const FRESH: Duration = Duration::from_secs(600);
/// How long they are believed where they cannot be fetched, and how long a description is.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long after one question no other is asked.
const PAUSE: Duration = Duration::from_secs(5);
