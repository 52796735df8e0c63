//! `curfew-ca ledger`: read, follow, export, verify and rebuild the record of every decision.

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use wire::identifier::Identity;
use wire::ledger::{Entry, EraseAsk, Erased, Line, Page, Range};
use wire::log::Leaf;
use wire::octets::plain;
use wire::time::Timestamp;

use super::lock::moment;
use super::{say, say_json, shown};
use crate::admin::client::Client;
use crate::config::Config;

mod mirror;
pub(super) mod verify;

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show one entry
    Show {
        /// Its number
        seq: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Find entries
    Search(Search),
    /// Show entries as they come
    Follow(Search),
    /// Print entries as JSON lines, with what proves them
    ///
    /// The output is checked with `verify --file`, here or anywhere else, from the log's public key alone.
    Export {
        /// Only those after this one
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// Only those up to this one
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
        /// Instead, lay the checkpoint and all tiles out in this folder (C2SP tlog-tiles), going on from what is there
        #[arg(long, value_name = "DIR", conflicts_with_all = ["after", "to"])]
        tiles: Option<std::path::PathBuf>,
    },
    /// Check the whole ledger, an export, or a certificate, offline
    Verify(verify::Arguments),
    /// Recreate the state from the entries and compare
    Rebuild {
        /// Put the recreated state in place of the present one
        #[arg(long)]
        write: bool,
    },
    /// Erase what entries say, for good; that they are there stays proved
    ///
    /// What is in force because of an entry stays in force, but cannot be recreated from it any more.
    Erase(Erase),
    /// Print the public keys that checkpoints are verified with
    Keys,
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Only of this kind, as `certificate` or `lock`
    #[arg(long)]
    kind: Option<String>,
    /// Only those that say this, such as a name
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Only from this moment on, as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    before: Option<Timestamp>,
    /// Only those after this one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

/// What to erase, and why.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The entries' numbers
    #[arg(value_name = "NUMBER", required_unless_present = "identity")]
    entries: Vec<u64>,
    /// Every entry that names this identity, which must be disabled
    #[arg(long)]
    identity: Option<Identity>,
    /// Why; this is kept
    #[arg(long)]
    reason: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Does it.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::Verify(arguments) => verify::run(config, &arguments),
            Self::Rebuild { write } => verify::rebuild(config, write),
            Self::Keys => verify::keys(config),
            Self::Show { seq, json } => {
                super::talk(config, async |client| show(client, seq, json).await)
            }
            Self::Search(search) => super::talk(config, async |client| search.run(client).await),
            Self::Follow(search) => super::talk(config, async |client| search.follow(client).await),
            Self::Export { tiles: Some(dir), .. } => mirror::run(config, &dir),
            Self::Export { after, to, tiles: None } => {
                super::talk(config, async |client| export(client, after, to).await)
            }
            Self::Erase(erase) => super::talk(config, async |client| erase.run(client).await),
        }
    }
}

async fn show(client: &Client, seq: u64, json: bool) -> anyhow::Result<()> {
    let after = seq.checked_sub(1).context("entries are numbered from 1")?;
    let page: Page = client.read(&format!("/v1/entries?after={after}&limit=1")).await?;
    let entry = page
        .entries
        .first()
        .with_context(|| format!("there is no entry {seq}; the newest is {}", page.size))?;
    if json {
        return say_json(&Line::Entry(entry.clone()));
    }
    let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
    say(&format!("entry {seq}, {}, {}", shown(leaf.at), leaf.kind))?;
    match &entry.body {
        Some(body) => {
            let said: serde_json::Value = serde_json::from_str(&body.text)?;
            let pretty = serde_json::to_string_pretty(&said)?;
            pretty.lines().try_for_each(|line| say(&plain(line)))
        }
        None => say("its body was erased"),
    }
}

impl Search {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut after = self.after;
        loop {
            let page = self.page(client, after, 0).await?;
            if page.reached >= page.size {
                return Ok(());
            }
            after = page.reached;
        }
    }

    async fn follow(self, client: &Client) -> anyhow::Result<()> {
        let mut after = self.after;
        if after == 0 {
            let newest: Page = client.read("/v1/entries?limit=0").await?;
            after = newest.size;
        }
        loop {
            after = self.page(client, after, FOLLOW_MILLIS).await?.reached;
        }
    }

    async fn page(&self, client: &Client, after: u64, wait: u64) -> anyhow::Result<Page> {
        let mut path = format!("/v1/entries?after={after}&wait_millis={wait}");
        for (name, value) in [("kind", &self.kind), ("text", &self.text)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", escaped(value)));
            }
        }
        for (name, value) in [("since_millis", self.since), ("before_millis", self.before)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", value.millis()));
            }
        }
        let page: Page = client.read(&path).await?;
        for entry in &page.entries {
            if self.json { say_json(&Line::Entry(entry.clone()))? } else { say(&line(entry)?)? }
        }
        Ok(page)
    }
}

/// `17  2027-01-15T08:00:00Z  lock  {"by":"local:root",…}`
fn line(entry: &Entry) -> anyhow::Result<String> {
    let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
    let said = entry.body.as_ref().map_or("(erased)", |body| body.text.as_str());
    Ok(format!("{}  {}  {}  {}", leaf.seq, shown(leaf.at), leaf.kind, plain(said)))
}

async fn export(client: &Client, after: u64, to: Option<u64>) -> anyhow::Result<()> {
    let to = match to {
        Some(to) => to,
        None => client.read::<Page>("/v1/entries?limit=0").await?.size,
    };
    let range: Range = client.read(&format!("/v1/entries/range?after={after}&to={to}")).await?;
    say_json(&Line::After(range.after))?;
    let mut reached = after;
    while reached < to {
        let limit = to.saturating_sub(reached).min(1000);
        let path = format!("/v1/entries?after={reached}&limit={limit}");
        let page: Page = client.read(&path).await?;
        ensure!(page.reached > reached, "the authority gave no entries after {reached}");
        for entry in page.entries {
            say_json(&Line::Entry(entry))?;
        }
        reached = page.reached;
    }
    say_json(&Line::Checkpoint(range.end))
}

impl Erase {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        let ask = EraseAsk { entries: self.entries, identity: self.identity, reason: self.reason };
        let erased: Erased = client.send("/admin/erase", &ask).await?;
        if self.json {
            return say_json(&erased);
        }
        say(&format!(
            "{} bodies are erased; entry {} says so, and every proof holds as before.",
            erased.entries.len(),
            erased.seq
        ))
    }
}

/// Text as it can stand in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

const FOLLOW_MILLIS: u64 = 25_000;
