//! What this person's machine last saw of the ledger, so that it is a witness: whatever comes next must continue it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use wire::ledger::{After, Edge, TileFault, Walk};
use wire::log::tile::TileName;
use wire::log::{Attested, Hash, LogKey, Note, Policy};
use wire::record::Quarrel;

use super::{Believed, Contradiction};
use crate::client::Client;
use crate::exit::Fault;
use crate::file;

/// As it is kept.
///
/// Who can change this: the person. Gains: a fork or a rollback that this machine would have noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// The ledger's keys that are believed.
    keys: Vec<LogKey>,
    /// The newest checkpoint.
    checkpoint: Note,
    /// The hashes of the whole subtrees that its tree is the sum of.
    edge: Vec<Hash>,
}

/// The newest tree that was seen, and where it is kept.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    policy: Policy,
    seen: Attested,
    edge: Edge,
}

impl Memory {
    /// What was kept at `path`; else what the authority shows now, which nothing contradicts yet. Says whether it was kept.
    pub(crate) fn open(
        path: &Path,
        (believed, client): (&Believed, &mut Client),
    ) -> Result<(Self, bool)> {
        let shown = path.display();
        let text = file::read(path).with_context(|| format!("cannot read {shown}"))?;
        let Some(text) = text else {
            let policy = believed.online(client)?;
            let seen = super::newest(client, &policy)?;
            let walk = walked(client, Walk::new(seen.head(), 0..0))?;
            let edge = walk.edge().context("the authority's tiles do not give an edge")?;
            let memory = Self { path: path.into(), policy, seen, edge };
            memory.keep()?;
            return Ok((memory, false));
        };
        let odd = |why: String| {
            Fault::Config(format!(
                "{shown} cannot be understood: {why}; restore it, or remove it to begin anew from what the authority says"
            ))
        };
        let kept: Kept = serde_json::from_str(&text).map_err(|error| odd(error.to_string()))?;
        if kept.version != wire::VERSION {
            return Err(odd(format!("it is of version {}", kept.version)).into());
        }
        let named = believed.named()?;
        let logs = if named.logs.is_empty() { kept.keys } else { named.logs };
        // What was seen before may be older than the witnesses that are asked for now.
        let before = Policy { logs: logs.clone(), ..Policy::default() };
        let seen = before.attest(kept.checkpoint).map_err(|error| odd(error.to_string()))?;
        let edge = Edge::new(seen.head().size, kept.edge).filter(|edge| edge.head() == seen.head());
        let edge = edge.ok_or_else(|| odd("its edge is not that of its checkpoint".into()))?;
        Ok((Self { path: path.into(), policy: Policy { logs, ..named }, seen, edge }, true))
    }

    /// Whose word is taken.
    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The newest tree that was seen.
    pub(crate) const fn seen(&self) -> &Attested {
        &self.seen
    }

    /// Where it ends: what the entries that follow are verified after.
    pub(crate) fn after(&self) -> After {
        After { seq: self.edge.size(), edge: self.edge.peaks().to_vec() }
    }

    /// Takes a larger tree that was shown to continue the one before, and keeps it.
    pub(crate) fn advance(
        &mut self,
        (seen, edge): (Attested, Edge),
        client: &mut Client,
    ) -> Result<()> {
        (self.seen, self.edge) = (seen, edge);
        self.follow_keys(client)?;
        self.keep()
    }

    /// Goes on to a larger tree by its tiles alone, whatever its entries say.
    pub(crate) fn leap(&mut self, seen: Attested, client: &mut Client) -> Result<()> {
        let walk = Walk::new(seen.head(), 0..0).continuing(self.seen.head());
        let walk = walked(client, walk)?;
        let edge = walk.edge().context("the authority's tiles do not give an edge")?;
        walk.finish().map_err(|fault| self.contradicted(fault, &seen))?;
        self.advance((seen, edge), client)
    }

    /// What a fault of the tiles under this tree means.
    pub(crate) fn contradicted(&self, fault: TileFault, offered: &Attested) -> Fault {
        match fault {
            TileFault::Discontinuity { .. } => {
                Contradiction::fault(Quarrel::Discontinuity, self.seen.note(), offered.note())
            }
            other => untrue(&other),
        }
    }

    /// While the log goes over from one key to the next, both sign: the next is believed because one that is believed
    /// signed the same checkpoint.
    fn follow_keys(&mut self, client: &mut Client) -> Result<()> {
        if self.seen.note().signatures().len() == self.policy.logs.len() {
            return Ok(());
        }
        let signed = |key: &LogKey| {
            let policy = Policy { logs: vec![key.clone()], ..Policy::default() };
            policy.attest(self.seen.note().clone()).is_ok()
        };
        let told = super::told_keys(client)?;
        let next: Vec<LogKey> = told.into_iter().filter(|key| signed(key)).collect();
        if !next.is_empty() {
            self.policy.logs = next;
        }
        Ok(())
    }

    fn keep(&self) -> Result<()> {
        let kept = Kept {
            version: wire::VERSION,
            keys: self.policy.logs.clone(),
            checkpoint: self.seen.note().clone(),
            edge: self.edge.peaks().to_vec(),
        };
        let text = serde_json::to_vec_pretty(&kept).context("cannot write JSON")?;
        let shown = self.path.display();
        file::write(&self.path, &text, file::SECRET)
            .with_context(|| format!("cannot write {shown}"))
    }
}

/// Brings the tiles of a walk from the authority.
pub(crate) fn walked(client: &mut Client, mut walk: Walk) -> Result<Walk> {
    for tile in walk.order() {
        let bytes = fetch(client, tile)?;
        walk.take(tile, &bytes).map_err(|fault| untrue(&fault))?;
    }
    Ok(walk)
}

/// A tile from the authority.
pub(crate) fn fetch(client: &mut Client, tile: TileName) -> Result<bytes::Bytes> {
    client.fetch(&format!("/{}", tile.path()))
}

/// The authority's tiles do not give what it signed.
pub(crate) fn untrue(fault: &TileFault) -> Fault {
    Fault::Untrue(format!("what the authority shows is not what it signed: {fault}"))
}
