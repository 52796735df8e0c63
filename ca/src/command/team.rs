//! `curfew-ca team`: who is in which team.

use std::collections::BTreeSet;

use clap::Subcommand;
use wire::identifier::{Identity, TeamName};

use super::{say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::team::{ChangeTeam, TeamChanged};
use crate::ledger::TeamRow;

/// What to do with teams.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put identities into a team; it exists while somebody is in it
    Add {
        /// The team, such as sre
        team: TeamName,
        /// Who comes into it
        #[arg(required = true)]
        identities: Vec<Identity>,
    },
    /// Take identities out of a team that `add` has put there
    Remove {
        /// The team
        team: TeamName,
        /// Who leaves it
        #[arg(required = true)]
        identities: Vec<Identity>,
    },
    /// List teams and who is in them
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let nobody = BTreeSet::new;
        let (word, ask) = match self {
            Self::Add { team, identities } => {
                let join = identities.into_iter().collect();
                ("is in", ChangeTeam { team, join, leave: nobody() })
            }
            Self::Remove { team, identities } => {
                let leave = identities.into_iter().collect();
                ("is no longer in", ChangeTeam { team, join: nobody(), leave })
            }
            Self::List { json } => return show(&client.read("/admin/teams").await?, json),
        };
        let TeamChanged { changed } = client.send("/admin/teams", &ask).await?;
        for identity in ask.join.iter().chain(&ask.leave) {
            let already = if changed.contains(identity) { "" } else { " (nothing changed)" };
            say(&format!("{identity} {word} {}{already}", ask.team))?;
        }
        Ok(())
    }
}

fn show(teams: &Vec<TeamRow>, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(teams);
    }
    let rows = teams.iter().flat_map(|row| row.members.iter().map(move |member| (row, member)));
    let cells: Vec<Vec<String>> = rows
        .map(|(row, member)| {
            let (team, who) = (row.team.to_string(), member.identity.to_string());
            vec![team, who, member.source.name().into(), shown(member.since)]
        })
        .collect();
    say_table(&["TEAM", "IDENTITY", "BY", "SINCE"], &cells)
}
