//! `curfew ledger show`, `curfew ledger search`.

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use wire::api::Whoami;
use wire::ledger::{Entry, Line, Page, Walk};
use wire::log::Leaf;

use crate::client::Client;
use crate::clock;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::ledger::entry::{self, Select};
use crate::ledger::memory::{fetch, untrue};
use crate::ledger::{newest, told_keys};
use crate::render::{Screen, Tone, moment, plain};

/// Show one entry
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its number
    seq: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Find entries, the oldest first
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    #[command(flatten)]
    select: Select,
    /// Only those after this one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let after = self
            .seq
            .checked_sub(1)
            .ok_or_else(|| Fault::Usage("entries are numbered from 1".to_owned()))?;
        let entry = if is_operator(&mut client)? {
            let page: Page = client.get(&format!("/v1/entries?after={after}&limit=1"))?;
            let size = page.size;
            page.entries.into_iter().next().filter(|_| after < size)
        } else {
            let mut only = None;
            leaves(&mut client, after..self.seq, |entry| {
                only = Some(entry);
                Ok(())
            })?;
            only
        };
        let entry = entry.with_context(|| format!("there is no entry {} yet", self.seq))?;
        if self.json {
            screen.json(&Line::Entry(entry))?;
        } else {
            show(&entry, screen)?;
        }
        Ok(Exit::Done)
    }
}

fn show(entry: &Entry, screen: &Screen) -> Result<()> {
    let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
    screen.toned(Tone::Strong, &format!("entry {}, {}", leaf.seq, leaf.kind))?;
    let at = moment::both(leaf.at, clock::now(), &TimeZone::system());
    screen.line(&format!("recorded {at}"))?;
    screen.line(&format!("hash     {}", wire::log::leaf_hash(entry.leaf.as_bytes())))?;
    let Some(body) = &entry.body else {
        return screen.toned(Tone::Faint, "what it says is erased, or for operators alone");
    };
    let said: serde_json::Value =
        serde_json::from_str(&body.text).context("the entry's body is no JSON")?;
    let said = serde_json::to_string_pretty(&said).context("cannot write JSON")?;
    said.lines().try_for_each(|line| screen.line(&plain(line)))
}

impl Search {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let mut client = Client::of(&Home::find()?)?;
        let Self { select, json, after } = &self;
        if !is_operator(&mut client)? {
            if select.text.is_some() {
                let sentence =
                    "what entries say is for operators; search by --kind, --since, --before";
                return Err(Fault::Usage(sentence.to_owned()).into());
            }
            leaves(&mut client, *after..u64::MAX, |entry| {
                let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
                if select.fits(&leaf, &entry) { entry::show(&entry, *json, screen) } else { Ok(()) }
            })?;
            return Ok(Exit::Done);
        }
        let (mut after, query) = (*after, select.query());
        loop {
            let page: Page = client.get(&format!("/v1/entries?after={after}{query}"))?;
            page.entries.iter().try_for_each(|entry| entry::show(entry, *json, screen))?;
            if page.reached >= page.size || page.reached <= after {
                return Ok(Exit::Done);
            }
            after = page.reached;
        }
    }
}

/// Whether the caller may read what entries say.
pub(super) fn is_operator(client: &mut Client) -> Result<bool> {
    let whoami: Whoami = client.get("/v1/whoami")?;
    Ok(whoami.operator)
}

/// The entries of these places without their bodies, from the public tiles, each proved.
fn leaves(
    client: &mut Client,
    places: std::ops::Range<u64>,
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let policy = wire::log::Policy { logs: told_keys(client)?, ..Default::default() };
    let seen = newest(client, &policy)?;
    let mut walk = Walk::new(seen.head(), places);
    for tile in walk.order() {
        let bytes = fetch(client, tile)?;
        for leaf in walk.take(tile, &bytes).map_err(|fault| untrue(&fault))? {
            each(bodiless(&leaf)?)?;
        }
    }
    walk.finish().map_err(|fault| untrue(&fault))?;
    Ok(())
}

/// An entry of which only the leaf is known.
pub(super) fn bodiless(leaf: &Leaf) -> Result<Entry> {
    let text = String::from_utf8(leaf.to_bytes()?).context("a leaf is JSON")?;
    Ok(Entry::new(text, None))
}
