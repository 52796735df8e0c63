//! Reading recordings at the authority: which there are, what passed, and the sealed blocks for whoever wants to check them.
//!
//! Shape: who reads what passed says so first, and that is an entry in the ledger; what is then read names the entry.

use serde::{Deserialize, Serialize};

use crate::channel::ChannelId;
use crate::identifier::{HostName, SessionId};
use crate::octets::Octets;
use crate::retention::Deleted;

/// A recording in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingView {
    /// Its channel.
    pub channel: ChannelId,
    /// Its host.
    pub host: HostName,
    /// How many blocks the authority has.
    pub blocks: u64,
    /// Whether the host has said that nothing follows.
    pub closed: bool,
}

/// "I am going to read this recording."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadAsk {
    /// The session.
    pub session: SessionId,
    /// The host of the session.
    pub host: HostName,
    /// The channel.
    pub channel: ChannelId,
    /// Whether it is watched while it goes on.
    #[serde(default)]
    pub live: bool,
}

/// The reading was recorded, and may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// The entry that the reading is in the ledger.
    pub entry: u64,
}

/// What passed, from a block on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The records of some blocks, in order, as `recording::record` writes them.
    pub records: Octets,
    /// The block that is next.
    pub next: u64,
    /// Whether nothing follows.
    pub ended: bool,
}

/// One object of the store, as it lies there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Octets,
}

/// Objects of a recording, some at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPage {
    /// The objects, in the order of their names.
    pub objects: Vec<StoredObject>,
    /// The name after which to go on; absent when that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What the ledger knows of a session's host, to hold stored objects against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checking {
    /// The host.
    pub host: HostName,
    /// Every key that its agent ever enrolled with, in OpenSSH form.
    pub agent_keys: Vec<String>,
    /// That its recordings were deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
}
