//! What the agent says of itself on its status socket: written once on each connection, nothing is read from it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wire::hostlink::ProofMode;
use wire::identifier::{HostName, Identity, Login};
use wire::krl::signed::KrlStanding;
use wire::log::Head;
use wire::record::{Dispute, Refused, Tier};
use wire::renewal::Standing;
use wire::time::{Timestamp, Uptime};

use crate::revocation::LocalLock;
use crate::session::Session;

/// The agent's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this format.
    pub version: u32,
    /// The agent's version.
    pub agent_version: String,
    /// This host's name.
    pub host: HostName,
    /// How much the agent sees.
    pub tier: Tier,
    /// Whether the authority has welcomed the host and has not gone since.
    pub connected: bool,
    /// The newest order in force; 0 for none.
    pub last_order: u64,
    /// How it stands with the list of revoked keys that sshd reads; absent where nobody keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub krl: Option<KrlStanding>,
    /// Locks in force.
    pub locks: usize,
    /// Locks of this host alone.
    #[serde(default)]
    pub local_locks: Vec<LocalLock>,
    /// Work that logins with sessions handed to daemons.
    #[serde(default)]
    pub handed: Vec<HandedWork>,
    /// What stands among them and is no lock.
    #[serde(default)]
    pub local_trouble: Vec<String>,
    /// Records that the authority does not have yet.
    pub spooled: u64,
    /// How much of the disk records take; absent from an agent that does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<Extent>,
    /// Recordings of terminals that the authority does not have to their end.
    #[serde(default)]
    pub recordings: usize,
    /// Why no terminal is kept that need not be, while that is so.
    #[serde(default)]
    pub recordings_full: Option<String>,
    /// How this host's SSH certificates stand.
    #[serde(default)]
    pub certificates: Standing,
    /// The moment of this status.
    pub at: Timestamp,
    /// The same, since boot: what deadlines are measured against.
    pub up: Uptime,
    /// Sessions that are not over.
    pub sessions: Vec<Session>,
    /// What becomes of certificates without proof of the ledger; absent from an agent that knows of none.
    #[serde(default)]
    pub proof: Option<ProofMode>,
    /// The newest tree of the ledger that is believed.
    #[serde(default)]
    pub tree: Option<Head>,
    /// Trees on which somebody was let in and that the authority has not shown to be its own yet.
    #[serde(default)]
    pub unshown: usize,
    /// What contradicts the ledger, until root settles it.
    #[serde(default)]
    pub dispute: Option<Dispute>,
    /// What an operator of this host should know.
    #[serde(default)]
    pub concern: Option<String>,
    /// Logins that were refused since the agent started.
    #[serde(default)]
    pub denials: Denials,
    /// Whether files that sessions write are seen.
    #[serde(default)]
    pub files: Files,
}

/// How much of the disk records take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// In bytes; what the authority has is removed in pieces of 4 MiB.
    pub bytes: u64,
    /// The most that they may: `records_quota`.
    pub quota: u64,
}

/// Whether files that sessions write are seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// On how many file systems.
    pub filesystems: usize,
    /// Where they are not, and why, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<String>,
    /// Why none is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Logins that were refused since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denials {
    /// How many.
    pub total: u64,
    /// The newest that were not repetitions, the newest last.
    pub newest: Vec<Denied>,
}

/// A login that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// When it was told of.
    pub at: Timestamp,
    /// What is recorded.
    pub refused: Refused,
}

/// Work that a login handed to daemons, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedWork {
    /// The login.
    pub login: Login,
    /// Everybody who had a session of the login since it began.
    pub owners: BTreeSet<Identity>,
    /// Its live tasks, threads included.
    pub tasks: u32,
    /// Whether it is being ended.
    pub ending: bool,
}
