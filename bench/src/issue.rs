//! `issue`: certificates a second, from the request's bytes to the answer's, over TLS.
//!
//! Each is decided by fifteen roles, recorded in the ledger, durable, proved and signed before it is answered. The
//! authority and the load share the machine; what either took of it is told, and what others did. One answer in fifty is
//! checked as a host checks it: signature, window, principal, and the ledger's proof; afterwards the whole ledger is.
//! Beside it, in the same run, what bounds it: durable commits, and signatures.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use wire::api::CertificateReply;
use wire::certificate::Certificate;
use wire::log::{EXTENSION, Evidence, Hash};
use wire::time::Timestamp;

use crate::{bench::Verdict, report::Row};
use load::{Done, Load};
use site::{Believed, LOGIN, PEOPLE, Site};

mod dial;
mod limit;
mod load;
mod site;

/// Certificates of each case.
pub(crate) const COUNT: usize = 30_000;

/// Measures each number of connections.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(&std::env::temp_dir(), count))
}

async fn compare(place: &Path, count: usize) -> Result<Verdict> {
    let mut verdict = Verdict { rows: vec![limit::row(place)?], broken: Vec::new() };
    let mut site = Site::open(place, "", HOSTS).await?;
    let mut tokens = Vec::new();
    for number in 1..=PEOPLE {
        tokens.push(site.person(number).await?);
    }
    let load = Load::new(tokens, count, HOSTS)?;
    // Every grant begins here, so that each case finds the same.
    load.run(&site, PEOPLE, PEOPLE.saturating_mul(HOSTS)).await?;
    let mut issued = 0;
    for connections in [1, 16, 64, 256] {
        let count = if connections == 1 { count.div_ceil(10) } else { count };
        let done = load.run(&site, connections, count).await?;
        issued += done.serials.len();
        check(&done, &site.believed).with_context(|| format!("{connections} connections"))?;
        verdict.rows.push(row(connections, &done));
    }
    // Killed, not stopped: what was answered has to be there all the same.
    site.restart()?;
    let said = site.run(&["ledger", "verify"])?;
    ensure!(issued > 0, "nothing was issued: {said}");
    Ok(verdict)
}

fn row(connections: usize, done: &Done) -> Row {
    let (cpu, took) = (done.cpu, done.took.as_secs_f64());
    Row::new("issue", format!("{connections} connections"))
        .counted("count", done.latency.count())
        .measured("per_s", done.per_s())
        .measured("p50_ms", done.latency.percentile(50))
        .measured("p99_ms", done.latency.percentile(99))
        .measured("max_ms", done.latency.max())
        .measured("cpu_us", done.per(cpu.measured) * MICROS)
        .measured("load_cpu_us", done.per(cpu.load) * MICROS)
        .measured("cores_by_others", cpu.others() / took)
        .counted("checked", done.sample.len())
}

/// Holds every serial, and each answer that was kept, against what a host demands.
fn check(done: &Done, believed: &Believed) -> Result<()> {
    ensure!(done.serials.len() == done.latency.count(), "a serial was given twice");
    done.sample.iter().try_for_each(|answer| check_one(answer, believed))
}

fn check_one(answer: &[u8], believed: &Believed) -> Result<()> {
    let reply: CertificateReply = serde_json::from_slice(answer)?;
    let certificate = Certificate::from_openssh(&reply.certificate)?;
    let login = LOGIN.parse()?;
    let now = Timestamp::from_secs(reply.valid_before.secs().saturating_sub(1));
    wire::certificate::verify(&certificate, &believed.authorities, &login, &reply.host, now)?;
    ensure!(certificate.serial() == reply.serial.number(), "the answer names another serial");
    let evidence = certificate.extensions().text(EXTENSION)?.context("it carries no proof")?;
    let evidence: Evidence = std::str::from_utf8(evidence)?.parse()?;
    let bare = certificate.to_be_signed_without(EXTENSION).context("it carries two proofs")?;
    evidence.verify(Hash::of(&bare), &believed.log)?;
    Ok(())
}

/// Hosts that are asked for in turn.
const HOSTS: usize = 8;
const MICROS: f64 = 1_000_000.0;
