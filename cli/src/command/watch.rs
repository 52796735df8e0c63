//! `curfew watch`.

use std::time::Duration;

use anyhow::Result;
use screen::film::Film;
use wire::identifier::SessionId;

use crate::client::Client;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::Screen;
use crate::replay::{Chosen, Manner, Source, show};

/// Watch what a session's terminal shows, while it goes on
///
/// What happens arrives within two seconds. Nothing that you type reaches the session; keys are those of `curfew replay`, so that you can go
/// back and on to the end again. Watching is an entry in the ledger.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// The session, 16 hex digits
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Which of its terminals, in the order in which they were opened
    #[arg(long, value_name = "NUMBER")]
    channel: Option<usize>,
}

impl Watch {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let chosen = Chosen::find_live(&mut client, self.session, (self.channel, screen))?;
        let mut source = Source::open(&mut client, &chosen, true)?;
        let mut film = Film::default();
        source.read_all(&mut client, &mut film, screen)?;
        let manner = Manner { speed: 100, skips_idle: false, from: Duration::MAX, live: true };
        show(&mut client, (&chosen, &mut source, film), manner)?;
        Ok(Exit::Done)
    }
}
