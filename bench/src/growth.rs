//! `growth`: what a certificate costs when the ledger is ten times as long, and ten times as long again.
//!
//! The ledger is filled by real requests, so that every table and index is as it would be. At each length: the rate at 64
//! connections, the authority's processor time for a certificate, the time from a killed authority to one that is ready,
//! and the time in which `curfew-ca ledger verify` reads all of it.

use anyhow::{Result, ensure};

use crate::{
    bench::Verdict,
    clock::Stopwatch,
    issue::{Desk, MICROS},
    report::Row,
};

/// Certificates at the greatest length.
pub(crate) const COUNT: usize = 100_000;

/// Measures at 10,000 certificates, at ten times as many, and so on up to `count`.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(grow(count))
}

async fn grow(count: usize) -> Result<Verdict> {
    let mut verdict = Verdict { rows: Vec::new(), broken: Vec::new() };
    let mut desk = Desk::open((&std::env::temp_dir(), ""), KEYS).await?;
    let mut length = 0;
    let lengths = std::iter::successors(Some(SHORTEST), |length| length.checked_mul(10));
    for due in lengths.take_while(|length| *length <= count) {
        let missing = due.saturating_sub(length);
        length = length.saturating_add(desk.ask(FILLERS, missing).await?.latency.count());
        let done = desk.ask(MEASURED, EACH).await?;
        length = length.saturating_add(done.latency.count());
        let stopwatch = Stopwatch::start();
        desk.site.restart()?;
        let start = stopwatch.passed();
        let stopwatch = Stopwatch::start();
        let said = desk.site.run(&["ledger", "verify"])?;
        let verify = stopwatch.passed();
        ensure!(!said.is_empty(), "verify said nothing");
        verdict.rows.push(
            Row::new("growth", format!("{due} certificates"))
                .counted("ledger_mb", usize::try_from(desk.site.ledger_bytes() / 1_000_000)?)
                .measured("per_s", done.per_s())
                .measured("p99_ms", done.latency.percentile(99))
                .measured("cpu_us", done.per(done.cpu.measured) * MICROS)
                .measured("cores_by_others", done.cpu.others() / done.took.as_secs_f64())
                .measured("start_ms", start.as_secs_f64() * 1000.0)
                .measured("verify_s", verify.as_secs_f64()),
        );
    }
    Ok(verdict)
}

/// The first length.
const SHORTEST: usize = 10_000;
/// Certificates that are measured at each length.
const EACH: usize = 5_000;
/// Connections that are measured.
const MEASURED: usize = 64;
/// Connections that fill the ledger.
const FILLERS: usize = 256;
/// Different keys; then they come again.
const KEYS: usize = 50_000;
