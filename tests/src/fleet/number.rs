//! The number of a fleet: which addresses, cgroups and network devices of this machine are its own.
//!
//! Tests run in many processes at once. Each fleet holds `/run/curfew-fleet/N.lock`; each keeper of
//! a host holds `/run/curfew-fleet/N.hosts.lock` shared until it has taken its host down. A number
//! is free when neither is held; a folder `/run/curfew-fleet/N` that is still there then is what a
//! killed fleet left.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::FleetError;

/// A fleet's number, ours until it is dropped.
#[derive(Debug)]
pub(super) struct Number {
    value: u8,
    _lock: File,
}

impl Number {
    /// Takes the lowest free number.
    pub(super) fn claim() -> Result<Self, FleetError> {
        fs::create_dir_all(LOCKS_DIR).map_err(FleetError::io(format!("create {LOCKS_DIR}")))?;
        for value in 1..=MOST_FLEETS {
            if let Some(number) = Self::try_claim(value)? {
                return Ok(number);
            }
        }
        Err(FleetError::NoFleetLeft { fleets: MOST_FLEETS, locks: LOCKS_DIR.into() })
    }

    /// Takes every free number whose fleet has left something.
    pub(super) fn claim_abandoned() -> Result<Vec<Self>, FleetError> {
        let abandoned = (1..=MOST_FLEETS).filter(|value| dir(*value).exists());
        abandoned.filter_map(|value| Self::try_claim(value).transpose()).collect()
    }

    fn try_claim(value: u8) -> Result<Option<Self>, FleetError> {
        let Some(lock) = try_lock(&locks_dir().join(format!("{value}.lock")))? else {
            return Ok(None);
        };
        // Held by keepers that are still at work: the number is free when they are done.
        Ok(try_lock(&hosts_lock_path(value))?.map(|_| Self { value, _lock: lock }))
    }

    /// The number itself, 1 to [`MOST_FLEETS`].
    pub(super) fn value(&self) -> u8 {
        self.value
    }

    /// The fleet's folder.
    pub(super) fn dir(&self) -> PathBuf {
        dir(self.value)
    }

    /// The lock that keepers hold shared.
    pub(super) fn hosts_lock_path(&self) -> PathBuf {
        hosts_lock_path(self.value)
    }
}

fn try_lock(path: &Path) -> Result<Option<File>, FleetError> {
    let failed = || format!("lock {}", path.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(FleetError::io(failed()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(FleetError::io(failed())(errno)),
    }
}

fn locks_dir() -> &'static Path {
    Path::new(LOCKS_DIR)
}

fn dir(value: u8) -> PathBuf {
    locks_dir().join(value.to_string())
}

fn hosts_lock_path(value: u8) -> PathBuf {
    locks_dir().join(format!("{value}.hosts.lock"))
}

const LOCKS_DIR: &str = "/run/curfew-fleet";
const MOST_FLEETS: u8 = 250;
