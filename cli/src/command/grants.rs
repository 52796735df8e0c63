//! `curfew grants`: the grants that have not ended.

use anyhow::Result;
use wire::api::GrantView;
use wire::time::Timestamp;

use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};

/// List your grants that have not ended; everybody's, if you are an operator
#[derive(Debug, clap::Args)]
pub(crate) struct Grants {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Grants {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let grants: Vec<GrantView> = Client::of(&Home::find()?)?.get("/v1/grants")?;
        if self.json {
            screen.json(&grants)?;
        } else if grants.is_empty() {
            screen.line("No grant is under way.")?;
        } else {
            screen.table(&table(&grants, clock::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn table(grants: &[GrantView], now: Timestamp) -> Table {
    let mut table = Table::new(&["GRANT", "IDENTITY", "ROLE", "HOST", "BEGAN", "ENDS"]);
    for view in grants {
        table.row(vec![
            Cell::toned(Tone::Strong, view.grant.to_string()),
            view.identity.as_str().into(),
            view.role.as_str().into(),
            view.host.as_str().into(),
            moment::relative(view.from, now).into(),
            moment::relative(view.until, now).into(),
        ]);
    }
    table
}
