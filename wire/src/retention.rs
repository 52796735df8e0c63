//! How long what was recorded is kept, what is held beyond that, and how it is deleted: by two people, and for good.
//!
//! Shape: a deletion is asked for by one operator and approved by another; it has the number of the entry that asks. What
//! was deleted is an entry that names both, how much it was, and the hash of its last block, so that what is left can still
//! be held against what the host signed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::channel::ChannelId;
use crate::identifier::{HostName, Identity, SessionId};
use crate::log::Hash;
use crate::record::Event;
use crate::time::Timestamp;

/// What is kept for how long. Decisions, and that a session began and ended, are in no class: they are kept for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What passed terminals: recordings.
    Terminals,
    /// What ran in sessions, how that ended, where it connected to and which files it wrote: records of programs, of the network and of files.
    Activity,
}

/// There is no such class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no class of what is kept; there are terminals and activity")]
pub struct NoClass;

/// How long a class is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassView {
    /// Which.
    pub class: Class,
    /// Seconds after the end of a session and of its grant; absent where it is kept for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_secs: Option<u64>,
}

/// "This session must not lose anything" or "it may again".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldAsk {
    /// The session.
    pub session: SessionId,
    /// Why.
    pub reason: String,
}

/// A hold as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// The session.
    pub session: SessionId,
    /// Its host.
    pub host: HostName,
    /// Who holds it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// "Delete this of these sessions."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletionAsk {
    /// What of them.
    pub class: Class,
    /// Which; at most [`MAX_SESSIONS`].
    pub sessions: Vec<SessionId>,
    /// Why.
    pub reason: String,
}

/// How a deletion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletionState {
    /// It waits for somebody else's approval.
    Asked,
    /// It was taken back or refused.
    Withdrawn,
    /// Two people want it, and it is being done.
    Approved,
    /// Nothing is left of it, but for what was held meanwhile.
    Done,
}

/// A deletion in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionView {
    /// Its number.
    pub deletion: u64,
    /// What.
    pub class: Class,
    /// Why.
    pub reason: String,
    /// Who asked, and so approved first.
    pub asked_by: Identity,
    /// When.
    pub asked_at: Timestamp,
    /// Who approved, and when; or who took it back or refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// How it stands.
    pub state: DeletionState,
    /// Of which sessions.
    pub sessions: Vec<SessionId>,
    /// Of how many of them it is deleted.
    pub deleted: u64,
}

/// Who decided on a deletion that another had asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Classes, holds, and deletions that are not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionView {
    /// How long each class is kept.
    pub classes: Vec<ClassView>,
    /// What is held.
    pub holds: Vec<HoldView>,
    /// The newest deletions, those that wait first.
    pub deletions: Vec<DeletionView>,
}

/// That something of a session was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The deletion.
    pub deletion: u64,
    /// What.
    pub class: Class,
    /// The two who wanted it.
    pub by: [String; 2],
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// What it was.
    pub what: Remains,
}

/// What is left of what was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remains {
    /// Of each recording, what it was.
    Recordings(Vec<RecordingWas>),
    /// Of the records of programs.
    Records {
        /// How many there were.
        count: u64,
        /// The SHA-256 of all of them, as they were kept, in their order, each with a line end.
        digest: Hash,
    },
}

/// What a recording was before its blocks were deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingWas {
    /// Its channel.
    pub channel: ChannelId,
    /// How many blocks held.
    pub blocks: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Whether the host had said that nothing follows; that word of it stays in the store.
    pub closed: bool,
    /// The hash of the last block, in which all before it are held, if all held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Hash>,
    /// What was wrong with it then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Terminals, Self::Activity];
    /// Their names, as JSON, settings and people have them.
    pub const NAMES: [&str; 2] = ["terminals", "activity"];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminals => "terminals",
            Self::Activity => "activity",
        }
    }

    /// Whether a record of this is of the class. That somebody came, went, was ended or refused, that something was lost, and what
    /// was wrong, is of none: that is kept for good.
    #[must_use]
    pub const fn has(self, event: &Event) -> bool {
        match self {
            // In the store, and no records.
            Self::Terminals => false,
            Self::Activity => matches!(
                event,
                Event::Exec(_)
                    | Event::Exit(_)
                    | Event::Delegated(_)
                    | Event::DelegatedEnded(_)
                    | Event::Network(_)
                    | Event::File(_)
            ),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Class {
    type Err = NoClass;

    fn from_str(text: &str) -> Result<Self, NoClass> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(NoClass)
    }
}

impl DeletionState {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Withdrawn => "withdrawn",
            Self::Approved => "approved",
            Self::Done => "done",
        }
    }
}

/// Most sessions of one deletion: what two people can look through.
pub const MAX_SESSIONS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_one_name_everywhere() {
        for (class, name) in Class::ALL.into_iter().zip(Class::NAMES) {
            assert_eq!(name.parse(), Ok(class));
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{name}\""));
        }
        assert_eq!("sessions".parse::<Class>(), Err(NoClass));
    }
}
