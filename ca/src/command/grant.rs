//! `curfew-ca grant`: grants that have not ended, ending one early, extending one.

use std::time::Duration;

use clap::Subcommand;
use wire::api::{EndGrantAsk, ExtendAsk, ExtendReply, GrantView, OrderProgress};
use wire::identifier::GrantId;

use super::{say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::config::duration;

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the grants that have not ended
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a grant last longer, as far as its role allows
    Extend {
        /// The grant
        grant: GrantId,
        /// By how much, such as 30m
        #[arg(long, value_name = "SPAN", value_parser = duration)]
        by: Duration,
        /// Why
        #[arg(long, default_value = "extended by the operator")]
        reason: String,
    },
    /// End a grant now, with its sessions
    End {
        /// The grant
        grant: GrantId,
        /// Why; shown to the person whose sessions end
        #[arg(long)]
        reason: String,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::List { json } => list(&client.read::<Vec<GrantView>>("/v1/grants").await?, json),
            Self::Extend { grant, by, reason } => {
                let ask = ExtendAsk { by_secs: by.as_secs(), reason };
                let path = format!("/v1/grants/{grant}/extend");
                let reply: ExtendReply = client.send(&path, &ask).await?;
                say(&format!("grant {grant} ends at {}", shown(reply.until)))
            }
            Self::End { grant, reason } => {
                let path = format!("/v1/grants/{grant}/end");
                let progress: OrderProgress = client.send(&path, &EndGrantAsk { reason }).await?;
                let is_done =
                    if progress.complete { "" } else { "; not every host has answered yet" };
                say(&format!("grant {grant} has ended, by order {}{is_done}", progress.order))
            }
        }
    }
}

fn list(grants: &[GrantView], json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&grants);
    }
    let row = |grant: &GrantView| {
        vec![
            grant.grant.to_string(),
            grant.identity.to_string(),
            grant.role.to_string(),
            grant.host.to_string(),
            shown(grant.from),
            shown(grant.until),
        ]
    };
    let rows: Vec<Vec<String>> = grants.iter().map(row).collect();
    say_table(&["GRANT", "IDENTITY", "ROLE", "HOST", "BEGAN", "UNTIL"], &rows)
}
