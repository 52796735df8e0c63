//! `ci`: all that must hold before a change is taken.

use crate::{
    setup,
    step::{Failure, cargo, has_cargo, step},
    work,
};

/// Format, lints, documentation, licences, tests: the cheap ones first.
pub(crate) fn run() -> Result<(), Failure> {
    setup::run()?;
    step("format", &mut cargo(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--"];
    step("lints", cargo(clippy).args(["-D", "warnings"]))?;
    step(
        "documentation",
        cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if !has_cargo("deny") {
        step("cargo-deny", &mut cargo(["install", "--quiet", "--locked", "cargo-deny"]))?;
    }
    // A workspace of its own: nothing else notices when a target no longer builds.
    let fuzz = ["check", "--manifest-path=fuzz/Cargo.toml", "--all-targets", "--target-dir=target"];
    step("fuzz targets", &mut cargo(fuzz))?;
    step("dependencies", &mut cargo(["deny", "check", "licenses", "bans", "sources"]))?;
    work::test()
}
