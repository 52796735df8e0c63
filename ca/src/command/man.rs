//! `curfew-ca man`: the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_mangen::Man as Page;

use super::say_bytes;

/// Its arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write curfew-ca.1 and a page for each subcommand here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the page, or writes all of them.
pub(crate) fn run(command: clap::Command, arguments: &Arguments) -> anyhow::Result<()> {
    let command = command.disable_help_subcommand(true);
    if let Some(dir) = &arguments.out {
        return clap_mangen::generate_to(command, dir)
            .with_context(|| format!("cannot write manual pages into {}", dir.display()));
    }
    let mut page = Vec::new();
    Page::new(command).render(&mut page).context("cannot write the manual page")?;
    say_bytes(&page)
}
