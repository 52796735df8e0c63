//! How a person or a workload proves who they are: with an SSH key, by the word of an identity provider, or by the token of
//! a job.

use serde::{Deserialize, Serialize};

use crate::identifier::{Fingerprint, Identity};
use crate::identity::Method;
use crate::time::Timestamp;

/// The exact bytes to sign: which authority, who, and its challenge, so that a signature for one serves nowhere else.
#[must_use]
pub fn message(authority: &Fingerprint, identity: &Identity, challenge: &str) -> String {
    format!("curfew login v1\nauthority {authority}\nidentity {identity}\nchallenge {challenge}\n")
}

/// The SSHSIG namespace of logins.
pub const NAMESPACE: &str = "login@curfew.internal";

/// A login that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRow {
    /// The number of its entry; 0 where it is from before logins were numbered.
    pub login: u64,
    /// Whose it is.
    pub identity: Identity,
    /// With what it was made.
    pub method: Method,
    /// The enrolled key that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Fingerprint>,
    /// When it began.
    pub begun: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When a second factor was last shown in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_at: Option<Timestamp>,
}

/// "End these logins": one by its number, or all of an identity; without either, the one that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndLogins {
    /// One.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<u64>,
    /// All of an identity; one's own, for whoever is no operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// How many ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginsEnded {
    /// That many.
    pub ended: u64,
}

/// How a person reaches the identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// On another device with a browser, by a code that is typed there (RFC 8628).
    Device,
    /// In this browser, which comes back with a code (RFC 6749 §4.1, with RFC 7636).
    Code,
}

/// "I want to log in through the identity provider."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcBegin {
    /// In which way.
    pub flow: Flow,
}

/// What to do, and what to come back with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OidcBegun {
    /// A secret of whoever asked, sealed by the authority: only with it can the login be finished.
    pub handle: String,
    /// Where to go with a browser.
    pub url: String,
    /// What to type there; it is in the address already, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same address with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<String>,
    /// How long to wait between two questions whether it is done.
    pub interval_secs: u64,
    /// When it is of no use any more.
    pub expires: Timestamp,
}

impl std::fmt::Debug for OidcBegun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcBegun").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// "Is it done?", or what the browser came back with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcFinish {
    /// The handle of the beginning.
    pub handle: String,
    /// What the browser came back with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it had been given along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl std::fmt::Debug for OidcFinish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcFinish").finish_non_exhaustive()
    }
}

/// Whether it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OidcAnswer {
    /// Not yet; ask again after so long.
    Pending {
        /// In seconds.
        interval_secs: u64,
    },
    /// It is.
    Done(Known),
}

/// A token of a job, to be exchanged for a login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadAsk {
    /// The token, as its issuer signed it.
    pub token: String,
    /// As whom, where several fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

impl std::fmt::Debug for WorkloadAsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkloadAsk").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A login, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Whose.
    pub identity: Identity,
    /// The secret, and when it ends.
    #[serde(flatten)]
    pub token: crate::api::Token,
}
