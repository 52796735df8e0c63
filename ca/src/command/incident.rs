//! `curfew-ca incident`: what must never happen, and that it was looked into.

use clap::Subcommand;
use wire::incident::{IncidentView, SettleAsk};
use wire::octets::plain;

use super::{say, say_json, shown};
use crate::admin::client::Client;

/// What to do with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them, the newest first
    List {
        /// Those that are settled, too
        #[arg(long)]
        all: bool,
        /// As JSON, with both checkpoints of a dispute as they were signed
        #[arg(long)]
        json: bool,
    },
    /// Say that one was looked into
    ///
    /// A dispute of a host with the ledger ends on the host alone: `curfew-agent settle` there.
    Settle {
        /// Its number
        number: u64,
        /// What it was, and what was done
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::List { all, json } => {
                let path = format!("/v1/incidents?all={all}");
                let incidents: Vec<IncidentView> = client.read(&path).await?;
                if json {
                    return say_json(&incidents);
                }
                incidents.iter().try_for_each(tell)?;
                if incidents.is_empty() { say("none") } else { Ok(()) }
            }
            Self::Settle { number, reason } => {
                let ask = SettleAsk { number, reason };
                let settled: SettleAsk = client.send("/v1/incidents/settle", &ask).await?;
                say(&format!("incident {} is settled", settled.number))
            }
        }
    }
}

fn tell(incident: &IncidentView) -> anyhow::Result<()> {
    let often = match incident.count {
        1 => String::new(),
        count => format!(", {count} times until {}", shown(incident.last)),
    };
    say(&format!(
        "{}  {}  host {}{often}\n  {}",
        incident.number,
        shown(incident.first),
        incident.host,
        plain(&incident.cause.to_string())
    ))?;
    match &incident.settled {
        Some(settled) => say(&format!(
            "  settled by {} at {}: {}",
            plain(&settled.by),
            shown(settled.at),
            plain(&settled.reason)
        )),
        None => Ok(()),
    }
}
