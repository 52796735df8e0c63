//! `curfew breakglass`: in, when everything else is down. Needs no authority, no network and no name service; a drill alone asks
//! the authority what it heard.

mod drill;
mod exchange;
mod keygen;
mod kit;
mod place;
mod request;
mod secret;
mod show;
mod sign;

use anyhow::Result;

use crate::exit::Exit;
use crate::render::Screen;

/// Get in when everything else is down
///
/// Custodians hold shares of a key that nobody holds whole. Enough of them together sign a certificate for an hour at most, by
/// letters that they hand to one another as files, as text or aloud. Needs no authority and no network.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Breakglass {
    Keygen(keygen::Keygen),
    Reshare(keygen::Reshare),
    Request(request::Ask),
    Sign(sign::Sign),
    Show(show::Show),
    Kit(kit::Kit),
    Drill(drill::Drill),
}

impl Breakglass {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match self {
            Self::Keygen(keygen) => keygen.run(screen),
            Self::Reshare(reshare) => reshare.run(screen),
            Self::Request(ask) => ask.run(screen),
            Self::Sign(sign) => sign.run(screen),
            Self::Show(show) => show.run(screen),
            Self::Kit(kit) => kit.run(screen),
            Self::Drill(drill) => drill.run(screen),
        }
    }
}
