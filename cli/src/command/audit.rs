//! `curfew audit`: find what was done, and take it elsewhere.

mod export;
mod search;
mod verify;

use anyhow::Result;

use crate::exit::Exit;
use crate::render::Screen;

/// Find what was done on hosts, by whom and when
///
/// For operators. Each search is an entry in the ledger before it finds anything.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Audit {
    Search(search::Search),
    Export(export::Export),
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match self {
            Self::Search(search) => search.run(screen),
            Self::Export(export) => export.run(screen),
            Self::Verify(verify) => verify.run(screen),
        }
    }
}
