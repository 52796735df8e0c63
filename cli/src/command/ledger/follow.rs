//! `curfew ledger follow`: entries as they come, each checkpoint held against the one before.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use wire::ledger::{Entry, Page, Verifier, Walk};
use wire::log::{Attested, Leaf, Note};
use wire::problem::Code;
use wire::record::Quarrel;

use super::search::{bodiless, is_operator};
use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::home::Home;
use crate::ledger::entry::{self, Select};
use crate::ledger::memory::{Memory, fetch, untrue};
use crate::ledger::{Believed, Contradiction, grew, newest};
use crate::render::{Screen, count};

/// Show entries as they come, and hold every checkpoint against the one before
///
/// What was seen last is kept, so that this machine is a witness: a ledger that was forked or went back ends the command
/// with both checkpoints and the exit code 76. The first time it begins with what comes next; later where it ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    select: Select,
    /// Begin with what comes next, and only verify what came since the last time
    #[arg(long)]
    from_now: bool,
    /// Verify once up to the newest checkpoint, and end
    #[arg(long)]
    once: bool,
    /// Where to keep what was seen (default: ledger.json among curfew's files)
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    believed: Believed,
}

/// What is printed of a contradiction, for programs.
#[derive(Serialize)]
struct Contradicted<'a> {
    quarrel: Quarrel,
    known: &'a Note,
    offered: &'a Note,
}

impl Follow {
    pub(crate) fn run(self, screen: &Screen) -> Result<Exit> {
        let followed = self.follow(screen);
        if let Err(error) = &followed
            && self.json
            && let Some(Fault::Contradicted(found)) = error.downcast_ref()
        {
            let Contradiction(dispute) = &**found;
            let (quarrel, known, offered) = (dispute.quarrel, &dispute.known, &dispute.offered);
            let told = Contradicted { quarrel, known, offered };
            screen.json_line(&serde_json::json!({ "contradiction": told }))?;
        }
        followed
    }

