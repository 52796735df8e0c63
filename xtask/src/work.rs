//! `test`, `demo`, `fleet` and `bench`: set up, build, run.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{
    setup,
    step::{Failure, cargo, hand_over, has_cargo, say, step},
};

/// Every test: the features of the packages add those that need root and real hosts.
pub(crate) fn test() -> Result<(), Failure> {
    prepare("images")?;
    let runner: &[&str] =
        if has_cargo("nextest") { &["nextest", "run"] } else { &["test", "--all-targets"] };
    step("tests", cargo(runner).args(["--workspace", "--all-features"]))?;
    step("doc tests", &mut cargo(["test", "--quiet", "--workspace", "--doc"]))
}

/// The product at work, told line by line.
pub(crate) fn demo() -> Result<(), Failure> {
    prepare("image")?;
    hand_over(
        "demo",
        &mut cargo(["run", "--quiet", "--package", "curfew-tests", "--bin", "curfew-demo"]),
    )
}

/// A fleet that stands until its shell is left.
pub(crate) fn fleet() -> Result<(), Failure> {
    prepare("image")?;
    hand_over("fleet", &mut curfew_fleet(&["shell"]))
}

/// One benchmark, of optimised programs; its report is all that standard output gets.
pub(crate) fn bench(args: &[String]) -> Result<(), Failure> {
    setup::run()?;
    step("optimised programs", &mut cargo(["build", "--release", "--workspace"]))?;
    step("image of the hosts", &mut curfew_fleet(&["image"]))?;
    let bench = ["run", "--quiet", "--release", "--package", "curfew-bench", "--"];
    hand_over("bench", cargo(bench).args(args).env("CURFEW_PROGRAMS", release_dir()))
}

/// `curfew` linked statically: for a memory stick, and a machine that has nothing.
pub(crate) fn kit() -> Result<(), Failure> {
    // With a target named, what is built to run while building is left out of the flags.
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let build = ["build", "--release", "--package", "curfew", "--target", &target];
    let flags = "-C target-feature=+crt-static";
    step("static program", cargo(build).env("RUSTFLAGS", flags))?;
    let (from, to) = (target_dir().join(&target).join("release/curfew"), target_dir().join("kit"));
    let copied =
        std::fs::create_dir_all(&to).and_then(|()| std::fs::copy(&from, to.join("curfew")));
    copied.map_err(|error| Failure::new("copy", format!("{}: {error}", from.display())))?;
    say(&format!("{}", to.join("curfew").display()));
    Ok(())
}

/// Where `cargo build --release` puts programs.
pub(crate) fn release_dir() -> PathBuf {
    target_dir().join("release")
}

fn target_dir() -> PathBuf {
    let tree_dir = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let target_dir = env::var_os("CARGO_TARGET_DIR");
    target_dir.map_or_else(|| tree_dir.join("target"), PathBuf::from)
}

/// What a fleet needs: of one release of Debian (`image`), or of all (`images`).
fn prepare(images: &str) -> Result<(), Failure> {
    setup::run()?;
    step("programs", &mut cargo(["build", "--workspace"]))?;
    step("image of the hosts", &mut curfew_fleet(&[images]))
}

fn curfew_fleet(args: &[&str]) -> std::process::Command {
    let mut run =
        cargo(["run", "--quiet", "--package", "curfew-tests", "--bin", "curfew-fleet", "--"]);
    run.args(args);
    run
}
