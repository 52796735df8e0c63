//! Break-glass afterwards, as the authority knows it: groups, the receipts of custodians, what hosts saw, and how these join.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::breakglass::pass::PassUse;
use crate::breakglass::{Use, UseName};
use crate::identifier::{
    Custodian, Fingerprint, HostName, Identity, Login, RequestId, RoleName, Serial,
};
use crate::log::Hash;
use crate::request::{Sentence, State};
use crate::review::{Review, Verdict};
use crate::time::Timestamp;

/// What a group's letter says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSaid {
    /// What names it, members and generation included.
    pub digest: Hash,
    /// Its public key, which hosts believe.
    pub key: Fingerprint,
    /// The same, in OpenSSH's form.
    pub public_key: String,
    /// Who holds a share.
    pub members: Vec<Custodian>,
    /// How many of them sign.
    pub threshold: u8,
    /// How often its shares were made anew.
    pub generation: u32,
    /// From when on it is not to be used any more.
    pub expires: Timestamp,
}

/// A group whose receipts the authority takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// What it is.
    pub said: GroupSaid,
    /// Since when it is known.
    pub added: Timestamp,
    /// Since when hosts are to believe its key no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Timestamp>,
    /// Who its custodians are among the identities of the authority, as far as that was said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<Custodian, Identity>,
}

/// "Take receipts of this group."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAsk {
    /// Its letter.
    pub group: String,
    /// Who its custodians are among the identities of the authority: none of them reviews what they signed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<Custodian, Identity>,
    /// Why.
    pub reason: String,
}

/// "No host is to believe this key any more."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireAsk {
    /// The key of the group, in all its generations.
    pub key: Fingerprint,
    /// Why.
    pub reason: String,
}

/// What a receipt proves: that custodians of a known group signed a certificate with these terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSaid {
    /// What the certificate is called.
    pub name: UseName,
    /// The hosts that it opens.
    pub hosts: Vec<HostName>,
    /// The account on them.
    pub login: Login,
    /// Why, in the words that the custodians saw.
    pub reason: String,
    /// From when on.
    pub from: Timestamp,
    /// The key that logs in with it.
    pub key: Fingerprint,
    /// The group key that signed it.
    pub authority: Fingerprint,
    /// Whose copy it is.
    pub kept_by: Custodian,
}

/// "This receipt was kept."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptAsk {
    /// Its letter.
    pub receipt: String,
}

/// A receipt that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptTaken {
    /// What it proves.
    pub said: ReceiptSaid,
    /// Whether it was not here before.
    pub is_new: bool,
}

/// A use as a host told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseView {
    /// The number of its incident.
    pub incident: u64,
    /// Whether that is open.
    pub is_open: bool,
    /// The host.
    pub host: HostName,
    /// When the authority first heard of it.
    pub first: Timestamp,
    /// How often the host saw it.
    pub count: u64,
    /// What the host said.
    pub used: Use,
    /// How it contradicts the receipts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// How receipts and uses of one certificate stand to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Each use is what the receipts say.
    Joined,
    /// There are receipts and no use.
    Unused,
    /// There is a use and no receipt.
    Unreceipted,
    /// A use is not what the receipts say.
    Contradicted,
}

/// One break-glass certificate: who signed it, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeremonyView {
    /// What the certificate is called.
    pub name: UseName,
    /// How its receipts and uses stand.
    pub standing: Standing,
    /// What the receipts say; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<ReceiptSaid>,
    /// Whose receipts are here.
    pub receipts: Vec<Custodian>,
    /// What hosts saw.
    pub uses: Vec<UseView>,
    /// How many sessions it has that have not ended.
    pub alive: u64,
    /// When the authority first knew of it.
    pub known: Timestamp,
    /// Until when it is to be reviewed.
    pub due: Timestamp,
    /// The verdict; absent while there is none, or when there was a use after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// When the way in was last proven on a host: somebody got in, receipts account for it, and every alarm went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProof {
    /// The host.
    pub host: HostName,
    /// With its agent alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive: Option<Timestamp>,
    /// With its agent dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Timestamp>,
    /// The group key by which somebody got in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Fingerprint>,
    /// The group keys by which it says that it lets in; absent where it has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believes: Option<Vec<Fingerprint>>,
    /// Whether it should have been tried again by now.
    pub is_overdue: bool,
}

/// Break-glass that somebody took while the authority was up: a request that nobody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassView {
    /// The request.
    pub request: RequestId,
    /// Who.
    pub identity: Identity,
    /// Under which role.
    pub role: RoleName,
    /// Where.
    pub hosts: Vec<HostName>,
    /// Why.
    pub reason: Sentence,
    /// When.
    pub at: Timestamp,
    /// Where the request stands.
    pub state: State,
    /// Whether a certificate was issued under it.
    pub is_used: bool,
    /// How many of its sessions have not ended.
    pub alive: u64,
    /// What hosts told of it.
    pub uses: Vec<PassSeen>,
    /// Until when somebody else is to review it; absent when nobody got in, and once it is reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// A use of it as a host told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassSeen {
    /// The number of its incident.
    pub incident: u64,
    /// Whether that is open.
    pub is_open: bool,
    /// The host.
    pub host: HostName,
    /// What the host said.
    pub used: PassUse,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// Groups, the newest last.
    pub groups: Vec<GroupView>,
    /// Ceremonies, the newest first.
    pub ceremonies: Vec<CeremonyView>,
    /// When the way in was last proven, on each host.
    pub hosts: Vec<HostProof>,
    /// What was taken while the authority was up, the newest first.
    #[serde(default)]
    pub passes: Vec<PassView>,
    /// As of when, by the authority's clock.
    pub at: Timestamp,
}

/// What came of joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// How many incidents it opened.
    pub opened: u64,
    /// How all stands now.
    pub state: BreakGlass,
}

/// "This is my verdict on that ceremony."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyReviewAsk {
    /// The serial of its certificate.
    pub serial: Serial,
    /// The verdict.
    pub verdict: Verdict,
    /// What it was, and what was done.
    pub note: String,
    /// Who gives it, where whoever asks is known to nobody: at the authority's own machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<Identity>,
}

impl CeremonyView {
    /// Whether nobody has reviewed it in time.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.review.is_none() && self.due <= now
    }
}

impl Standing {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Unused => "unused",
            Self::Unreceipted => "unreceipted",
            Self::Contradicted => "contradicted",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a review may take, in seconds: a day.
pub const REVIEW_SECS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standings_have_one_name_everywhere() {
        for one in
            [Standing::Joined, Standing::Unused, Standing::Unreceipted, Standing::Contradicted]
        {
            assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
        }
    }
}
