//! `curfew-ca completions`.

use clap_complete::Shell;

use super::say_bytes;

/// Its arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints completions for the shell.
pub(crate) fn run(mut command: clap::Command, arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "curfew-ca", &mut script);
    say_bytes(&script)
}
