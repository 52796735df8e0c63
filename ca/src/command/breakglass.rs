//! `curfew-ca breakglass`: afterwards. Groups, receipts of custodians, what hosts saw, and verdicts.

mod told;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use told::{tell, tell_groups};
use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, GroupAsk, GroupView, ReceiptAsk, ReceiptTaken, Reconciled,
    RetireAsk,
};
use wire::identifier::{Custodian, Fingerprint, Identity, RequestId, Serial};
use wire::request::VerdictAsk;
use wire::review::{Review, Verdict};

use super::{say, say_json};
use crate::admin::client::Client;

/// What to do after break-glass.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The groups whose receipts are taken
    #[command(subcommand)]
    Group(Group),
    /// Enter receipts of custodians, and join all of them with what hosts saw
    ///
    /// A receipt is verified: forged ones, and those of groups that are not known, are refused. A use that no receipt accounts
    /// for becomes an incident. Entered again, nothing changes.
    Reconcile {
        /// Receipts, as custodians kept them
        #[arg(value_name = "FILE")]
        receipts: Vec<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a verdict on a use of break-glass, when it has ended
    ///
    /// `ok` settles its incidents, and needs the receipts of custodians where they signed; any other verdict leaves them open. Who
    /// took part cannot review it. Here the reviewer is named and the ledger says by whose word; people who are logged in
    /// give verdicts in their own name, with `curfew breakglass review`.
    Review {
        /// The serial of its certificate, or the request under which it was taken, such as r42
        #[arg(value_name = "SERIAL|REQUEST")]
        which: String,
        /// Who reviewed it: an active person who is neither one of its custodians nor whoever took it
        #[arg(long, value_name = "IDENTITY")]
        reviewer: Identity,
        /// ok, out-of-scope or incident
        #[arg(long)]
        verdict: Verdict,
        /// What it was, and what was done
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
    /// What is known: groups, when each host was last proven, and each use with its receipts and its review
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Take its receipts: for a new group, and for each time that its shares were made anew
    Add {
        /// Its file, `breakglass-group.txt`
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Who a custodian is here, such as ann=ann@example.com; again for each. None of them reviews what they signed, and
        /// nothing is found in order before they are known. Said again for a known group, it takes the place of what was said
        #[arg(long = "custodian", value_name = "NAME=IDENTITY", value_parser = who)]
        custodians: Vec<(Custodian, Identity)>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Say that no host is to believe its key any more
    ///
    /// Hosts believe what root placed on them: take the key out there too. Receipts from before are still taken.
    Retire {
        /// Its key's fingerprint
        key: Fingerprint,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List them
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
            Self::Group(group) => group.run(client).await,
            Self::Reconcile { receipts, json } => reconcile(client, &receipts, json).await,
            Self::Review { which, reviewer, verdict, note } => {
                let review = review(client, &which, (reviewer, verdict, note)).await?;
                say(&format!("{which} is reviewed by {}: {}", review.by, review.verdict))
            }
            Self::Status { json } => {
                let state: BreakGlass = client.read("/v1/breakglass").await?;
                if json { say_json(&state) } else { tell(&state) }
            }
        }
    }
}

impl Group {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { file, custodians, reason } => {
                let many = custodians.len();
                let people: BTreeMap<Custodian, Identity> = custodians.into_iter().collect();
                if people.len() < many {
                    bail!("one custodian is named twice");
                }
                let ask = GroupAsk { group: letter(&file)?, people, reason };
                let view: GroupView = client.send("/v1/breakglass/groups", &ask).await?;
                say(&format!("receipts of the group {} are taken", view.said.key))
            }
            Self::Retire { key, reason } => {
                let ask = RetireAsk { key, reason };
                let retired: RetireAsk = client.send("/v1/breakglass/groups/retire", &ask).await?;
                say(&format!(
                    "{} is retired; take it out of /etc/curfew/breakglass.pub on hosts, and `curfew-agent install` there",
                    retired.key
                ))
            }
            Self::List { json } => {
                let state: BreakGlass = client.read("/v1/breakglass").await?;
                if json {
                    return say_json(&state.groups);
                }
                tell_groups(&state)?;
                if state.groups.is_empty() { say("none") } else { Ok(()) }
            }
        }
    }
}

/// Gives a verdict on what is named by a serial or by a request.
async fn review(
    client: &Client,
    which: &str,
    (reviewer, verdict, note): (Identity, Verdict, String),
) -> anyhow::Result<Review> {
    let reviewer = Some(reviewer);
    if let Ok(request) = which.parse::<RequestId>() {
        let ask = VerdictAsk { verdict, note, reviewer };
        return Ok(client.send(&format!("/v1/requests/{request}/review"), &ask).await?);
    }
    let serial: Serial = which
        .parse()
        .map_err(|_odd| anyhow::anyhow!("{which} is neither a serial nor a request such as r42"))?;
    let ask = CeremonyReviewAsk { serial, verdict, note, reviewer };
    Ok(client.send("/v1/breakglass/reviews", &ask).await?)
}

/// `ann=ann@example.com`.
fn who(text: &str) -> Result<(Custodian, Identity), String> {
    let (name, identity) =
        text.split_once('=').ok_or("write it as NAME=IDENTITY, such as ann=ann@example.com")?;
    let custodian = name.parse().map_err(|error| format!("{name}: {error}"))?;
    let identity = identity.parse().map_err(|error| format!("{identity}: {error}"))?;
    Ok((custodian, identity))
}

/// Enters every receipt that is good, joins, and fails at the end where one was not.
async fn reconcile(client: &Client, receipts: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for path in receipts {
        let entered = match letter(path) {
            Ok(receipt) => enter(client, receipt).await,
            Err(error) => Err(error),
        };
        match entered {
            Ok(taken) if json => drop(taken),
            Ok(taken) => {
                let what = if taken.is_new { "entered" } else { "was here already" };
                let (name, by) = (&taken.said.name, &taken.said.kept_by);
                say(&format!("{}: {what}, {by}'s copy of {name}", path.display()))?;
            }
            Err(error) => refused.push(format!("{}: {error:#}", path.display())),
        }
    }
    let reconciled: Reconciled =
        client.send("/v1/breakglass/reconcile", &serde_json::Value::Null).await?;
    if json {
        say_json(&reconciled)?;
    } else {
        tell(&reconciled.state)?;
        if reconciled.opened > 0 {
            say(&format!("{} incidents were opened: curfew-ca incident list", reconciled.opened))?;
        }
    }
    if refused.is_empty() { Ok(()) } else { bail!("not entered: {}", refused.join("; ")) }
}

async fn enter(client: &Client, receipt: String) -> anyhow::Result<ReceiptTaken> {
    Ok(client.send("/v1/breakglass/receipts", &ReceiptAsk { receipt }).await?)
}

/// A letter's file; longer than any is not read.
fn letter(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    let mut text = String::new();
    file.take(MAX_LETTER)
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text)
}

/// More than the longest letter, with what mail puts around it, and less than the authority takes.
const MAX_LETTER: u64 = 48 * 1024;
