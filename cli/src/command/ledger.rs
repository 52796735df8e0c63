//! `curfew ledger`: read the record of every decision, keep an eye on it, and check it without trusting anybody.

mod export;
mod follow;
mod search;
mod verify;

use anyhow::Result;

use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::ledger::told_keys;
use crate::render::Screen;

/// Read, follow, copy and check the record of every decision
///
/// What entries say is for operators; anybody who is logged in sees that they are there, of what kind, and when.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ledger {
    Show(search::Show),
    Search(search::Search),
    Follow(follow::Follow),
    Export(export::Export),
    Verify(verify::Verify),
    /// Print the keys that sign the ledger's checkpoints
    Keys,
}

impl Ledger {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match self {
            Self::Show(show) => show.run(screen),
            Self::Search(search) => search.run(screen),
            Self::Follow(follow) => follow.run(screen),
            Self::Export(export) => export.run(screen),
            Self::Verify(verify) => verify.run(screen),
            Self::Keys => {
                let mut client = Client::stranger(&Home::find()?.membership()?)?;
                for key in told_keys(&mut client)? {
                    screen.line(&key.to_string())?;
                }
                Ok(Exit::Done)
            }
        }
    }
}
