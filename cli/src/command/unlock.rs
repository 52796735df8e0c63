//! `curfew unlock`: lift a lock.

use anyhow::Result;
use wire::api::{OrderProgress, UnlockAsk};

use super::lock::{Watch, follow, reason, target};
use crate::client::Client;
use crate::duration::Span;
use crate::exit::Exit;
use crate::home::Home;
use crate::progress::Kind;
use crate::render::Screen;

/// Lift a lock
#[derive(Debug, clap::Args)]
pub(crate) struct Unlock {
    /// What is locked: an identity, or KIND VALUE
    #[arg(required = true, num_args = 1..=2, value_names = ["[KIND] VALUE"])]
    target: Vec<String>,
    /// Why it is lifted
    #[arg(long)]
    reason: String,
    /// How long to wait for hosts
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    wait: Span,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Unlock {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let ask = UnlockAsk { target: target(&self.target)?, reason: reason(self.reason)? };
        let mut client = Client::of(&Home::find()?)?;
        let ordered: OrderProgress = client.post("/v1/unlocks", &ask)?;
        if !self.json {
            screen.line(&format!("Unlocked {} (order {}).", ask.target, ordered.order))?;
        }
        follow(
            &mut client,
            ordered,
            Kind::Unlock,
            &Watch { patience: self.wait.duration(), json: self.json },
            screen,
        )
    }
}
