//! Checking a folder of tiles, offline: from its checkpoint down, and that nothing else stands in it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use wire::ledger::{TileFault, Walk, Walked};
use wire::log::tile::{MAX_TILE, TileName};
use wire::log::{Attested, Head, Leaf, Policy};

use super::believe;
use super::mirror::CHECKPOINT;
use crate::render::Screen;

/// A folder of tiles, and the checkpoint that it is held against.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: PathBuf,
    attested: Attested,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The entries that were walked to, when all held.
    pub(crate) walked: Option<Walked>,
    /// The leaf of the only entry, when there was one.
    pub(crate) leaf: Option<Leaf>,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

impl Directory {
    /// Reads the checkpoint, which policy must believe.
    pub(crate) fn open(dir: &Path, policy: &Policy) -> Result<Self> {
        let path = dir.join(CHECKPOINT);
        let shown = path.display();
        let note =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        Ok(Self { dir: dir.into(), attested: believe(&note, policy, &shown.to_string())? })
    }

    /// The checkpoint.
    pub(crate) const fn attested(&self) -> &Attested {
        &self.attested
    }

    /// Walks to the entries of these places, and to each earlier tree that must be continued.
    pub(crate) fn walk(
        &self,
        wanted: Range<u64>,
        seen: &[Attested],
        screen: &Screen,
    ) -> Result<Found> {
        let mut found = Found::default();
        let head = self.attested.head();
        for old in seen.iter().map(Attested::head) {
            self.continues(old, &mut found)?;
        }
        let mut walk = Walk::new(head, wanted);
        let mut done: u64 = 0;
        for tile in walk.order() {
            match self.read(tile)? {
                None => found.faults.push(format!("{} is missing", tile.path())),
                Some(bytes) => match walk.take(tile, &bytes) {
                    Ok(mut leaves) => found.leaf = leaves.pop().or(found.leaf),
                    Err(fault) => found.faults.push(fault.to_string()),
                },
            }
            if found.faults.len() >= MAX_FAULTS {
                found.faults.push("and maybe more: the walk was given up here".to_owned());
                return Ok(found);
            }
            done = done.saturating_add(1);
            if done.is_multiple_of(SAID_EVERY) {
                screen.progress(&format!("{done} tiles"));
            }
        }
        screen.progress("");
        match walk.finish() {
            Ok(walked) => found.walked = Some(walked),
            Err(TileFault::Unfinished) if !found.faults.is_empty() => {}
            Err(fault) => found.faults.push(fault.to_string()),
        }
        Ok(found)
    }

    fn continues(&self, old: Head, found: &mut Found) -> Result<()> {
        let head = self.attested.head();
        if old.size > head.size {
            found.faults.push(format!(
                "somebody has seen a checkpoint over {} entries, and this one is over {}: the ledger was rolled back, or this copy is older",
                old.size, head.size
            ));
            return Ok(());
        }
        let mut walk = Walk::new(head, 0..0).continuing(old);
        for tile in walk.order() {
            let Some(bytes) = self.read(tile)? else {
                found.faults.push(format!("{} is missing", tile.path()));
                return Ok(());
            };
            if let Err(fault) = walk.take(tile, &bytes) {
                found.faults.push(fault.to_string());
                return Ok(());
            }
        }
        found.faults.extend(walk.finish().err().map(|fault| fault.to_string()));
        Ok(())
    }

    /// What stands under `tile/` and is no part of the tree. Beginnings of tiles, which a mirror may have kept, are held
    /// against what the tiles begin with.
    pub(crate) fn strangers(&self) -> Result<Vec<String>> {
        let mut strangers = Vec::new();
        let mut folders = vec![self.dir.join("tile")];
        while let Some(folder) = folders.pop() {
            let shown = folder.display();
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.with_context(|| format!("cannot read {shown}"))?,
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {shown}"))?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                } else {
                    strangers.extend(self.stranger(&entry.path())?);
                }
            }
        }
        strangers.sort();
        Ok(strangers)
    }

    fn stranger(&self, path: &Path) -> Result<Option<String>> {
        let name = path.strip_prefix(self.dir.join("tile")).ok().and_then(Path::to_str);
        let name: Option<TileName> = name.and_then(|name| name.parse().ok());
        let there = name.and_then(|name| Some((name, name.within(self.attested.head().size)?)));
        let Some((name, whole)) = there else {
            return Ok(Some(format!("{} is no part of the tree", path.display())));
        };
        if name == whole {
            return Ok(None);
        }
        let (beginning, whole) = (self.read(name)?, self.read(whole)?);
        let begins = beginning.zip(whole).is_some_and(|(one, other)| other.starts_with(&one));
        Ok((!begins).then(|| format!("{name} is not what the tile begins with")))
    }

    fn read(&self, tile: TileName) -> Result<Option<Vec<u8>>> {
        use std::io::Read as _;
        let path = self.dir.join(tile.path());
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // One octet more than any tile has: a longer file is read as one that does not fit.
        let limit = u64::try_from(MAX_TILE).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(bytes))
    }
}

/// After so many faults a walk is given up.
const MAX_FAULTS: usize = 100;
/// After how many tiles progress is told.
const SAID_EVERY: u64 = 512;

#[cfg(test)]
mod tests;
