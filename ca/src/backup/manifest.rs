//! The list that a backup begins with: what is in it, what is not, and how long anything there may be.

use serde::{Deserialize, Serialize};
use wire::identifier::Fingerprint;
use wire::log::{Hash, KeyName, LogKey, Note};
use wire::time::Timestamp;

/// What a backup holds, and what it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// [`FORMAT`].
    pub(crate) format: String,
    /// The version of this format.
    pub(crate) version: u32,
    /// When it was begun.
    pub(crate) at: Timestamp,
    /// The program that made it.
    pub(crate) program: String,
    /// Which ledger.
    pub(crate) origin: KeyName,
    /// The authority's fingerprint.
    pub(crate) fingerprint: Fingerprint,
    /// The newest checkpoint of the cut.
    pub(crate) checkpoint: Note,
    /// The keys that its checkpoints are signed by.
    pub(crate) log_keys: Vec<LogKey>,
    /// What follows.
    pub(crate) files: Vec<Member>,
    /// Private keys that do not.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Its name there.
    pub(crate) name: String,
    /// Its length, in bytes.
    pub(crate) bytes: u64,
    /// What it hashes to.
    pub(crate) sha256: Hash,
}

/// A private key that a backup does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeftOut {
    /// Its slot, or its file's name.
    pub(crate) key: String,
    /// Where it stays.
    pub(crate) whereabouts: Whereabouts,
}

/// Where a private key stays that a backup does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whereabouts {
    /// In a file that no passphrase protects: a restore wants a copy of it.
    PlainFile,
    /// With an ssh-agent.
    SshAgent,
    /// On a token.
    Token,
}

impl Whereabouts {
    /// As people say it.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::PlainFile => "a file that is not encrypted",
            Self::SshAgent => "with its ssh-agent",
            Self::Token => "on its token",
        }
    }
}

/// What a manifest begins with.
pub(crate) const FORMAT: &str = "curfew-backup";
/// The version of the format.
pub(crate) const VERSION: u32 = 2;
/// The manifest's name.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The ledger's name.
pub(crate) const LEDGER: &str = "ledger.db";
/// The settings' name.
pub(crate) const SETTINGS: &str = "ca.toml";
/// The roles' name.
pub(crate) const ROLES: &str = "roles.toml";
/// What stands before the name of a file of the policy folder.
pub(crate) const POLICY: &str = "policy/";
/// What stands before the name of a file of the state folder.
pub(crate) const STATE: &str = "state/";
/// Longest manifest, in bytes: a hundred files of a few hundred bytes each.
pub(crate) const MAX_MANIFEST: u64 = 1024 * 1024;
/// Longest file besides the ledger, in bytes.
pub(crate) const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most files.
pub(crate) const MAX_FILES: usize = 1024;
