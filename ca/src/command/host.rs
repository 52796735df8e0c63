//! `curfew-ca host`: hosts, and tokens for new ones.

use clap::Subcommand;
use wire::api::HostView;
use wire::identifier::{Address, HostName, Label};
use wire::krl::signed::KrlStanding;
use wire::record::Tier;
use wire::time::Timestamp;

use super::{complain, list, say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::admin::{ChangeHost, MakeToken, RemoveHost, TokenMade};
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
    /// Give a host other addresses or labels; what is not named stays
    ///
    /// Its SSH certificates get the new names within seconds, or when it is connected again, and lose the old ones.
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Set {
        /// The host's name
        name: HostName,
        /// Where it is reached; give all of them
        #[arg(long, value_name = "ADDRESS", group = "what")]
        address: Vec<Address>,
        /// Its labels; give all of them
        #[arg(long, value_name = "KEY=VALUE", group = "what")]
        label: Vec<Label>,
        /// No address but its name
        #[arg(long, group = "what", conflicts_with = "address")]
        no_address: bool,
        /// No label
        #[arg(long, group = "what", conflicts_with = "label")]
        no_label: bool,
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
            Self::Set { name, address, label, no_address, no_label } => {
                let addresses = (no_address || !address.is_empty()).then_some(address);
                let labels = (no_label || !label.is_empty()).then_some(label);
                let ask = ChangeHost { host: name, addresses, labels };
                let changed: ChangeHost = client.send("/admin/hosts/change", &ask).await?;
                say(&format!("{} is changed.", changed.host))?;
                say(
                    "People learn the new names at once by `curfew ssh`, `curfew login` or `curfew hosts`, by plain ssh within a minute.",
                )
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
    let now = crate::clock::now();
    let cells: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            vec![
                host.name.to_string(),
                if host.connected { "connected" } else { "unreachable" }.into(),
                host.seen.map_or_else(|| "never".into(), shown),
                host.last_order.to_string(),
                krl(host.krl.as_ref()),
                life(host, now),
                list(&host.addresses),
                list(&host.labels),
                sight(host.tier.as_ref()),
            ]
        })
        .collect();
    say_table(
        &["HOST", "STATE", "SEEN", "ORDER", "KRL", "CERTIFICATE", "ADDRESSES", "LABELS", "SEES"],
        &cells,
    )
}

/// How long its SSH certificates are good for, and what keeps the next from coming.
fn life(host: &HostView, now: Timestamp) -> String {
    let left = match host.certificate_until {
        None => "unknown".to_owned(),
        Some(until) if until <= now => "ended".to_owned(),
        Some(until) => {
            let left = until.since(now);
            let coarse = if left.as_secs() < 3600 { 1 } else { 3600 };
            let whole = left.as_secs().checked_div(coarse).unwrap_or(0).saturating_mul(coarse);
            format!("{} left", crate::config::shown(std::time::Duration::from_secs(whole)))
        }
    };
    match &host.certificate_problem {
        None => left,
        Some(problem) => format!("{left}: {problem}"),
    }
}

/// Which list of revoked keys sshd reads there; marked when something is wrong with it.
fn krl(standing: Option<&KrlStanding>) -> String {
    match standing {
        None => "-".into(),
        Some(KrlStanding { version, trouble: None }) => version.to_string(),
        Some(KrlStanding { version, trouble: Some(_) }) => format!("{version} !"),
    }
}

/// How much the host's agent sees.
fn sight(tier: Option<&Tier>) -> String {
    match tier {
        Some(Tier::Full) => "all".into(),
        Some(Tier::Degraded { reason }) => format!("degraded: {reason}"),
        None => "-".into(),
    }
}
