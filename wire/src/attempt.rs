//! Denied attempts, as the authority lists them: who tried to get in where, with what, and why not.
//!
//! Shape: one row for attempts that are alike (same place, certificate, login and reason), with how many there were.

use serde::{Deserialize, Serialize};

use crate::identifier::{Address, Fingerprint, GrantId, Identity};
use crate::octets::Octets;
use crate::record::Refuser;
use crate::time::Timestamp;

/// Attempts that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its place among attempts.
    pub number: u64,
    /// Where, as it was asked for.
    pub host: Address,
    /// The account, as it was asked for.
    pub login: Octets,
    /// Whose certificate it was; nobody when the ledger knows none over this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Under which grant; none when the ledger knows no such certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// From where, as far as it is known; empty when it is not.
    pub remote: String,
    /// The certificate's serial; 0 when there was none, or it is not known.
    pub serial: u64,
    /// The certificate's key id, as it stands in it.
    pub key_id: Octets,
    /// The key.
    pub key: Fingerprint,
    /// Why not.
    pub reason: String,
    /// Who refused it.
    pub by: Door,
    /// Whether it was within the grant's window; nothing where there is no grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<bool>,
    /// When it was first told of.
    pub first: Timestamp,
    /// And last.
    pub last: Timestamp,
    /// How many there were.
    pub count: u64,
}

/// Where an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The authority gave no certificate.
    Authority,
    /// The host's gate refused it.
    Gate,
    /// sshd refused it, as its log says.
    Sshd,
    /// It was shown, and nobody was let in.
    Unfinished,
    /// A version after this one knows.
    #[serde(other)]
    Other,
}

impl From<Refuser> for Door {
    fn from(by: Refuser) -> Self {
        match by {
            Refuser::Gate => Self::Gate,
            Refuser::Sshd => Self::Sshd,
            Refuser::Unfinished => Self::Unfinished,
            Refuser::Other => Self::Other,
        }
    }
}

impl Door {
    /// Its name in listings and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Gate => "gate",
            Self::Sshd => "sshd",
            Self::Unfinished => "unfinished",
            Self::Other => "other",
        }
    }

    /// The door of that name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        [Self::Authority, Self::Gate, Self::Sshd, Self::Unfinished]
            .into_iter()
            .find(|door| door.as_str() == name)
            .unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_keep_their_names_and_an_unknown_one_is_read() {
        for door in [Door::Authority, Door::Gate, Door::Sshd, Door::Unfinished] {
            assert_eq!(Door::of(door.as_str()), door);
            assert_eq!(serde_json::to_string(&door).unwrap(), format!("\"{}\"", door.as_str()));
        }
        assert_eq!(serde_json::from_str::<Door>("\"moat\"").unwrap(), Door::Other);
        assert_eq!(serde_json::from_str::<Refuser>("\"moat\"").unwrap(), Refuser::Other);
    }
}
