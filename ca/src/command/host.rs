//! `curfew-ca host`: hosts, and tokens for new ones.

use clap::Subcommand;
use wire::api::HostView;
use wire::identifier::{Address, HostName, Label};
use wire::record::Tier;

use super::{complain, list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::{MakeToken, RemoveHost, TokenMade};
use crate::config::duration;

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token by which a host can join once, and print the command to run there
    Token {
        /// The host's name
        name: HostName,
        /// Where it is reached, and what its host certificate is valid for besides its name
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<Address>,
        /// A label by which roles choose hosts
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<Label>,
        /// How long the token can be used
        #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = duration)]
        valid: std::time::Duration,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a host: no certificates for it any more, and it is not talked to until it enrols again
    Remove {
        /// Its name
        name: HostName,
    },
    /// List hosts
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
            Self::Token { name, address, label, valid, json } => {
                let ask = MakeToken {
                    host: name,
                    addresses: address,
                    labels: label,
                    valid_secs: valid.as_secs(),
                };
                let made: TokenMade = client.send("/admin/tokens", &ask).await?;
                if json {
                    return say_json(&made);
                }
                if made.authority.starts_with("localhost:") || made.authority.starts_with("127.") {
                    complain(&anyhow::anyhow!(
                        "only this machine can reach {}; set `names` in ca.toml to what hosts call the authority",
                        made.authority
                    ));
                }
                say(&format!("Run this on {}, once, before {}:", made.host, shown(made.expires)))?;
                say("")?;
                say(&format!("  {}", made.command))?;
                say("")?;
                say("and give it this token when it asks; it serves once and is shown only here:")?;
                say("")?;
                say(&format!("  {}", made.token))
            }
            Self::Remove { name } => {
                let ask = RemoveHost { host: name };
                let removed: RemoveHost = client.send("/admin/hosts/remove", &ask).await?;
                say(&format!("{} is removed.", removed.host))?;
                say(
                    "Sessions that are under way there end when their grants do; lock the host first to end them at once.",
                )
            }
            Self::List { json } => show(&client.read("/v1/hosts").await?, json),
        }
    }
}

fn show(hosts: &Vec<HostView>, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(hosts);
    }
    let cells: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            vec![
                host.name.to_string(),
                if host.connected { "connected" } else { "unreachable" }.into(),
                host.seen.map_or_else(|| "never".into(), shown),
                host.last_order.to_string(),
                list(&host.addresses),
                list(&host.labels),
                sight(host.tier.as_ref()),
            ]
        })
        .collect();
    say_table(&["HOST", "STATE", "SEEN", "ORDER", "ADDRESSES", "LABELS", "SEES"], &cells)
}

/// How much the host's agent sees.
fn sight(tier: Option<&Tier>) -> String {
    match tier {
        Some(Tier::Full) => "all".into(),
        Some(Tier::Degraded { reason }) => format!("degraded: {reason}"),
        None => "-".into(),
    }
}
