//! A mirror of the log in a folder, as `tlog-tiles` lays it out: resumed from what is there, and nothing in it believed that
//! the checkpoint does not prove.

use std::path::Path;

use anyhow::{Context as _, Result};
use wire::ledger::{TileFault, Walk, Walked};
use wire::log::tile::{TileKind, TileName};
use wire::log::{Attested, Head, Policy};
use wire::record::Quarrel;

use super::memory::fetch;
use super::{Contradiction, believe, grew, newest};
use crate::client::Client;
use crate::exit::Fault;
use crate::file;
use crate::render::Screen;

/// What a mirror came to.
#[derive(Debug)]
pub(crate) struct Mirrored {
    /// The tree that is there now.
    pub(crate) head: Head,
    /// What is in it.
    pub(crate) walked: Walked,
    /// How many tiles came from the authority.
    pub(crate) fetched: u64,
}

/// Brings the mirror in `dir` up to the authority's newest checkpoint.
pub(crate) fn mirror(
    dir: &Path,
    (client, policy): (&mut Client, &Policy),
    screen: &Screen,
) -> Result<Mirrored> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(CHECKPOINT);
    let shown = path.display();
    let before = file::read(&path).with_context(|| format!("cannot read {shown}"))?;
    let known = Policy { logs: policy.logs.clone(), ..Policy::default() };
    let before = before.map(|note| believe(&note, &known, &shown.to_string())).transpose()?;
    let now = newest(client, policy)?;
    let head = now.head();
    let mut walk = Walk::new(head, 0..head.size);
    if let Some(before) = &before {
        grew(before, &now)?;
        walk = walk.continuing(before.head());
    }
    let mut fetched: u64 = 0;
    for tile in walk.order() {
        fetched = fetched.saturating_add(u64::from(bring(dir, tile, (client, &mut walk))?));
        if tile.kind == TileKind::Entries && tile.number.is_multiple_of(SAID_EVERY) {
            screen.progress(&format!("tile {} of {}", tile.number, head.size >> 8));
        }
    }
    screen.progress("");
    let walked = walk.finish().map_err(|fault| contradicted(fault, before.as_ref(), &now))?;
    file::write(&path, now.note().to_string().as_bytes(), file::PUBLIC)
        .with_context(|| format!("cannot write {shown}"))?;
    Ok(Mirrored { head, walked, fetched })
}

/// Takes a tile from the folder, or else from the authority; says whether it came from there.
fn bring(dir: &Path, tile: TileName, (client, walk): (&mut Client, &mut Walk)) -> Result<bool> {
    let path = dir.join(tile.path());
    let shown = path.display();
    if tile.is_full() && path.exists() {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {shown}"))?;
        let taken = walk.take(tile, &bytes);
        taken.map_err(|fault| {
            Fault::Untrue(format!(
                "{shown} is not what the ledger holds, so it was changed here: {fault}"
            ))
        })?;
        return Ok(false);
    }
    let bytes = fetch(client, tile)?;
    walk.take(tile, &bytes).map_err(|fault| super::memory::untrue(&fault))?;
    let folder = path.parent().context("a tile has a folder")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| file::write(&path, &bytes, file::PUBLIC))
        .with_context(|| format!("cannot write {shown}"))?;
    if tile.is_full() {
        remove_beginnings(&path)?;
    }
    Ok(true)
}

/// Removes what was kept of a tile before it was full.
fn remove_beginnings(path: &Path) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".p");
    match std::fs::remove_dir_all(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", Path::new(&name).display()))
        }
        _ => Ok(()),
    }
}

fn contradicted(fault: TileFault, before: Option<&Attested>, now: &Attested) -> Fault {
    match (fault, before) {
        (TileFault::Discontinuity { .. }, Some(before)) => {
            Contradiction::fault(Quarrel::Discontinuity, before.note(), now.note())
        }
        (fault, _) => super::memory::untrue(&fault),
    }
}

/// The file with the newest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// After how many tiles progress is told.
const SAID_EVERY: u64 = 16;
