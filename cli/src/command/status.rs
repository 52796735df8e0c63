//! `curfew status`: the one page.

use anyhow::Result;
use wire::api::{self, KrlBehind};

use crate::client::Client;
use crate::clock;
use crate::duration::rough;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Screen, Tone, count, plain};

/// Show what is there and what is wrong
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let status: api::Status = Client::of(&home)?.get("/v1/status")?;
        if self.json {
            screen.json(&status)?;
        } else {
            show(&status, &home, screen)?;
        }
        Ok(Exit::Done)
    }
}

fn show(status: &api::Status, home: &Home, screen: &Screen) -> Result<()> {
    let url = home.membership()?.url;
    screen.line(&format!("authority  {url}, curfew-ca {}", plain(&status.authority_version)))?;
    screen.line(&format!("hosts      {} of {} connected", status.connected, status.hosts))?;
    screen.line(&format!("sessions   {} alive", status.sessions))?;
    screen.line(&format!("locks      {} in force", status.locks))?;
    if let Some(krl) = &status.krl {
        screen.line(&format!("KRL        {}", krl.in_words()))?;
        let behind: Vec<String> = krl.behind.iter().map(KrlBehind::in_words).collect();
        if !behind.is_empty() {
            screen.toned(Tone::Warning, &format!("  behind   {}", behind.join(", ")))?;
        }
    }
    for witness in &status.witnesses {
        let tone = if witness.problem.is_some() { Tone::Warning } else { Tone::Plain };
        screen.toned(tone, &format!("witness    {}", plain(&witness.in_words())))?;
    }
    let now = clock::now();
    let apart = now.since(status.at).max(status.at.since(now));
    if apart > CLOCK_TOLERANCE {
        let sentence = format!(
            "this machine's clock is {} away from the authority's; set it right",
            rough(apart)
        );
        screen.toned(Tone::Warning, &sentence)?;
    }
    if status.concerns.is_empty() {
        return screen.toned(Tone::Good, "nothing is wrong");
    }
    let total = u64::try_from(status.concerns.len()).unwrap_or(u64::MAX);
    screen.toned(Tone::Warning, &format!("{}:", count(total, "concern")))?;
    for concern in &status.concerns {
        screen.line(&format!("  {}", plain(concern)))?;
    }
    Ok(())
}

/// Certificates are backdated by 30 s; beyond that a wrong clock is felt.
const CLOCK_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(30);
