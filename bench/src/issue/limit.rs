//! What bounds the rate, whoever issues: how often this disk makes a row durable, and how often this processor signs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rusqlite::Connection;

use crate::{clock::Stopwatch, report::Row};

/// Measures them, for files under `place`, and says which disk that is.
pub(crate) fn row(place: &Path) -> Result<Row> {
    let dir = tempfile::tempdir_in(place)?;
    let (device, kind) = disk(dir.path())?;
    Ok(Row::new("limit", format!("{kind} on {device}"))
        .measured("syncs_per_s", syncs(dir.path())?)
        .measured("sqlite_commits_per_s", commits(dir.path())?)
        .measured("signatures_per_s", signatures()?)
        .measured("verifications_per_s", verifications()?))
}

/// The device and the file system under a folder; memory is no disk.
fn disk(dir: &Path) -> Result<(String, String)> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
            dir.starts_with(at).then_some((at.len(), device, kind))
        })
        .max_by_key(|(length, ..)| *length);
    let (_, device, kind) = found.context("the folder is on no file system")?;
    anyhow::ensure!(
        kind != "tmpfs",
        "{} is in memory, where nothing is durable; name a folder on a disk in TMPDIR",
        dir.display()
    );
    Ok((device.to_owned(), kind.to_owned()))
}

/// 4 KiB appended, and on the disk.
fn syncs(dir: &Path) -> Result<f64> {
    let mut file = File::create(dir.join("appended"))?;
    per_s(SYNCS, || {
        file.write_all(&[7; 4096])?;
        Ok(file.sync_data()?)
    })
}

/// A row of 500 bytes in a transaction of its own, with the settings of the ledger.
fn commits(dir: &Path) -> Result<f64> {
    let connection = Connection::open(dir.join("rows.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection
        .execute_batch("CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB NOT NULL)")?;
    let mut insert = connection.prepare("INSERT INTO rows (body) VALUES (?)")?;
    per_s(SYNCS, || {
        insert.execute([[7_u8; 500]])?;
        Ok(())
    })
}

fn signatures() -> Result<f64> {
    let pair = pair()?;
    per_s(SIGNATURES, || {
        std::hint::black_box(pair.sign(&[7; 1500]));
        Ok(())
    })
}

fn verifications() -> Result<f64> {
    let pair = pair()?;
    let signature = pair.sign(&[7; 1500]);
    let key = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
    per_s(SIGNATURES, || {
        key.verify(&[7; 1500], signature.as_ref()).ok().context("it does not verify")
    })
}

fn pair() -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).ok().context("no key")
}

fn per_s(times: u32, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let stopwatch = Stopwatch::start();
    for _ in 0..times {
        work()?;
    }
    Ok(f64::from(times) / stopwatch.passed().as_secs_f64())
}

const SYNCS: u32 = 2_000;
const SIGNATURES: u32 = 10_000;
