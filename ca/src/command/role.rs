//! `curfew-ca role`: the roles in force.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use wire::identifier::RoleName;

use super::{list, say, say_json, say_table};
use crate::admin::client::Client;
use crate::config::shown;
use crate::role::Role;

/// What to do with roles.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the roles in force
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one role
    Show {
        /// Its name
        name: RoleName,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let roles: BTreeMap<RoleName, Role> = client.read("/admin/roles").await?;
        match self {
            Self::List { json: true } => say_json(&roles),
            Self::List { json: false } => {
                let row = |(name, role): (&RoleName, &Role)| {
                    let default = shown(Duration::from_secs(role.default_secs));
                    let max = shown(Duration::from_secs(role.max_secs));
                    vec![
                        name.to_string(),
                        list(&role.logins),
                        targets(role),
                        default,
                        max,
                        role.members.len().to_string(),
                        list(&role.teams),
                    ]
                };
                let rows: Vec<Vec<String>> = roles.iter().map(row).collect();
                say_table(&["ROLE", "LOGINS", "HOSTS", "DEFAULT", "MAX", "MEMBERS", "TEAMS"], &rows)
            }
            Self::Show { name, json } => {
                let Some(role) = roles.get(&name) else {
                    anyhow::bail!("there is no role {name}; `curfew-ca role list` shows them");
                };
                if json { say_json(role) } else { show(&name, role) }
            }
        }
    }
}

fn show(name: &RoleName, role: &Role) -> anyhow::Result<()> {
    say(&format!("role      {name}"))?;
    say(&format!("members   {}", list(&role.members)))?;
    say(&format!("teams     {}", list(&role.teams)))?;
    if let Some(kinds) = &role.kinds {
        say(&format!("kinds     {}", list(kinds)))?;
    }
    say(&format!("logins    {}", list(&role.logins)))?;
    say(&format!("hosts     {}", targets(role)))?;
    say(&format!("default   {}", shown(Duration::from_secs(role.default_secs))))?;
    say(&format!("longest   {}", shown(Duration::from_secs(role.max_secs))))?;
    say(&format!("abilities {}", list(role.abilities.iter().map(|ability| ability.extension()))))?;
    if !role.requires.is_empty() {
        say(&format!("requires  {}", list(&role.requires)))?;
    }
    if role.ticket {
        say("ticket    needed")?;
    }
    if let Some(kinds) = &role.subject_keys {
        say(&format!("keys      {}", list(kinds)))?;
    }
    for (name, value) in role.bounds().critical_options() {
        say(format!("{name} {value}").trim_end())?;
    }
    Ok(())
}

fn targets(role: &Role) -> String {
    let labels = role.hosts.iter().map(ToString::to_string);
    list(labels.chain(role.host_names.iter().map(ToString::to_string)))
}
