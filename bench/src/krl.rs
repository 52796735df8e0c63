//! `krl`: how long a revocation list takes to be made and to be read, and how long it is, beside `ssh-keygen`.
//!
//! Two kinds of lists: serials as our ledger gives them, one in ten revoked, and random ones, as other authorities give
//! them. `ssh-keygen -k` makes the first kind only: for a million of the second it takes minutes. What it makes it
//! cannot always read, which is said; what we make it has to read, or the benchmark fails.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use wire::identifier::Serial;
use wire::krl::{Issuer, Krl};
use wire::time::Timestamp;

use crate::{bench::Verdict, clock::Stopwatch, report::Row};

/// Serials in the largest list; the others are a tenth and a thousandth of it.
pub(crate) const COUNT: usize = 1_000_000;

/// A list that was made, how long that took, and how much more memory it had taken at its peak.
struct Made {
    bytes: Vec<u8>,
    took_ms: f64,
    peak_mb: f64,
}

/// Measures lists of three lengths.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let dir = tempfile::tempdir().context("no folder")?;
    let probe = dir.path().join("probe");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&probe)
        .status()
        .context("ssh-keygen is not there")?;
    ensure!(made.success(), "ssh-keygen made no key");
    let mut verdict = Verdict { rows: Vec::new(), broken: Vec::new() };
    for size in [count / 1000, count / 10, count].into_iter().filter(|size| *size > 0) {
        compare(&mut verdict, dir.path(), size)?;
    }
    for size in [count / 1000, count / 10, count].into_iter().filter(|size| *size > 0) {
        alone(&mut verdict, dir.path(), size)?;
    }
    Ok(verdict)
}

/// One in ten serials: both make a list of them, in one run.
fn compare(verdict: &mut Verdict, dir: &Path, size: usize) -> Result<()> {
    let case = format!("{size} of ten times as many");
    let serials = tenth(size);
    let ours = build(&serials)?;
    let theirs = keygen(dir, &serials)?;
    let (load_ms, openssh_load_ms, is_read) = loads(dir, &ours)?;
    if !is_read {
        verdict.broken.push(format!("OpenSSH cannot read {case}"));
    }
    let (_, _, is_theirs_read) = loads(dir, &theirs)?;
    verdict.rows.push(
        Row::new("krl", case)
            .measured("build_ms", ours.took_ms)
            .measured("load_ms", load_ms)
            .measured("build_peak_mb", ours.peak_mb)
            .counted("bytes", ours.bytes.len())
            .measured("openssh_load_ms", openssh_load_ms)
            .measured("keygen_build_ms", theirs.took_ms)
            .counted("keygen_bytes", theirs.bytes.len())
            .counted("keygen_is_loadable", usize::from(is_theirs_read))
            .measured("build_ratio_to_keygen", theirs.took_ms / ours.took_ms),
    );
    Ok(())
}

/// Random serials: ours only.
fn alone(verdict: &mut Verdict, dir: &Path, size: usize) -> Result<()> {
    let case = format!("{size} at random");
    let ours = build(&random().take(size).collect::<Vec<u64>>())?;
    let (load_ms, openssh_load_ms, is_read) = loads(dir, &ours)?;
    if !is_read {
        verdict.broken.push(format!("OpenSSH cannot read {case}"));
    }
    verdict.rows.push(
        Row::new("krl", case)
            .measured("build_ms", ours.took_ms)
            .measured("load_ms", load_ms)
            .measured("build_peak_mb", ours.peak_mb)
            .counted("bytes", ours.bytes.len())
            .measured("openssh_load_ms", openssh_load_ms),
    );
    Ok(())
}

/// Ours: from numbers to bytes that were read back and compared.
fn build(serials: &[u64]) -> Result<Made> {
    // The kernel counts the peak anew from here (proc(5), clear_refs).
    std::fs::write("/proc/self/clear_refs", "5").context("the peak cannot be reset")?;
    let before = peak_mb()?;
    let stopwatch = Stopwatch::start();
    let mut krl = Krl::new(1, Timestamp::from_secs(1));
    for serial in serials {
        krl.revoke_serial(&Issuer::ANY, Serial::try_new(*serial)?);
    }
    let bytes = krl.encode()?;
    Ok(Made { bytes, took_ms: millis(&stopwatch), peak_mb: (peak_mb()? - before).max(0.0) })
}

/// The most memory that this process had resident since the peak was reset.
fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next());
    let kilobytes: f64 = kilobytes.context("no VmHWM in /proc/self/status")?.parse()?;
    Ok(kilobytes / 1024.0)
}

/// Theirs: from a file of numbers to a file.
fn keygen(dir: &Path, serials: &[u64]) -> Result<Made> {
    let (wanted, list) = (dir.join("wanted"), dir.join("theirs"));
    let lines: String = serials.iter().map(|serial| format!("serial: {serial}\n")).collect();
    std::fs::write(&wanted, lines)?;
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-k", "-z", "1", "-s", "none", "-f"]).arg(&list).arg(&wanted);
    let stopwatch = Stopwatch::start();
    let output = command.output()?;
    let took_ms = millis(&stopwatch);
    ensure!(output.status.success(), "ssh-keygen -k: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Made { bytes: std::fs::read(&list)?, took_ms, peak_mb: 0.0 })
}

/// How long we and `ssh-keygen -Q` take to read it, and whether the latter can. We too are to refuse what it refuses.
fn loads(dir: &Path, list: &Made) -> Result<(f64, f64, bool)> {
    let stopwatch = Stopwatch::start();
    let ours = Krl::decode(&list.bytes);
    let load_ms = millis(&stopwatch);
    let path = dir.join("asked");
    std::fs::write(&path, &list.bytes)?;
    let stopwatch = Stopwatch::start();
    let asked = Command::new("ssh-keygen")
        .args(["-Q", "-f"])
        .arg(&path)
        .arg(dir.join("probe.pub"))
        .output()?;
    let openssh_load_ms = millis(&stopwatch);
    let is_read = asked.status.success();
    ensure!(is_read == ours.is_ok(), "OpenSSH and we disagree: {asked:?}, {:?}", ours.err());
    Ok((load_ms, openssh_load_ms, is_read))
}

/// `size` serials, one in ten, spread as chance has it.
fn tenth(size: usize) -> Vec<u64> {
    let revoked = (1_u64..).zip(random()).filter(|(_, coin)| coin.is_multiple_of(10));
    revoked.map(|(serial, _)| serial).take(size).collect()
}

/// Numbers that are the same in every run: xorshift64*.
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).max(1)
    })
}

fn millis(stopwatch: &Stopwatch) -> f64 {
    stopwatch.passed().as_secs_f64() * 1000.0
}
