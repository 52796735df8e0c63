//! What the authority remembers of each key: its public half and where it lies. It is written when the key is made, so
//! that a backend which suddenly offers another key is refused.
//!
//! Shape: one JSON file for each slot, `user_ca.slot`, version 1. The version before had none; a file with a key and
//! without a record gets its record when it is opened.
//!
//! Who can change this: root and the authority's user. Gains: another key, which hosts do not trust.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use super::file::{create_private, read_private};
use super::{KeyError, Slot};
use crate::config::keys::Backend;

/// A key as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pinned {
    /// Its public half.
    pub(super) public: PublicKey,
    /// Where its private half lies.
    pub(super) backend: Backend,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    public: String,
    backend: Backend,
}

impl Pinned {
    /// The record of this slot, if there is one.
    pub(super) fn read(dir: &Path, slot: Slot) -> Result<Option<Self>, KeyError> {
        let path = path(dir, slot);
        let text = match read_private(&path) {
            Ok(text) => text,
            Err(KeyError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = |reason: String| KeyError::Unfit { path: path.clone(), reason };
        let form: Form = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if form.version != VERSION {
            return Err(wrong(format!("its version is {}, not {VERSION}", form.version)));
        }
        let public =
            wire::key::from_openssh(&form.public).map_err(|flaw| wrong(flaw.to_string()))?;
        Ok(Some(Self { public, backend: form.backend }))
    }

    /// Writes the record of this slot, where there must be none.
    pub(super) fn create(&self, dir: &Path, slot: Slot) -> Result<(), KeyError> {
        let path = path(dir, slot);
        let wrong = |reason: String| KeyError::Unfit { path: path.clone(), reason };
        let public = self.public.to_openssh().map_err(|error| wrong(error.to_string()))?;
        let form = Form { version: VERSION, public, backend: self.backend.clone() };
        let text = serde_json::to_vec(&form).map_err(|error| wrong(error.to_string()))?;
        create_private(&path, &text)
    }

    /// Forgets the record of this slot, if there is one.
    pub(super) fn remove(dir: &Path, slot: Slot) -> Result<(), KeyError> {
        let path = path(dir, slot);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(KeyError::File { path, source })
            }
            _ => Ok(()),
        }
    }
}

fn path(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(format!("{slot}{SUFFIX}"))
}

/// What follows a slot's name in the name of its record.
pub(super) const SUFFIX: &str = ".slot";
const VERSION: u32 = 1;
