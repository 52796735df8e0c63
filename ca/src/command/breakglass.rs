//! `curfew-ca breakglass`: afterwards. Groups, receipts of custodians, what hosts saw, and verdicts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use wire::ceremony::{
    BreakGlass, CeremonyReviewAsk, CeremonyView, GroupAsk, GroupView, HostProof, ReceiptAsk,
    ReceiptTaken, Reconciled, RetireAsk, UseView,
};
use wire::identifier::{Fingerprint, Serial};
use wire::octets::plain;
use wire::review::{Review, Verdict};
use wire::time::Timestamp;

use super::{list, say, say_json, shown};
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
    /// `ok` needs the receipts and settles its incidents; any other verdict leaves them open.
    Review {
        /// The serial of its certificate
        serial: Serial,
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
            Self::Review { serial, verdict, note } => {
                let ask = CeremonyReviewAsk { serial, verdict, note };
                let review: Review = client.send("/v1/breakglass/reviews", &ask).await?;
                say(&format!("{serial} is reviewed: {}", review.verdict))
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
            Self::Add { file, reason } => {
                let ask = GroupAsk { group: letter(&file)?, reason };
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
                state.groups.iter().try_for_each(|group| say(&group_line(group, state.at)))?;
                if state.groups.is_empty() { say("none") } else { Ok(()) }
            }
        }
    }
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

fn tell(state: &BreakGlass) -> anyhow::Result<()> {
    if state.groups.is_empty() {
        say(
            "no group is known: `curfew-ca breakglass group add`, so that receipts can be told from forged ones",
        )?;
    }
    state.groups.iter().try_for_each(|group| say(&group_line(group, state.at)))?;
    if !state.groups.is_empty() {
        state.hosts.iter().try_for_each(|proof| say(&proof_line(proof, state.at)))?;
    }
    state.ceremonies.iter().try_for_each(|one| tell_one(one, state.at))?;
    if state.ceremonies.is_empty() { say("break-glass was never used") } else { Ok(()) }
}

fn group_line(group: &GroupView, now: Timestamp) -> String {
    let said = &group.said;
    let ends = match group.retired {
        Some(at) => format!("retired at {}", shown(at)),
        None if said.expires <= now => format!("EXPIRED at {}", shown(said.expires)),
        None => format!("until {}", shown(said.expires)),
    };
    format!(
        "group {}, shares made {} times: {} of {}, {ends}",
        said.key,
        u64::from(said.generation).saturating_add(1),
        said.threshold,
        list(&said.members)
    )
}

/// When the way in was last proven, with the agent alive and with it dead.
fn proof_line(proof: &HostProof, now: Timestamp) -> String {
    let ago = |at: Option<Timestamp>| {
        at.map_or_else(
            || "never".to_owned(),
            |at| format!("{} days ago", now.since(at).as_secs() / 86_400),
        )
    };
    let overdue = if proof.is_overdue { "  OVERDUE for a drill" } else { "" };
    let (host, alive, dead) = (&proof.host, ago(proof.alive), ago(proof.dead));
    let key = proof.key.as_ref().map(|key| format!(", last by {key}")).unwrap_or_default();
    format!("host {host}: proven {alive} with its agent alive, {dead} with it dead{key}{overdue}")
}

fn tell_one(one: &CeremonyView, now: Timestamp) -> anyhow::Result<()> {
    let name = &one.name;
    let what = if name.drill { "drill" } else { "use" };
    let review = match &one.review {
        Some(review) => {
            format!("{} by {}: {}", review.verdict, plain(&review.by), plain(&review.note))
        }
        None if one.is_overdue(now) => format!("OVERDUE since {}", shown(one.due)),
        None => format!("due until {}", shown(one.due)),
    };
    say(&format!("{}  {what} for {}: {}", name.serial, name.incident, one.standing))?;
    let signers = list(&name.custodians);
    say(&format!("  signed by {signers}, receipts of {}", list(&one.receipts)))?;
    if let Some(said) = &one.said {
        let (login, hosts) = (&said.login, list(&said.hosts));
        let (from, until) = (shown(said.from), shown(name.until));
        say(&format!("  {login} on {hosts}, {from} to {until}: {}", plain(&said.reason)))?;
    }
    one.uses.iter().try_for_each(tell_use)?;
    say(&format!("  review {review}"))
}

fn tell_use(seen: &UseView) -> anyhow::Result<()> {
    let silent: Vec<&str> = seen
        .used
        .alarms
        .iter()
        .filter(|alarm| alarm.fault.is_some())
        .map(|alarm| alarm.by.as_str())
        .collect();
    let loud = match (silent.is_empty(), seen.used.is_loud()) {
        (true, true) => "every alarm went out".to_owned(),
        (true, false) => "no alarm is known of".to_owned(),
        (false, _) => format!("NO ALARM by {}", plain(&silent.join(", "))),
    };
    let at = shown(seen.used.at);
    let remote = plain(&seen.used.remote);
    say(&format!(
        "  used on {} from {remote} at {at}, incident {}; {loud}",
        seen.host, seen.incident
    ))?;
    match &seen.fault {
        Some(fault) => say(&format!("  NOT AS SIGNED: {}", plain(fault))),
        None => Ok(()),
    }
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
