//! What can go wrong while a fleet is built or met, each with its remedy.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why the fleet could not do what a test asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Namespaces, mounts and cgroups belong to root.
    #[error("a fleet of hosts needs root; run the tests as root (plain `cargo test` skips them)")]
    NotRoot,
    /// A program of the machine is missing.
    #[error("`{program}` is not installed; run `cargo xtask setup` (Debian package {package})")]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// `CURFEW_TEST_DEBIAN` names a release that no image is made of.
    #[error("CURFEW_TEST_DEBIAN is {name:?}; it may be \"bookworm\" or \"trixie\"")]
    NoSuchDebian {
        /// What it names.
        name: String,
    },
    /// The machine has no cgroup v2 tree.
    #[error("no cgroup2 filesystem is mounted; boot with cgroup v2 or a hybrid layout")]
    NoCgroup2,
    /// One of our own programs has not been built.
    #[error(
        "{} does not exist; run `cargo build --workspace` or point CURFEW_PROGRAMS at a build",
        path.display()
    )]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file that belongs on a host is not in the source tree.
    #[error("{} is not in the source tree; it is named in tests/src/programs.rs", path.display())]
    NotInTree {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// All the fleets that fit on one machine are in use.
    #[error("all {fleets} fleets of this machine are in use; see {}", locks.display())]
    NoFleetLeft {
        /// How many there are.
        fleets: u8,
        /// Where their locks lie.
        locks: PathBuf,
    },
    /// A fleet is full.
    #[error("a fleet holds at most {hosts} hosts")]
    NoHostLeft {
        /// How many there are.
        hosts: u8,
    },
    /// A host did not come up.
    #[error("host {name} did not come up: {why}")]
    Boot {
        /// The host's name.
        name: String,
        /// What it or its keeper said.
        why: String,
    },
    /// A unit of a host did not do what it was told.
    #[error("`systemctl {verb} {unit}` failed on {host}: {why}")]
    Unit {
        /// The host's name.
        host: String,
        /// What was asked.
        verb: String,
        /// Of which unit.
        unit: String,
        /// What systemd said, and the end of the unit's journal.
        why: String,
    },
    /// The authority ended instead of serving.
    #[error("the authority does not serve: {why}")]
    Authority {
        /// What it said.
        why: String,
    },
    /// A command ended with another status than success.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The command and its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on standard error.
        stderr: String,
    },
    /// Something on this machine could not be done.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something did not happen within the test's patience.
    #[error("waited {} s in vain until {what}{}", waited.as_secs(), seen(last))]
    Impatient {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was there instead.
        last: String,
    },
}

impl FleetError {
    /// Says what was being done when an operation of the system failed.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }
}

fn seen(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!("; what came instead:\n{last}") }
}
