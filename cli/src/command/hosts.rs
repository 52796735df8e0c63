//! `curfew hosts`.

use anyhow::Result;
use wire::api::HostView;
use wire::record::Tier;
use wire::time::Timestamp;

use super::login::learn_hosts;
use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::render::{Cell, Screen, Table, Tone, moment};

/// List the hosts you may enter, and as whom
#[derive(Debug, clap::Args)]
pub(crate) struct Hosts {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Hosts {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let hosts = learn_hosts(&mut Client::of(&home)?, &home)?;
        if self.json {
            screen.json(&hosts)?;
        } else if hosts.is_empty() {
            screen.line("There is no host that you may enter; ask your operator for a role.")?;
        } else {
            screen.table(&table(&hosts, clock::now()))?;
        }
        Ok(Exit::Done)
    }
}

fn table(hosts: &[HostView], now: Timestamp) -> Table {
    let mut table = Table::new(&["HOST", "LOGINS", "STATE", "RECORDS", "LABELS", "ADDRESSES"]);
    for host in hosts {
        let logins: Vec<String> =
            host.logins.iter().map(|each| format!("{} ({})", each.login, each.role)).collect();
        table.row(vec![
            Cell::toned(Tone::Strong, host.name.as_str()),
            logins.join(", ").into(),
            state(host, now),
            tier(host.tier.as_ref()),
            joined(&host.labels).into(),
            joined(&host.addresses).into(),
        ]);
    }
    table
}

fn state(host: &HostView, now: Timestamp) -> Cell {
    match (host.connected, host.seen) {
        (true, _) => Cell::toned(Tone::Good, "connected"),
        (false, Some(seen)) => {
            Cell::toned(Tone::Warning, format!("seen {}", moment::relative(seen, now)))
        }
        (false, None) => Cell::toned(Tone::Warning, "never seen"),
    }
}

fn tier(tier: Option<&Tier>) -> Cell {
    match tier {
        Some(Tier::Full) => "full".into(),
        Some(Tier::Degraded { reason }) => {
            Cell::toned(Tone::Warning, format!("degraded: {reason}"))
        }
        None => Cell::toned(Tone::Faint, "unknown"),
    }
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
