//! `curfew breakglass`: in at once, while the authority is up, without approval; and in when everything else is down, which
//! needs no authority, no network and no name service.

mod drill;
mod exchange;
mod keygen;
mod kit;
mod place;
mod qr;
mod request;
mod review;
mod secret;
mod show;
mod sign;
mod take;

use anyhow::Result;

use crate::exit::Exit;
use crate::render::Screen;

/// Get in at once without approval, or when everything else is down
///
/// With `--host`, while the authority is up: a certificate for an hour at most that nobody approves, where the policy lets you take
/// it. Asks for a second factor, is told everywhere at once, is recorded whole, and must be reviewed by somebody else within a day.
///
/// With a subcommand: custodians hold shares of a key that nobody holds whole. Enough of them together sign a certificate for an
/// hour at most, by letters that they hand to one another as files, as text or aloud. Needs no authority and no network.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Breakglass {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    take: Option<take::Take>,
}

/// What custodians do, and what is done afterwards.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Keygen(keygen::Keygen),
    Reshare(keygen::Reshare),
    Request(request::Ask),
    Sign(sign::Sign),
    Show(show::Show),
    Kit(kit::Kit),
    Drill(drill::Drill),
    Review(review::Review),
}

impl Breakglass {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        match (self.command, self.take) {
            (Some(command), _) => command.run(screen),
            (None, Some(take)) => take.run(screen),
            (None, None) => Ok(Exit::Usage),
        }
    }
}

impl Command {
    fn run(self, screen: &Screen) -> Result<Exit> {
        match self {
            Self::Keygen(keygen) => keygen.run(screen),
            Self::Reshare(reshare) => reshare.run(screen),
            Self::Request(ask) => ask.run(screen),
            Self::Sign(sign) => sign.run(screen),
            Self::Show(show) => show.run(screen),
            Self::Kit(kit) => kit.run(screen),
            Self::Drill(drill) => drill.run(screen),
            Self::Review(review) => review.run(screen),
        }
    }
}
