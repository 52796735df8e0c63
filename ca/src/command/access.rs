//! `curfew-ca access`: who can get where, and what of it nobody uses.

use std::time::Duration;

use clap::Args;
use wire::identifier::{HostName, Identity, RoleName};
use wire::time::Timestamp;

use super::{list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::clock;
use crate::inventory::Reach;

/// What of it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only of this identity
    #[arg(long)]
    identity: Option<Identity>,
    /// Only by this role
    #[arg(long)]
    role: Option<RoleName>,
    /// Only to this host
    #[arg(long)]
    host: Option<HostName>,
    /// Only what is wider than was used for this long, such as 90d: a host or an account that nobody of them got on since
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    unused: Option<Duration>,
    /// As JSON, with each host and account
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Lists it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut all: Vec<Reach> = client.read("/admin/access").await?;
        let since = clock::now().before(self.unused.unwrap_or(USUAL));
        all.retain(|reach| self.wants(reach, since));
        if self.json {
            return say_json(&all);
        }
        let rows: Vec<Vec<String>> = all.iter().map(|reach| row(reach, since)).collect();
        say_table(
            &["IDENTITY", "ROLE", "BY", "ON REQUEST", "LOGINS", "HOSTS", "USED", "LAST USED"],
            &rows,
        )?;
        let (hosts, used) = all.iter().fold((0_usize, 0_usize), |(hosts, used), reach| {
            (hosts.saturating_add(reach.hosts.len()), used.saturating_add(reach.hosts_used(since)))
        });
        let days = self.unused.unwrap_or(USUAL).as_secs() / DAY;
        say(&format!(
            "{} roles held; of {hosts} ways to a host {used} were used within {days} days",
            all.len()
        ))
    }

    fn wants(&self, reach: &Reach, since: Timestamp) -> bool {
        self.identity.as_ref().is_none_or(|identity| *identity == reach.identity)
            && self.role.as_ref().is_none_or(|role| *role == reach.role)
            && self.host.as_ref().is_none_or(|host| reach.hosts.contains_key(host))
            && (self.unused.is_none() || reach.is_wider_than_used(since))
    }
}

fn row(reach: &Reach, since: Timestamp) -> Vec<String> {
    vec![
        reach.identity.to_string(),
        reach.role.to_string(),
        if reach.teams.is_empty() { "name".into() } else { list(&reach.teams) },
        if reach.on_request { "yes" } else { "no" }.into(),
        list(reach.logins.keys()),
        reach.hosts.len().to_string(),
        reach.hosts_used(since).to_string(),
        reach.last().map_or_else(|| "never".into(), shown),
    ]
}

/// How long ago counts as used when nobody says.
const USUAL: Duration = Duration::from_secs(90 * DAY);
const DAY: u64 = 24 * 3_600;
