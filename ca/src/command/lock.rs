//! `curfew-ca lock`, `curfew-ca unlock`: refuse at once, and see it through on every host.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use wire::api::{LockView, OrderProgress, UnlockAsk};
use wire::lock::{Lock, Target};
use wire::time::Timestamp;

use super::{say, say_json, say_table, shown};
use crate::admin::client::Client;
use crate::clock;
use crate::config::duration;

/// What to lock, or that locks are to be listed.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    lock: Option<LockArguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the locks in force
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to lock.
#[derive(Debug, Args)]
struct LockArguments {
    /// What kind of thing
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Which one
    #[arg(value_name = "VALUE")]
    value: String,
    /// Why; shown to the person whose sessions end
    #[arg(long)]
    reason: String,
    /// When the lock ends by itself, as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment, conflicts_with = "lasting")]
    until: Option<Timestamp>,
    /// How long the lock lasts
    #[arg(long = "for", value_name = "SPAN", value_parser = duration)]
    lasting: Option<Duration>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Which lock to lift.
#[derive(Debug, Args)]
pub(crate) struct UnlockArguments {
    /// What kind of thing
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Which one
    #[arg(value_name = "VALUE")]
    value: String,
    /// Why
    #[arg(long, default_value = "lifted by the operator")]
    reason: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A person or workload, everywhere
    Identity,
    /// Everything under one grant
    Grant,
    /// One certificate, by its serial
    Serial,
    /// One key, by its fingerprint
    Key,
    /// One session
    Session,
    /// Every session on one host
    Host,
    /// Everything under one role
    Role,
    /// One unix account, on every host
    Login,
    /// Every login from one network, such as 192.0.2.0/24
    Network,
}

impl Kind {
    fn target(self, value: &str) -> anyhow::Result<Target> {
        Ok(match self {
            Self::Identity => Target::Identity(value.parse()?),
            Self::Grant => Target::Grant(value.parse()?),
            Self::Serial => Target::Serial(value.parse()?),
            Self::Key => Target::Key(value.parse()?),
            Self::Session => Target::Session(value.parse()?),
            Self::Host => Target::Host(value.parse()?),
            Self::Role => Target::Role(value.parse()?),
            Self::Login => Target::Login(value.parse()?),
            Self::Network => Target::Network(value.parse()?),
        })
    }
}

impl Arguments {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if let Some(Command::List { json }) = self.command {
            return show(&client.read("/v1/locks").await?, json);
        }
        let Some(ask) = self.lock else {
            anyhow::bail!("say what to lock: `curfew-ca lock identity NAME --reason WHY`");
        };
        let until = ask.until.or_else(|| ask.lasting.map(|span| clock::now().after(span)));
        let target = ask.kind.target(&ask.value)?;
        let lock = Lock { target, reason: ask.reason, until };
        let progress = client.send("/v1/locks", &lock).await?;
        if !ask.json {
            say(&format!("{} is locked.", lock.target))?;
        }
        finish(client, progress, ask.json).await
    }
}

impl UnlockArguments {
    /// Does it.
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let ask = UnlockAsk { target: self.kind.target(&self.value)?, reason: self.reason };
        let progress = client.send("/v1/unlocks", &ask).await?;
        if !self.json {
            say(&format!("{} is unlocked.", ask.target))?;
        }
        finish(client, progress, self.json).await
    }
}

/// Shows how the order comes along until every connected host is done, or for half a minute.
pub(crate) async fn follow(client: &Client, progress: OrderProgress) -> anyhow::Result<()> {
    finish(client, progress, false).await
}

async fn finish(client: &Client, mut progress: OrderProgress, json: bool) -> anyhow::Result<()> {
    let order = progress.order;
    let mut line = String::new();
    for _ in 0..POLLS {
        let next = described(&progress);
        if !json && next != line {
            say(&next)?;
            line = next;
        }
        if progress.complete && progress.kills_are_in() {
            break;
        }
        let path = format!("/v1/orders/{order}?wait_millis={POLL_MILLIS}&kills=true");
        progress = client.read(&path).await?;
    }
    if json {
        say_json(&progress)?;
    }
    for host in progress.hosts.iter().filter(|_| !json) {
        if let Some(kills) = host.kills.filter(|kills| kills.sessions > 0) {
            say(&format!("  {}: {kills}", host.host))?;
        }
    }
    for host in progress.hosts.iter().filter(|host| !json && !host.connected) {
        say(&format!("  {} is not connected; it gets the order when it returns", host.host))?;
    }
    for host in &progress.hosts {
        let survivors = host.receipt.as_ref().map_or(0, |receipt| receipt.survivors);
        let survivors = survivors.max(host.kills.map_or(0, |kills| kills.survivors));
        anyhow::ensure!(survivors == 0, "{survivors} processes are still alive on {}", host.host);
    }
    anyhow::ensure!(progress.complete, "order {order} is not complete on every connected host yet");
    Ok(())
}

/// `3 of 3 hosts, 2 sessions ended, 0 survivors, 41 ms`
fn described(progress: &OrderProgress) -> String {
    let receipts: Vec<_> = progress.hosts.iter().filter_map(|host| host.receipt.as_ref()).collect();
    let done = receipts.iter().filter(|receipt| receipt.done).count();
    let sum = |of: fn(&wire::record::Receipt) -> u32| {
        receipts.iter().map(|receipt| u64::from(of(receipt))).sum::<u64>()
    };
    format!(
        "{done} of {} hosts, {} sessions ended, {} survivors, {} ms",
        progress.hosts.len(),
        sum(|receipt| receipt.sessions),
        sum(|receipt| receipt.survivors),
        progress.took_micros.div_ceil(1000)
    )
}

fn show(locks: &Vec<LockView>, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(locks);
    }
    let cells: Vec<Vec<String>> = locks
        .iter()
        .map(|view| {
            let until = view.lock.until.map_or_else(|| "it is lifted".into(), shown);
            vec![
                view.lock.target.to_string(),
                until,
                view.order.to_string(),
                view.by.clone(),
                shown(view.at),
                view.lock.reason.clone(),
            ]
        })
        .collect();
    say_table(&["LOCKED", "UNTIL", "ORDER", "BY", "SINCE", "REASON"], &cells)
}

/// A moment as `2027-01-31T12:00:00Z`.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|error: jiff::Error| format!("{error}; write it as 2027-01-31T12:00:00Z"))?;
    u64::try_from(at.as_millisecond())
        .map(Timestamp::from_millis)
        .map_err(|_negative| "that is before 1970".into())
}

const POLLS: usize = 30;
const POLL_MILLIS: u64 = 1000;