    fn follow(&self, screen: &Screen) -> Result<Exit> {
        let home = Home::find()?;
        let mut client = Client::of(&home)?;
        let path = self.state.clone().unwrap_or_else(|| home.ledger_path());
        let is_operator = is_operator(&mut client)?;
        let (mut memory, was_kept) = Memory::open(&path, (&self.believed, &mut client))?;
        let (size, root) = (memory.seen().head().size, memory.seen().head().root);
        let from = if was_kept { "going on from" } else { "beginning at" };
        screen.note(&format!("{from} {}, root {root}", count(size, "entry")));
        let mut is_leap = self.from_now;
        let mut is_lost = false;
        loop {
            match self.round((&mut client, &mut memory), (is_operator, is_leap), screen) {
                Ok(()) => {
                    is_leap = false;
                    if is_lost {
                        screen.note("the authority is back");
                    }
                    is_lost = false;
                }
                Err(error) if !self.once && passes(&error) => {
                    if !is_lost {
                        screen.note(&format!("{error:#}; trying again until it is back"));
                    }
                    is_lost = true;
                    client.pause(AGAIN);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if self.once {
                return Ok(Exit::Done);
            }
            wait((&mut client, is_operator), memory.seen().head().size)?;
        }
    }

    /// Goes on to the newest checkpoint, if there is a larger one.
    fn round(
        &self,
        (client, memory): (&mut Client, &mut Memory),
        (is_operator, is_leap): (bool, bool),
        screen: &Screen,
    ) -> Result<()> {
        let now = newest(client, memory.policy())?;
        if !grew(memory.seen(), &now)? {
            return Ok(());
        }
        let more = now.head().size.saturating_sub(memory.seen().head().size);
        if is_leap || more > MOST_SHOWN {
            screen.note(&format!(
                "{} came meanwhile; `curfew ledger search` shows them",
                count(more, "entry")
            ));
            return memory.leap(now, client);
        }
        let entries =
            if is_operator { read(client, (memory, &now))? } else { walk(client, (memory, &now))? };
        let edge = verified(&entries, (memory, &now))?;
        for entry in &entries {
            let leaf = Leaf::from_bytes(entry.leaf.as_bytes())?;
            if self.select.fits(&leaf, entry) {
                entry::show(entry, self.json, screen)?;
            }
        }
        memory.advance((now, edge), client)
    }
}

/// Waits for a larger tree. What goes wrong here is met again by the next round.
fn wait((client, is_operator): (&mut Client, bool), size: u64) -> Result<()> {
    if !is_operator {
        client.pause(POLL);
        return Ok(());
    }
    let path = format!("/v1/entries?after={size}&limit=0&wait_millis={WAIT_MILLIS}");
    match client.get_slow::<Page>(&path, Duration::from_millis(WAIT_MILLIS)) {
        Ok(_) => Ok(()),
        // The next round says it.
        Err(error) if passes(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The entries with what they say, up to this checkpoint.
fn read(client: &mut Client, (memory, now): (&Memory, &Attested)) -> Result<Vec<Entry>> {
    let (mut reached, to) = (memory.seen().head().size, now.head().size);
    let mut entries = Vec::new();
    while reached < to {
        let limit = to.saturating_sub(reached).min(1000);
        let page: Page = client.get(&format!("/v1/entries?after={reached}&limit={limit}"))?;
        if page.reached <= reached {
            let sentence =
                format!("the authority signed a tree of {to} entries and shows {reached}");
            return Err(Fault::Untrue(sentence).into());
        }
        reached = page.reached;
        entries.extend(page.entries);
    }
    Ok(entries)
}

/// The entries without what they say, from the tiles.
fn walk(client: &mut Client, (memory, now): (&Memory, &Attested)) -> Result<Vec<Entry>> {
    let old = memory.seen().head();
    let mut walk = Walk::new(now.head(), old.size..now.head().size).continuing(old);
    let mut entries = Vec::new();
    for tile in walk.order() {
        let bytes = fetch(client, tile)?;
        for leaf in walk.take(tile, &bytes).map_err(|fault| untrue(&fault))? {
            entries.push(bodiless(&leaf)?);
        }
    }
    walk.finish().map_err(|fault| memory.contradicted(fault, now))?;
    Ok(entries)
}

/// That these entries, after what was seen, make up exactly the tree of this checkpoint.
fn verified(entries: &[Entry], (memory, now): (&Memory, &Attested)) -> Result<wire::ledger::Edge> {
    let untrue = |fault: wire::ledger::Fault| {
        Fault::Untrue(format!("what the authority shows is not what it signed: {fault}"))
    };
    let mut verifier = Verifier::after(memory.policy(), memory.after()).map_err(untrue)?;
    for entry in entries {
        if let Some(fault) = verifier.entry(entry).into_iter().next() {
            return Err(untrue(fault).into());
        }
    }
    if verifier.head() != now.head() {
        // Every entry is well formed, and together with what was seen before they are another tree.
        let quarrel = Quarrel::Discontinuity;
        return Err(Contradiction::fault(quarrel, memory.seen().note(), now.note()).into());
    }
    Ok(verifier.edge().clone())
}

/// Whether waiting helps: nobody answers, or the authority is busy.
fn passes(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Fault>() {
        Some(Fault::Unreachable { .. }) => true,
        Some(Fault::Refused(problem)) => problem.code == Code::Busy,
        _ => false,
    }
}

/// More entries than these at once are verified by their tiles, and not shown.
const MOST_SHOWN: u64 = 100_000;
const WAIT_MILLIS: u64 = 25_000;
/// How often a caller who cannot wait at the authority looks.
const POLL: Duration = Duration::from_secs(2);
/// How long to wait for an authority that does not answer.
const AGAIN: Duration = Duration::from_secs(1);
