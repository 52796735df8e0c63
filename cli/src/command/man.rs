//! `curfew man`: the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_mangen::Man as Page;

use crate::args::Args;
use crate::exit::Exit;
use crate::render::Screen;

/// Print the manual page, or write all pages into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write curfew.1 and a page for each subcommand here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let command = Args::command().disable_help_subcommand(true);
        match self.out {
            Some(dir) => clap_mangen::generate_to(command, &dir)
                .with_context(|| format!("cannot write manual pages into {}", dir.display()))?,
            None => {
                let mut page = Vec::new();
                Page::new(command).render(&mut page).context("cannot write the manual page")?;
                screen.raw(&page)?;
            }
        }
        Ok(Exit::Done)
    }
}
