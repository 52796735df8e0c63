//! One step of a task: a command that says what it does, how long it took, and which step failed.

use std::{
    env,
    ffi::OsStr,
    fmt, io,
    path::Path,
    process::{Command, ExitStatus},
};

use crate::clock::Stopwatch;

/// Which step failed, and how.
#[derive(Debug)]
pub(crate) struct Failure {
    step: String,
    why: String,
}

impl Failure {
    pub(crate) fn new(step: &str, why: impl Into<String>) -> Self {
        Self { step: step.to_owned(), why: why.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}` failed: {}", self.step, self.why)
    }
}

/// Runs a command at the root of the workspace, and says how long it took.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<(), Failure> {
    say(&format!("── {what}: {}", line(command)));
    let stopwatch = Stopwatch::start();
    ended(command.current_dir(root()).status()).map_err(|why| Failure::new(what, why))?;
    say(&format!("── {what}: {}", stopwatch.passed()));
    Ok(())
}

/// Becomes a program: it gets the terminal, and its exit status decides.
pub(crate) fn hand_over(what: &str, command: &mut Command) -> Result<(), Failure> {
    ended(command.current_dir(root()).status()).map_err(|why| Failure::new(what, why))
}

/// The cargo that started us, ready for a subcommand.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args);
    cargo
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    cargo([subcommand, "--version"]).output().is_ok_and(|said| said.status.success())
}

/// Says one line to the developer.
#[expect(clippy::print_stdout, reason = "a developer's command talks to its developer")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

fn ended(status: io::Result<ExitStatus>) -> Result<(), String> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("it could not be started: {error}")),
    }
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
