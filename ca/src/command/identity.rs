//! `curfew-ca identity`: who there is.

use anyhow::Context as _;
use clap::Subcommand;
use wire::api::{OrderProgress, RevokeKey};
use wire::identifier::{Fingerprint, Identity};

use super::lock::follow;
use super::{list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::{AddIdentity, DisableIdentity, EnableIdentity, RevokeKeyOf};
use crate::ledger::{Bound, IdentityRow};

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
    /// The keys that an identity logs in with
    #[command(subcommand)]
    Key(KeyCommand),
    /// List which account of the identity provider has which identity
    Bound {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let an identity go, so that another account of the identity provider may have it
    Unbind {
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

/// What to do with an identity's keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a key to an identity that is there
    Add {
        /// Its name
        name: Identity,
        /// A public key to log in with: a file, or the key itself (RSA of 2,048 to 8,192 bits)
        key: String,
    },
    /// Take a key away: it logs in nowhere, and what was obtained with it is over at once
    Revoke {
        /// Whose it is
        name: Identity,
        /// Its fingerprint, as `identity list` shows it
        key: Fingerprint,
        /// Why; shown to the person whose sessions end
        #[arg(long, default_value = "the key was revoked")]
        reason: String,
    },
}

impl KeyCommand {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { name, key } => {
                let rows: Vec<IdentityRow> = client.read("/admin/identities").await?;
                anyhow::ensure!(
                    rows.iter().any(|row| row.identity == name),
                    "there is no identity {name}; `curfew-ca identity add` adds one"
                );
                let public_key = read_key(&key)?;
                let (operator, workload) = (false, false);
                let ask = AddIdentity { identity: name, public_key, operator, workload };
                let row: IdentityRow = client.send("/admin/identities", &ask).await?;
                say(&format!("{} has {} key(s): {}", row.identity, row.keys.len(), list(row.keys)))
            }
            Self::Revoke { name, key, reason } => {
                let revoke = RevokeKey { key, reason };
                let ask = RevokeKeyOf { identity: name, revoke };
                let progress = client.send("/admin/identities/keys/revoke", &ask).await?;
                say(&format!("{} of {} is revoked.", ask.revoke.key, ask.identity))?;
                follow(client, progress).await
            }
        }
    }
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
            Self::Key(command) => command.run(client).await,
            Self::Bound { json } => {
                let bound: Vec<Bound> = client.read("/admin/identities/bound").await?;
                if json {
                    return say_json(&bound);
                }
                let row = |one: Bound| vec![one.identity.to_string(), one.issuer, one.subject];
                let rows: Vec<Vec<String>> = bound.into_iter().map(row).collect();
                say_table(&["IDENTITY", "ISSUER", "SUBJECT"], &rows)
            }
            Self::Unbind { name } => {
                let ask = EnableIdentity { identity: name };
                let let_go: EnableIdentity = client.send("/admin/identities/unbind", &ask).await?;
                say(&format!(
                    "{} is let go; its logins through the provider ended.",
                    let_go.identity
                ))
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
