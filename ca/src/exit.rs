//! Exit codes, stable and documented: what a script may rely on.

use std::process::ExitCode;

/// Why the program ends as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Done,
    /// It did not; the message says why.
    Failed,
    /// The command line makes no sense (`EX_USAGE`).
    Usage,
    /// A configuration file is missing or wrong (`EX_CONFIG`).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}
