//! `curfew-agent completions`.

use clap_complete::Shell;

use super::{Exit, table};

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn perform(self, mut command: clap::Command) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "curfew-agent", &mut script);
        table::say_bytes(&script)?;
        Ok(Exit::Ok)
    }
}
