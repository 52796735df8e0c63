//! `curfew locks`.

use anyhow::Result;
use wire::api::LockView;
use wire::time::Timestamp;

use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};

/// List the locks in force
#[derive(Debug, clap::Args)]
pub(crate) struct Locks {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Locks {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let locks: Vec<LockView> = Client::of(&Home::find()?)?.get("/v1/locks")?;
        if self.json {
            screen.json(&locks)?;
        } else if locks.is_empty() {
            screen.line("No lock is in force.")?;
        } else {
            screen.table(&table(&locks, clock::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn table(locks: &[LockView], now: Timestamp) -> Table {
    let mut table = Table::new(&["LOCKED", "SINCE", "ENDS", "BY", "ORDER", "REASON"]);
    for view in locks {
        let until = view.lock.until.map(|until| moment::relative(until, now));
        table.row(vec![
            Cell::toned(Tone::Strong, view.lock.target.to_string()),
            moment::relative(view.at, now).into(),
            until.unwrap_or_else(|| "when lifted".to_owned()).into(),
            view.by.as_str().into(),
            view.order.into(),
            view.lock.reason.as_str().into(),
        ]);
    }
    table
}
