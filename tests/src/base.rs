//! The image that every host starts from: a minimal Debian, built once and kept.
//!
//! It lies in `/var/cache/curfew-fleet/SUITE-HASH` (another folder: `CURFEW_FLEET_CACHE`), where HASH
//! covers the recipe, so that a changed recipe makes a new image. Who can change it: root of this
//! machine; they gain false test results.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::{
    FleetError,
    command::{command, run},
    tools,
};

/// A release of Debian that hosts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debian {
    /// Debian 12: OpenSSH 9.2, whose monitor is `sshd` itself; systemd 252.
    Bookworm,
    /// Debian 13: OpenSSH 10.0, whose monitor is `sshd-session` and whose doorkeeper `sshd-auth`; systemd 257.
    Trixie,
}

impl Debian {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// What hosts run where a test names nothing: `CURFEW_TEST_DEBIAN`, else Debian 12.
    ///
    /// # Errors
    /// When that names no release that is known here.
    pub fn chosen() -> Result<Self, FleetError> {
        let Ok(name) = env::var("CURFEW_TEST_DEBIAN") else { return Ok(Self::Bookworm) };
        Self::ALL
            .into_iter()
            .find(|debian| debian.suite() == name)
            .ok_or(FleetError::NoSuchDebian { name })
    }

    const fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// A built image. Read-only: hosts put a layer of their own above it.
#[derive(Debug, Clone)]
pub struct Base {
    root_dir: PathBuf,
}

impl Base {
    /// Finds the image, or builds it (about a minute, 190 MB). Two builders wait for one another.
    ///
    /// # Errors
    /// Without root, `debootstrap` or a Debian mirror (`CURFEW_DEBIAN_MIRROR`).
    pub fn build(debian: Debian) -> Result<Self, FleetError> {
        let (cache_dir, suite) = (cache_dir(), debian.suite());
        let root_dir = cache_dir.join(format!("{suite}-{}", recipe_hash()));
        if root_dir.is_dir() {
            return Ok(Self { root_dir });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(FleetError::NotRoot);
        }
        tools::require("debootstrap", "debootstrap")?;
        fs::create_dir_all(&cache_dir)
            .map_err(FleetError::io(format!("create {}", cache_dir.display())))?;
        let _lock = lock(&cache_dir.join(format!("{suite}.lock")))?;
        if !root_dir.is_dir() {
            build_at(suite, &root_dir)?;
        }
        Ok(Self { root_dir })
    }

    /// Where its root filesystem lies.
    #[must_use]
    pub fn root_dir(&self) -> &Path {
        &self.root_dir
    }
}

/// Builds beside the final place and renames, so that a half-built image is never taken for one.
fn build_at(suite: &str, root_dir: &Path) -> Result<(), FleetError> {
    let half_dir = root_dir.with_extension("half");
    if half_dir.exists() {
        fs::remove_dir_all(&half_dir)
            .map_err(FleetError::io(format!("remove {}", half_dir.display())))?;
    }
    let mut build = command("bash");
    build.args(["-c", RECIPE, "base.sh", suite]).arg(&half_dir).args(mirror());
    run(build, b"")?.done()?;
    fs::rename(&half_dir, root_dir).map_err(FleetError::io(format!("keep {}", root_dir.display())))
}

/// Held until it is dropped.
fn lock(path: &Path) -> Result<File, FleetError> {
    let failed = || format!("lock {}", path.display());
    let file = File::create(path).map_err(FleetError::io(failed()))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(FleetError::io(failed()))?;
    Ok(file)
}

fn cache_dir() -> PathBuf {
    env::var_os("CURFEW_FLEET_CACHE").map_or_else(|| PathBuf::from(CACHE_DIR), PathBuf::from)
}

fn mirror() -> Option<String> {
    env::var("CURFEW_DEBIAN_MIRROR").ok()
}

fn recipe_hash() -> String {
    Sha256::digest(RECIPE).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

const CACHE_DIR: &str = "/var/cache/curfew-fleet";
const RECIPE: &str = include_str!("fleet/base.sh");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_names_its_image() {
        assert_eq!(recipe_hash().len(), 12);
        assert_eq!(recipe_hash(), recipe_hash());
    }
}
