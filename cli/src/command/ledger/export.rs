//! `curfew ledger export`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use wire::ledger::{Line, Page, Range};

use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::ledger::Believed;
use crate::ledger::mirror::{Mirrored, mirror};
use crate::render::{Screen, Tone};

/// Copy the ledger: as JSON lines that prove themselves, or as tiles
///
/// `curfew ledger verify --from` checks either, anywhere, without asking anybody.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Only those after this one
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "tiles")]
    after: u64,
    /// Only those up to this one
    #[arg(long, value_name = "NUMBER", conflicts_with = "tiles")]
    to: Option<u64>,
    /// Mirror checkpoint and tiles (c2sp.org/tlog-tiles) in this folder, going on from what is there; needs no operator
    #[arg(long, value_name = "DIR")]
    tiles: Option<PathBuf>,
    #[command(flatten)]
    believed: Believed,
}

impl Export {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        if let Some(dir) = &self.tiles {
            let mut client = Client::stranger(&home.membership()?)?;
            let policy = self.believed.online(&mut client)?;
            let Mirrored { head, walked, fetched } = mirror(dir, (&mut client, &policy), screen)?;
            let said = format!(
                "{} holds {} entries, {} of them certificates, under {} ({fetched} tiles fetched)",
                dir.display(),
                head.size,
                walked.certificates,
                head.root
            );
            screen.toned(Tone::Good, &said)?;
            return Ok(Exit::Done);
        }
        let mut client = Client::of(&home)?;
        let to = match self.to {
            Some(to) => to,
            None => client.get::<Page>("/v1/entries?limit=0")?.size,
        };
        lines(&mut client, (self.after, to), screen)?;
        Ok(Exit::Done)
    }
}

fn lines(client: &mut Client, (after, to): (u64, u64), screen: &Screen) -> Result<()> {
    let range: Range = client.get(&format!("/v1/entries/range?after={after}&to={to}"))?;
    screen.json_line(&Line::After(range.after))?;
    let mut reached = after;
    while reached < to {
        let limit = to.saturating_sub(reached).min(1000);
        let page: Page = client.get(&format!("/v1/entries?after={reached}&limit={limit}"))?;
        ensure!(page.reached > reached, "the authority gave no entries after {reached}");
        for entry in page.entries {
            screen.json_line(&Line::Entry(entry))?;
        }
        reached = page.reached;
        screen.progress(&format!("{reached} of {to} entries"));
    }
    screen.progress("");
    screen.json_line(&Line::Checkpoint(range.end))
}
