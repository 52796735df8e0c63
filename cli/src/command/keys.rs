//! `curfew keys`: the SSH keys that you log in with.

use anyhow::Result;
use clap::Subcommand;
use wire::api::{KeyRow, OrderProgress, RevokeKey};
use wire::identifier::Fingerprint;

use super::lock::reason;
use crate::client::Client;
use crate::clock;
use crate::exit::Exit;
use crate::home::Home;
use crate::progress::{self, Kind};
use crate::render::{Screen, Table, Tone, moment};

/// The SSH keys that you log in to the authority with
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give one up, at once: it logs in nowhere, and what was obtained with it is over
    ///
    /// Its logins end, its certificates and those that logins with it obtained open nothing any more, and their sessions
    /// end. A key that was lost or stolen is given up so; another one is added by an operator.
    Revoke {
        /// Its fingerprint, as `curfew keys list` shows it
        key: Fingerprint,
        /// Why
        #[arg(long, default_value = "given up by its owner")]
        reason: String,
    },
}

impl Keys {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        match self {
            Self::List { json } => {
                let keys: Vec<KeyRow> = client.get("/v1/keys")?;
                if json {
                    screen.json(&keys)?;
                    return Ok(Exit::Done);
                }
                let now = clock::now();
                let mut table = Table::new(&["KEY", "TYPE", "ADDED"]);
                for row in keys {
                    let kind = row.public_key.split(' ').next().unwrap_or_default().to_owned();
                    let added = moment::relative(row.added, now);
                    table.row(vec![row.key.as_str().into(), kind.into(), added.into()]);
                }
                screen.table(&table)?;
                Ok(Exit::Done)
            }
            Self::Revoke { key, reason: why } => {
                let ask = RevokeKey { key, reason: reason(why)? };
                let progress: OrderProgress = client.post("/v1/keys/revoke", &ask)?;
                screen.line(&format!("{} is revoked (order {}).", ask.key, progress.order))?;
                for (tone, sentence) in progress::unfinished(&progress, Kind::Lock) {
                    screen.toned(tone, &format!("  {sentence}"))?;
                }
                let is_success = progress::is_success(&progress, Kind::Lock);
                let tone = if is_success { Tone::Good } else { Tone::Bad };
                screen.toned(tone, &progress::summary(&progress, Kind::Lock))?;
                Ok(if is_success { Exit::Done } else { Exit::Failure })
            }
        }
    }
}
