//! A request for access, what approvers sign, and where it stands.
//!
//! Shape: the authority writes a request once, as JSON ([`Asked`]), and keeps that text; its SHA-256 names it. An approver signs
//! the text of an [`Approval`], which names that hash, with a login key (`PROTOCOL.sshsig`, namespace [`NAMESPACE`]). Both
//! texts are canonical: what reads is written again as the same bytes, or it is refused.
//! Who can change this: whoever has the ledger's database. Gains: nothing; a request that was changed has another hash, which
//! nobody approved, and an approval cannot be made without the approver's key.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::VERSION;
use crate::identifier::{
    Fingerprint, GrantId, HostName, Identity, Login, RequestId, RoleName, Ticket,
};
use crate::log::Hash;
use crate::signature::Presence;
use crate::sshsig::{self, SealFlaw};
use crate::time::Timestamp;

mod sentence;
mod view;

pub use sentence::{MAX_SENTENCE, Sentence, SentenceError};
pub use view::{
    ApprovalAsk, ApprovalView, Demanded, Lower, Missing, MissingSeat, NoAsk, RequestAsk,
    RequestDetail, RequestView, RiskView, VerdictAsk,
};

/// A request, as it is kept, shown and approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The version of this format.
    pub version: u32,
    /// The authority that it was asked of, by its root.
    pub authority: Fingerprint,
    /// Its number.
    pub request: RequestId,
    /// Who asks, and gets the access.
    pub identity: Identity,
    /// The role.
    pub role: RoleName,
    /// The accounts that the role opened when it was asked.
    pub logins: BTreeSet<Login>,
    /// Where; all of them are approved together.
    pub hosts: BTreeSet<HostName>,
    /// For how long, in seconds.
    pub duration_secs: u64,
    /// From when until its end, used or not. Absent: from its first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Without a start: how long it can wait for its first use once it is approved, in seconds.
    pub use_within_secs: u64,
    /// The grant that is to last longer; absent for access of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// Why.
    pub reason: Sentence,
    /// What will have been done in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Sentence>,
    /// The ticket that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// Whether it cannot wait; it skips nothing.
    pub urgent: bool,
    /// Whether it is break-glass: nobody approves it, and everybody is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub breakglass: bool,
    /// When it was asked.
    pub at: Timestamp,
    /// Until when it can be approved.
    pub expires: Timestamp,
}

/// "I approve this": what an approver signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The version of this format.
    pub version: u32,
    /// The authority that it is for, by its root.
    pub authority: Fingerprint,
    /// The request's number.
    pub request: RequestId,
    /// The hash of the request's text.
    pub hash: Hash,
    /// Who approves.
    pub by: Identity,
    /// For how long, in seconds; never longer than was asked for.
    pub duration_secs: u64,
    /// The rules that the approver was shown it under.
    pub policy: Hash,
    /// When it was signed, by the authority's clock as the approver was told.
    pub at: Timestamp,
    /// From then on it does not begin anything any more.
    pub until: Timestamp,
}

/// An approval as it travels and is kept: the exact bytes, and an SSHSIG signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedApproval {
    /// The approval as JSON; these exact bytes are signed.
    pub approval: String,
    /// The armoured signature.
    pub signature: String,
}

/// Where a request stands. What has ended never begins again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// It waits for approvals.
    Pending {
        /// Until when.
        until: Timestamp,
    },
    /// It is approved, and begins later.
    Scheduled {
        /// When.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// It is approved and not used yet.
    Approved {
        /// Until when it can be used for the first time.
        until: Timestamp,
        /// For how long from then on, in seconds; with a fixed window, never beyond `until`.
        secs: u64,
        /// Whether its end is `until`, used or not.
        fixed: bool,
    },
    /// It is used.
    Active {
        /// Its end, and that of everything under it.
        until: Timestamp,
    },
    /// It is over.
    Ended {
        /// How.
        how: End,
        /// When.
        at: Timestamp,
    },
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its owner was done.
    Returned,
    /// Its time was over.
    Expired,
    /// An approver said no.
    Denied,
    /// Its owner took it back.
    Withdrawn,
    /// Nobody approved it in time.
    TimedOut,
    /// It was approved and not used in time.
    Unused,
    /// An approver or an operator took it away.
    Revoked,
}

