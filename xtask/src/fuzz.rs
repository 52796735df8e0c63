//! `fuzz`: every target of `fuzz/`, each for a while.

use std::{fs, io, path::Path, process::Command};

use crate::{
    setup,
    step::{Failure, cargo, has_cargo, step},
};

/// Runs each target for `seconds`, from its seeds and from what earlier runs found; stops at the first finding, which
/// lies in `fuzz/artifacts/` then.
pub(crate) fn run(seconds: u32) -> Result<(), Failure> {
    let time = format!("-max_total_time={seconds}");
    for target in built()? {
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        let run = ["fuzz", "run", &target, &corpus, &seeds, "--", &time];
        step(&target, cargo(run).env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}

/// Keeps what runs found: of each target's inputs the fewest that reach everything, in one archive that is committed.
pub(crate) fn keep() -> Result<(), Failure> {
    for target in built()? {
        let run = ["fuzz", "cmin", &target];
        step(&target, cargo(run).env("RUSTC_BOOTSTRAP", "1"))?;
    }
    let owner = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
    let pack = ["--create", "--gzip", "--file", KEPT, "--directory=fuzz/corpus", "."];
    step("kept inputs", Command::new("tar").args(owner).args(pack))
}

/// Builds all targets and lays out what was kept for them; their names.
fn built() -> Result<Vec<String>, Failure> {
    setup::run()?;
    if !has_cargo("fuzz") {
        step("cargo-fuzz", &mut cargo(["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    // The sanitizers are there in stable compilers too, behind this variable.
    step("targets", cargo(["fuzz", "build"]).env("RUSTC_BOOTSTRAP", "1"))?;
    let targets = targets().map_err(|error| Failure::new("fuzz", format!("fuzz/: {error}")))?;
    let unpack =
        ["--extract", "--gzip", "--skip-old-files", "--file", KEPT, "--directory=fuzz/corpus"];
    step("kept inputs", Command::new("tar").args(unpack))?;
    Ok(targets)
}

/// The names of all targets, with a folder for what each finds.
fn targets() -> io::Result<Vec<String>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut names = Vec::new();
    for file in fs::read_dir(dir.join("fuzz_targets"))? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        fs::create_dir_all(dir.join("corpus").join(&name))?;
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// Inputs that earlier runs found, and that every run begins with.
const KEPT: &str = "fuzz/corpus.tar.gz";
/// How long a target runs when nobody says.
pub(crate) const SECONDS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_declared_and_has_seeds() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(fs::read_dir(dir.join("seeds").join(&target)).unwrap().count() > 0, "{target}");
        }
    }
}
