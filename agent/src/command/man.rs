//! `curfew-agent man`: the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_mangen::Man as Page;

use super::{Exit, table};

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Write curfew-agent.1 and a page for each subcommand here.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn perform(self, command: clap::Command) -> anyhow::Result<Exit> {
        let command = command.disable_help_subcommand(true);
        match self.out {
            Some(dir) => clap_mangen::generate_to(command, &dir)
                .with_context(|| format!("cannot write manual pages into {}", dir.display()))?,
            None => {
                let mut page = Vec::new();
                Page::new(command).render(&mut page).context("cannot write the manual page")?;
                table::say_bytes(&page)?;
            }
        }
        Ok(Exit::Ok)
    }
}
