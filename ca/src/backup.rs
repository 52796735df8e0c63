//! Backups: everything that makes an authority, in one file, and the way back from it.
//!
//! Shape: a tar file, mode 0600. First [`Manifest`] as `manifest.json`, then the files that it lists, in that order and no
//! others: `ledger.db` (one consistent cut, an SQLite database of the ledger's own tables), `ca.toml`, `roles.toml`, and under
//! `state/` the records of the keys (`*.slot`), the X.509 root, and private keys where they are files (docs/ledger.md).
//! Private keys that no passphrase protects go along only when that is asked for.
//! Who can change this: whoever holds the file. Gains: nothing by the ledger, which its own signatures prove; settings and
//! roles of his own, which a restore never puts in the place of files that are there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wire::identifier::Fingerprint;
use wire::log::{Hash, KeyName, LogKey, Note};
use wire::time::Timestamp;

use crate::key::KeyError;
use crate::ledger::LedgerError;

mod archive;
mod make;
mod unpack;

pub(crate) use make::{Made, Order, make};
pub(crate) use unpack::{Unpacked, read_manifest, unpack};

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

/// Why there is no backup, or no way back from it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a backup, or was changed.
    #[error("{path} cannot be used: {reason}")]
    Form {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is there already.
    #[error("{0} exists already, and nothing was changed")]
    Exists(PathBuf),
    /// A newer program made it.
    #[error(
        "the backup has version {0}; this program knows up to {VERSION}; install the newer one"
    )]
    Newer(u32),
    /// The manifest has no JSON form.
    #[error("the list of files cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The ledger cannot be copied.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A key's file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
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
const FORMAT: &str = "curfew-backup";
/// The version of the format.
const VERSION: u32 = 1;
/// The manifest's name.
const MANIFEST: &str = "manifest.json";
/// The ledger's name.
const LEDGER: &str = "ledger.db";
/// The settings' name.
pub(crate) const SETTINGS: &str = "ca.toml";
/// The roles' name.
pub(crate) const ROLES: &str = "roles.toml";
/// What stands before the name of a file of the state folder.
const STATE: &str = "state/";
/// Longest manifest, in bytes: a hundred files of a few hundred bytes each.
const MAX_MANIFEST: u64 = 1024 * 1024;
/// Longest file besides the ledger, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Most files.
const MAX_FILES: usize = 1024;
