//! `test`, `demo`, `fleet` and `bench`: set up, build, run.

use crate::{
    setup,
    step::{Failure, cargo, hand_over, has_cargo, step},
};

/// Every test: the features of the packages add those that need root and real hosts.
pub(crate) fn test() -> Result<(), Failure> {
    prepare()?;
    let runner: &[&str] =
        if has_cargo("nextest") { &["nextest", "run"] } else { &["test", "--all-targets"] };
    step("tests", cargo(runner).args(["--workspace", "--all-features"]))?;
    step("doc tests", &mut cargo(["test", "--quiet", "--workspace", "--doc"]))
}

/// The product at work, told line by line.
pub(crate) fn demo() -> Result<(), Failure> {
    prepare()?;
    hand_over(
        "demo",
        &mut cargo(["run", "--quiet", "--package", "curfew-tests", "--bin", "curfew-demo"]),
    )
}

/// A fleet that stands until its shell is left.
pub(crate) fn fleet() -> Result<(), Failure> {
    prepare()?;
    hand_over("fleet", &mut curfew_fleet(&["shell"]))
}

/// One benchmark; its report is all that standard output gets.
pub(crate) fn bench(args: &[String]) -> Result<(), Failure> {
    let bench = ["run", "--quiet", "--release", "--package", "curfew-bench", "--"];
    hand_over("bench", cargo(bench).args(args))
}

fn prepare() -> Result<(), Failure> {
    setup::run()?;
    step("programs", &mut cargo(["build", "--workspace"]))?;
    step("image of the hosts", &mut curfew_fleet(&["image"]))
}

fn curfew_fleet(args: &[&str]) -> std::process::Command {
    let mut run =
        cargo(["run", "--quiet", "--package", "curfew-tests", "--bin", "curfew-fleet", "--"]);
    run.args(args);
    run
}
