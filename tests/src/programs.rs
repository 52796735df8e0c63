//! Our own programs: where the build put them, and where they belong on a host.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::FleetError;

/// A build of all programs, found whole.
#[derive(Debug, Clone)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Finds the build: in `CURFEW_PROGRAMS`, else in the debug folder of this workspace.
    ///
    /// # Errors
    /// [`FleetError::NotBuilt`] names the first program that is missing.
    pub fn built() -> Result<Self, FleetError> {
        let programs = Self { dir: built_dir() };
        PIECES.iter().try_for_each(|piece| programs.find(piece.source).map(drop))?;
        Ok(programs)
    }

    /// Finds one program of the build, whatever else is missing.
    ///
    /// # Errors
    /// [`FleetError::NotBuilt`] when it is missing.
    pub fn one(name: &str) -> Result<PathBuf, FleetError> {
        existing(built_dir().join(name), |path| FleetError::NotBuilt { path })
    }

    /// The security key in software, whether it is built or not: what OpenSSH calls a security key provider.
    #[must_use]
    pub fn security_key() -> PathBuf {
        let path = built_dir().join("libcurfew_test_sk.so");
        // ssh-agent compares with the path that it finds behind links.
        path.canonicalize().unwrap_or(path)
    }

    /// The folder with the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Lays everything out under `layer_dir` as it belongs on a host.
    pub(crate) fn lay_out(&self, layer_dir: &Path) -> Result<(), FleetError> {
        for piece in PIECES {
            let source = self.find(piece.source)?;
            let place = layer_dir.join(piece.place);
            install(&source, &place, piece.mode)
                .map_err(FleetError::io(format!("install {}", place.display())))?;
        }
        Ok(())
    }

    fn find(&self, source: Source) -> Result<PathBuf, FleetError> {
        match source {
            Source::Built(name) => {
                existing(self.dir.join(name), |path| FleetError::NotBuilt { path })
            }
            Source::Tree(path) => {
                existing(tree_dir().join(path), |path| FleetError::NotInTree { path })
            }
        }
    }
}

fn existing(
    path: PathBuf,
    missing: impl FnOnce(PathBuf) -> FleetError,
) -> Result<PathBuf, FleetError> {
    if path.is_file() { Ok(path) } else { Err(missing(path)) }
}

/// A copy, so that nothing that happens on a host reaches the build: neither owner, mode nor content.
fn install(source: &Path, place: &Path, mode: u32) -> io::Result<()> {
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir)?;
    }
    let metadata = source.metadata()?;
    // A link costs nothing, and an overlay copies before it changes; owner and mode must fit as they are.
    let fits = metadata.uid() == 0 && metadata.mode() & 0o7777 == mode;
    if fits && fs::hard_link(source, place).is_ok() {
        return Ok(());
    }
    fs::copy(source, place)?;
    fs::set_permissions(place, fs::Permissions::from_mode(mode))
}

fn built_dir() -> PathBuf {
    if let Some(dir) = env::var_os("CURFEW_PROGRAMS") {
        return dir.into();
    }
    let target_dir = env::var_os("CARGO_TARGET_DIR");
    target_dir.map_or_else(|| tree_dir().join("target"), PathBuf::from).join("debug")
}

fn tree_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

struct Piece {
    source: Source,
    place: &'static str,
    mode: u32,
}

#[derive(Clone, Copy)]
enum Source {
    /// Made by cargo.
    Built(&'static str),
    /// A file of the source tree.
    Tree(&'static str),
}

/// Everything a host gets. The one table of what lies where.
const PIECES: &[Piece] = &[
    built("curfew", "usr/bin/curfew", 0o755),
    built("curfew-agent", "usr/bin/curfew-agent", 0o755),
    built("curfew-ca", "usr/bin/curfew-ca", 0o755),
    built("curfew-link", "usr/bin/curfew-link", 0o755),
    built("curfew-principals", "usr/lib/curfew/curfew-principals", 0o755),
    built("curfew-pty", "usr/lib/curfew/curfew-pty", 0o755),
    built("curfew-recorder", "usr/lib/curfew/curfew-recorder", 0o755),
    built("curfew-files", "usr/lib/curfew/curfew-files", 0o755),
    built("libpam_curfew.so", "usr/lib/x86_64-linux-gnu/security/pam_curfew.so", 0o644),
    tree("systemd/curfew-agent.service", "usr/lib/systemd/system/curfew-agent.service"),
    tree("systemd/curfew-ca.service", "usr/lib/systemd/system/curfew-ca.service"),
    tree("systemd/curfew-ca.sysusers.conf", "usr/lib/sysusers.d/curfew-ca.conf"),
    tree("systemd/curfew-ca.tmpfiles.conf", "usr/lib/tmpfiles.d/curfew-ca.conf"),
    tree("systemd/curfew-files.service", "usr/lib/systemd/system/curfew-files.service"),
    tree("systemd/curfew-files.socket", "usr/lib/systemd/system/curfew-files.socket"),
    tree("systemd/curfew-link.service", "usr/lib/systemd/system/curfew-link.service"),
    tree("systemd/curfew-recorder.service", "usr/lib/systemd/system/curfew-recorder.service"),
    tree("systemd/curfew-recorder.socket", "usr/lib/systemd/system/curfew-recorder.socket"),
    tree("systemd/curfew.sysusers.conf", "usr/lib/sysusers.d/curfew.conf"),
    tree("systemd/curfew.tmpfiles.conf", "usr/lib/tmpfiles.d/curfew.conf"),
];

const fn built(name: &'static str, place: &'static str, mode: u32) -> Piece {
    Piece { source: Source::Built(name), place, mode }
}

const fn tree(path: &'static str, place: &'static str) -> Piece {
    Piece { source: Source::Tree(path), place, mode: 0o644 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_a_place_of_its_own() {
        let mut places: Vec<_> = PIECES.iter().map(|piece| piece.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), PIECES.len());
        assert!(places.iter().all(|place| !place.starts_with('/')), "{places:?}");
    }

    #[test]
    fn an_installed_file_has_the_mode_of_the_table() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let source = dir.path().join("source");
        fs::write(&source, "text").expect("a source");
        fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).expect("a mode");
        let place = dir.path().join("usr/lib/place");
        install(&source, &place, 0o644).expect("it is installed");
        assert_eq!(place.metadata().expect("it is there").mode() & 0o7777, 0o644);
    }

    #[test]
    fn a_missing_program_is_named() {
        let programs = Programs { dir: "/nonexistent".into() };
        let error = programs.find(Source::Built("curfew")).expect_err("there is none");
        assert!(error.to_string().starts_with("/nonexistent/curfew does not exist"), "{error}");
    }
}
