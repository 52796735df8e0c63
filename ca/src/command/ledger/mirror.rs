//! `curfew-ca ledger export --tiles`: the log in a folder, as `tlog-tiles` lays it out, for whoever serves or keeps a copy.
//!
//! Nothing is written that the checkpoint does not prove, and the checkpoint must continue the one that is there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use wire::ledger::Walk;
use wire::log::tile::TileName;
use wire::log::{Attested, Policy};

use super::super::{say, talk};
use super::verify::own_keys;
use crate::admin::client::Client;
use crate::config::Config;

/// Brings the folder up to the newest checkpoint.
pub(super) fn run(config: &Config, dir: &Path) -> anyhow::Result<()> {
    let policy = Policy { logs: own_keys(config)?, ..Policy::default() };
    talk(config, async |client| bring(client, &policy, dir).await)
}

async fn bring(client: &Client, policy: &Policy, dir: &Path) -> anyhow::Result<()> {
    let place = dir.join(CHECKPOINT);
    let before = match std::fs::read_to_string(&place) {
        Ok(note) => Some(believed(&note, policy, &place.display().to_string())?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", place.display()));
        }
    };
    let note = client.fetch("/checkpoint").await?;
    let now = believed(std::str::from_utf8(&note)?, policy, "the newest checkpoint")?;
    let head = now.head();
    let mut walk = Walk::new(head, 0..head.size);
    if let Some(before) = &before {
        ensure!(
            before.head().size <= head.size,
            "{} is over {} entries, and the ledger has {}: it went back, or is another",
            place.display(),
            before.head().size,
            head.size
        );
        walk = walk.continuing(before.head());
    }
    let mut fetched: u64 = 0;
    for tile in walk.order() {
        fetched = fetched.saturating_add(u64::from(take(client, &mut walk, (dir, tile)).await?));
    }
    walk.finish()
        .with_context(|| format!("the ledger does not continue what is in {}", dir.display()))?;
    // Last: whoever reads the folder meanwhile finds every tile that the checkpoint needs.
    write(&place, &note)?;
    say(&format!(
        "{}: {} entries, {fetched} tiles fetched, all proved by the checkpoint",
        dir.display(),
        head.size
    ))
}

/// Takes a tile from the folder, or else from the authority; says whether it came from there.
async fn take(
    client: &Client,
    walk: &mut Walk,
    (dir, tile): (&Path, TileName),
) -> anyhow::Result<bool> {
    let path = dir.join(tile.path());
    if tile.is_full() && path.exists() {
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        walk.take(tile, &bytes).with_context(|| {
            format!("{} is not what the ledger holds, so it was changed here", path.display())
        })?;
        return Ok(false);
    }
    let bytes = client.fetch(&format!("/{}", tile.path())).await?;
    walk.take(tile, &bytes).context("the authority gave a tile that the checkpoint contradicts")?;
    write(&path, &bytes)?;
    if tile.is_full() {
        // What was kept of it before it was full.
        match std::fs::remove_dir_all(beside(&path, ".p")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(true)
}

fn believed(note: &str, policy: &Policy, what: &str) -> anyhow::Result<Attested> {
    let attested = note.parse().map_err(anyhow::Error::from);
    let attested = attested.and_then(|note| Ok(policy.attest(note)?));
    attested.with_context(|| format!("{what} is not believed"))
}

/// Whole under its name, or not there.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let half = beside(path, ".half");
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    written
        .and_then(|()| std::fs::write(&half, bytes))
        .and_then(|()| std::fs::rename(&half, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The file with the newest checkpoint.
const CHECKPOINT: &str = "checkpoint";