/// Why a request or an approval is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFlaw {
    /// Longer than any.
    #[error("it is {0} bytes long; at most {MAX_TEXT} are read")]
    Length(usize),
    /// Not in its form, or not in the one way to write it.
    #[error("it is not in the form of version {VERSION}")]
    Form,
    /// Another version of the format.
    #[error("it has version {0}; this program knows {VERSION}")]
    Version(u32),
    /// The signature.
    #[error("the signature: {0}")]
    Seal(#[from] SealFlaw),
}

impl Asked {
    /// The text that is kept and hashed.
    ///
    /// # Errors
    /// When it is longer than is read again.
    pub fn text(&self) -> Result<String, RequestFlaw> {
        written(self)
    }

    /// Reads the text.
    ///
    /// # Errors
    /// When it is not what [`Asked::text`] writes.
    pub fn parse(text: &str) -> Result<Self, RequestFlaw> {
        let asked: Self = read(text)?;
        if asked.version == VERSION { Ok(asked) } else { Err(RequestFlaw::Version(asked.version)) }
    }

    /// The last moment at which it can begin, as far as it says itself.
    #[must_use]
    pub fn latest_start(&self) -> Timestamp {
        let secs = std::time::Duration::from_secs;
        match self.start {
            Some(start) => start.after(secs(self.duration_secs)),
            None => self.expires.after(secs(self.use_within_secs)),
        }
    }
}

impl Approval {
    /// The text that is signed.
    ///
    /// # Errors
    /// When it is longer than is read again.
    pub fn text(&self) -> Result<String, RequestFlaw> {
        written(self)
    }
}

impl SignedApproval {
    /// Checks that `key` signed it as an approval, then reads it. What a security key says of its holder comes along.
    ///
    /// # Errors
    /// When the signature is not by `key`, for [`NAMESPACE`], over these bytes; or they are no approval of this version.
    pub fn verify(&self, key: &PublicKey) -> Result<(Approval, Option<Presence>), RequestFlaw> {
        let seal = sshsig::parse(&self.signature)?;
        let presence = sshsig::verify(&seal, key.key_data(), NAMESPACE, self.approval.as_bytes())?;
        Ok((self.read()?, presence))
    }

    /// What it says, whoever signed it.
    ///
    /// # Errors
    /// When it is no approval of this version.
    pub fn read(&self) -> Result<Approval, RequestFlaw> {
        let approval: Approval = read(&self.approval)?;
        match approval.version {
            VERSION => Ok(approval),
            other => Err(RequestFlaw::Version(other)),
        }
    }
}

impl State {
    /// Whether anything can still become of it.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Ended { .. })
    }

    /// When time alone takes it further.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Pending { until } | Self::Approved { until, .. } | Self::Active { until } => {
                Some(*until)
            }
            Self::Scheduled { from, .. } => Some(*from),
            Self::Ended { .. } => None,
        }
    }

    /// In one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Scheduled { .. } => "scheduled",
            Self::Approved { .. } => "approved",
            Self::Active { .. } => "active",
            Self::Ended { how, .. } => how.word(),
        }
    }
}

impl End {
    /// In one word or two.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::TimedOut => "timed out",
            Self::Unused => "unused",
            Self::Revoked => "revoked",
        }
    }
}

pub(crate) fn written<T: Serialize>(value: &T) -> Result<String, RequestFlaw> {
    let text = serde_json::to_string(value).map_err(|_unwritable| RequestFlaw::Form)?;
    if text.len() > MAX_TEXT { Err(RequestFlaw::Length(text.len())) } else { Ok(text) }
}

pub(crate) fn read<T: Serialize + DeserializeOwned>(text: &str) -> Result<T, RequestFlaw> {
    if text.len() > MAX_TEXT {
        return Err(RequestFlaw::Length(text.len()));
    }
    let value: T = serde_json::from_str(text).map_err(|_unreadable| RequestFlaw::Form)?;
    if written(&value)? == text { Ok(value) } else { Err(RequestFlaw::Form) }
}

/// The SSHSIG namespace of approvals.
pub const NAMESPACE: &str = "approval@curfew.internal";
/// Most hosts of one request: as many as a person reads before approving.
pub const MAX_HOSTS: usize = 32;
/// Longest text of a request: [`MAX_HOSTS`] names, every account of a role and two sentences, twice over.
pub const MAX_TEXT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
