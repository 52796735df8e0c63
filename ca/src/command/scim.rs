//! `curfew-ca scim`: the tokens of directories.

use clap::Subcommand;

use super::{say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::scim::{DirectoryTokenMade, NameToken};
use crate::ledger::DirectoryToken;

/// What to do with directories that say who there is (SCIM 2.0, at /scim/v2 on the people's port).
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token for a directory; it is shown this once
    Token {
        /// What to call it, such as the directory's name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a directory's token
    Revoke {
        /// Its name
        name: String,
    },
    /// List the tokens
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
            Self::Token { name, json } => {
                let made: DirectoryTokenMade =
                    client.send("/admin/scim/tokens", &NameToken { name }).await?;
                if json {
                    return say_json(&made);
                }
                say(&format!("URL    {}", made.url))?;
                say(&format!("Token  {}", made.token))
            }
            Self::Revoke { name } => {
                let ended: NameToken =
                    client.send("/admin/scim/tokens/end", &NameToken { name }).await?;
                say(&format!("The token {} is ended.", ended.name))
            }
            Self::List { json } => {
                let tokens: Vec<DirectoryToken> = client.read("/admin/scim/tokens").await?;
                if json {
                    return say_json(&tokens);
                }
                let row = |one: DirectoryToken| vec![one.name, shown(one.made)];
                let rows: Vec<Vec<String>> = tokens.into_iter().map(row).collect();
                say_table(&["DIRECTORY", "MADE"], &rows)
            }
        }
    }
}
