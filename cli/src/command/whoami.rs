//! `curfew whoami`.

use anyhow::Result;
use wire::api;
use wire::identifier::TeamName;

use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, moment};

/// Show who you are logged in as, and for how long
#[derive(Debug, clap::Args)]
pub(crate) struct Whoami {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Whoami {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let whoami: api::Whoami = Client::of(&home)?.get("/v1/whoami")?;
        if self.json {
            screen.json(&whoami)?;
            return Ok(Exit::Done);
        }
        let operator = if whoami.operator { ", an operator" } else { "" };
        let until = moment::relative(whoami.expires, clock::now());
        let url = home.membership()?.url;
        screen.line(&format!("{}{operator}, at {url}; the login ends {until}", whoami.identity))?;
        if !whoami.teams.is_empty() {
            let teams: Vec<&str> = whoami.teams.iter().map(TeamName::as_str).collect();
            screen.line(&format!("in the teams {}", teams.join(", ")))?;
        }
        if let Some(at) = whoami.mfa_at {
            let shown = moment::relative(at, clock::now());
            screen.line(&format!("a second factor was shown {shown}"))?;
        }
        Ok(Exit::Done)
    }
}
