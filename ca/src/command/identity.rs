//! `curfew-ca identity`: who there is.

use anyhow::Context as _;
use clap::Subcommand;
use wire::api::OrderProgress;
use wire::identifier::Identity;

use super::lock::follow;
use super::{list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::{AddIdentity, DisableIdentity, EnableIdentity};
use crate::ledger::IdentityRow;

/// What to do with identities.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add an identity, or another key to one
    Add {
        /// A stable name, such as ana@example.com
        name: Identity,
        /// A public key to log in with: a file, or the key itself (RSA of 2,048 to 8,192 bits)
        #[arg(long, value_name = "FILE|KEY")]
        key: String,
        /// Let it lock, unlock and see everybody's sessions
        #[arg(long)]
        operator: bool,
        /// It is a program, such as a job of a pipeline, and no person
        #[arg(long, conflicts_with = "operator")]
        workload: bool,
    },
    /// Disable an identity: no access any more, and every session of theirs ends at once
    Disable {
        /// Its name
        name: Identity,
        /// Why; shown to the person whose sessions end
        #[arg(long, default_value = "the identity was disabled")]
        reason: String,
    },
    /// Enable an identity again
    Enable {
        /// Its name
        name: Identity,
    },
    /// List identities
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { name, key, operator, workload } => {
                let public_key = read_key(&key)?;
                let ask = AddIdentity { identity: name, public_key, operator, workload };
                let row: IdentityRow = client.send("/admin/identities", &ask).await?;
                say(&format!("{} has {} key(s): {}", row.identity, row.keys.len(), list(row.keys)))
            }
            Self::Disable { name, reason } => {
                let ask = DisableIdentity { identity: name, reason };
                let progress = client.send("/admin/identities/disable", &ask).await?;
                say(&format!("{} is disabled and locked.", ask.identity))?;
                follow(client, progress).await
            }
            Self::Enable { name } => {
                let ask = EnableIdentity { identity: name };
                let progress: Option<OrderProgress> =
                    client.send("/admin/identities/enable", &ask).await?;
                say(&format!("{} is enabled.", ask.identity))?;
                match progress {
                    Some(progress) => follow(client, progress).await,
                    None => Ok(()),
                }
            }
            Self::List { json } => show(&client.read("/admin/identities").await?, json),
        }
    }
}

fn show(rows: &Vec<IdentityRow>, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let standing = if row.disabled { "disabled" } else { "active" };
            let kind = if row.operator { "operator" } else { row.kind.name() };
            let (name, keys) = (row.identity.to_string(), list(&row.keys));
            vec![name, standing.into(), kind.into(), shown(row.added), list(&row.teams), keys]
        })
        .collect();
    say_table(&["IDENTITY", "STANDING", "KIND", "ADDED", "TEAMS", "KEYS"], &cells)
}

/// The key itself when it looks like one, else the file of that name.
fn read_key(text: &str) -> anyhow::Result<String> {
    if text.split_whitespace().count() > 1 {
        return Ok(text.to_owned());
    }
    let key =
        std::fs::read_to_string(text).with_context(|| format!("cannot read the key {text}"))?;
    anyhow::ensure!(
        !key.contains("PRIVATE KEY"),
        "{text} is a private key; give the public one, usually {text}.pub"
    );
    Ok(key)
}
