//! Backups: everything that makes an authority, in one file, and the way back from it.
//!
//! Shape: a tar file, mode 0600. First [`Manifest`] as `manifest.json`, then the files that it lists, in that order and no
//! others: `ledger.db` (one consistent cut, an SQLite database of the ledger's own tables), `ca.toml`, `roles.toml`, under
//! `policy/` the policies with their cases, and under `state/` the records of the keys (`*.slot`), the X.509 root, and private keys where they are files (docs/ledger.md).
//! Private keys that no passphrase protects go along only when that is asked for.
//! Who can change this: whoever holds the file. Gains: nothing by the ledger, which its own signatures prove; settings and
//! roles of his own, which a restore never puts in the place of files that are there.

use std::path::PathBuf;

use crate::key::KeyError;
use crate::ledger::LedgerError;

mod archive;
mod make;
mod manifest;
mod unpack;

pub(crate) use make::{Made, Order, make};
use manifest::VERSION;
pub(crate) use manifest::{LeftOut, Manifest, POLICY, ROLES, SETTINGS};
pub(crate) use unpack::{Unpacked, read_manifest, unpack};

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
