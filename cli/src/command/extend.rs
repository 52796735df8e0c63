//! `curfew extend`: let a grant last longer.

use anyhow::Result;
use jiff::tz::TimeZone;
use wire::api::{ExtendAsk, ExtendReply};
use wire::identifier::GrantId;

use super::lock::reason;
use crate::client::Client;
use crate::clock;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::progress::{self, Kind};
use crate::render::Screen;
use crate::render::moment::both;

/// Let a grant last longer, as far as its role allows; sessions under it go on
#[derive(Debug, clap::Args)]
pub(crate) struct Extend {
    /// The grant; your only one, when left out
    grant: Option<GrantId>,
    /// By how much, such as 30m
    #[arg(long, value_name = "SPAN")]
    by: Span,
    /// Why
    #[arg(long, default_value = "more time is needed")]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Extend {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let grant = match self.grant {
            Some(grant) => grant,
            None => super::done::only(&mut client)?,
        };
        let ask = ExtendAsk { by_secs: self.by.secs(), reason: reason(self.reason)? };
        let reply: ExtendReply = client.post(&format!("/v1/grants/{grant}/extend"), &ask)?;
        if self.json {
            screen.json(&reply)?;
        } else {
            let until = both(reply.until, clock::now(), &TimeZone::system());
            screen
                .line(&format!("Grant {grant} ends {until} (order {}).", reply.progress.order))?;
            for (tone, sentence) in progress::unfinished(&reply.progress, Kind::Unlock) {
                screen.toned(tone, &format!("  {sentence}"))?;
            }
        }
        Ok(Exit::Done)
    }
}
