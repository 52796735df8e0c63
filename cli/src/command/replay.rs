//! `curfew replay`.

use std::time::Duration;

use anyhow::Result;
use screen::cast;
use screen::film::Film;
use wire::identifier::SessionId;

use crate::client::Client;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, Tone, plain};
use crate::replay::{Chosen, Manner, Source, show};

/// Show what a session's terminal showed
///
/// You see your own sessions; an operator sees everybody's. Reading is an entry in the ledger. What the session wrote goes into an emulator,
/// and only its picture reaches your terminal.
///
/// Keys: space stops and goes on, arrows and pages seek, < and > change the speed, i passes over pauses, n and p go from command to command,
/// . goes one step on, / finds a text and N finds it again, g and G go to the beginning and the end, q ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The session, 16 hex digits
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// Which of its terminals, in the order in which they were opened
    #[arg(long, value_name = "NUMBER")]
    channel: Option<usize>,
    /// Begin so long after the beginning, as in 90s
    #[arg(long, value_name = "SPAN")]
    at: Option<Span>,
    /// How fast: 2 is twice as fast
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    speed: u32,
    /// Pass over times in which nothing happens
    #[arg(long)]
    skip_idle: bool,
    /// Print every line that the terminal showed, each with its time
    #[arg(long, conflicts_with = "asciicast")]
    text: bool,
    /// Print an asciicast (version 3) for other players; it holds what the session wrote as it was, which can drive a terminal
    #[arg(long)]
    asciicast: bool,
}

impl Replay {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let chosen = Chosen::find(&mut client, self.session, self.channel)?;
        let mut source = Source::open(&mut client, &chosen, false)?;
        let mut film = Film::default();
        source.read_all(&mut client, &mut film, screen)?;
        if self.text {
            for (at, line) in film.lines() {
                let at = format!("+{}.{:03}", at.as_secs(), at.subsec_millis());
                let at = screen.paint(Tone::Faint, &format!("{at:>10}"));
                screen.line(&format!("{at}  {}", plain(&line)))?;
            }
            return Ok(Exit::Done);
        }
        if self.asciicast {
            let title = format!("{}, session {}", chosen.title(), self.session);
            cast::lines(&film, &title).iter().try_for_each(|line| screen.line(line))?;
            return Ok(Exit::Done);
        }
        let manner = Manner {
            speed: self.speed.saturating_mul(100),
            skips_idle: self.skip_idle,
            from: self.at.map_or(Duration::ZERO, Span::duration),
            live: false,
        };
        show(&mut client, (&chosen, &mut source, film), manner)?;
        Ok(Exit::Done)
    }
}
