//! `issue`: certificates a second, from the request's bytes to the answer's, over TLS.
//!
//! Each is decided by fifteen roles, recorded in the ledger, durable, proved and signed before it is answered. The
//! authority and the load share the machine; what either took of it is told, and what others did. One answer in fifty is
//! checked as a host checks it: signature, window, principal, and the ledger's proof; afterwards the whole ledger is.
//! Beside it, in the same run, what bounds it: durable commits, and signatures.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::Postgres;
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

/// What keeps the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file, as by default.
    Sqlite,
    /// A server beside the authority, as Debian sets it up: every commit is on the disk.
    Postgres,
}

/// Measures each number of connections.
pub(crate) fn measure(count: usize, store: Store) -> Result<Verdict> {
    let place = std::env::temp_dir();
    let server = match store {
        Store::Sqlite => None,
        Store::Postgres => Some(Postgres::start(&place)?),
    };
    let settings = server.as_ref().map_or_else(String::new, Postgres::setting);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare((&place, &settings), count))
}

async fn compare((place, settings): (&Path, &str), count: usize) -> Result<Verdict> {
    let mut verdict = Verdict { rows: vec![limit::row(place)?], broken: Vec::new() };
    let mut desk = Desk::open((place, settings), count).await?;
    let mut newest = 0;
    for connections in [1, 16, 64, 256] {
        let count = if connections == 1 { count.div_ceil(10) } else { count };
        let done = desk.ask(connections, count).await?;
        let last = check(&done, &desk.site.believed);
        newest = last.with_context(|| format!("{connections} connections"))?;
        verdict.rows.push(row(connections, &done));
    }
    // Killed, not stopped: what was answered has to be there all the same.
    desk.site.restart()?;
    let said = desk.site.run(&["ledger", "show", &newest.to_string()]);
    said.with_context(|| format!("entry {newest} was answered, and is lost"))?;
    desk.site.run(&["ledger", "verify"])?;
    Ok(verdict)
}

/// An authority with people and hosts, and what is asked of it.
pub(crate) struct Desk {
    /// The authority.
    pub(crate) site: Site,
    load: Load,
    /// The newest serial that was answered.
    newest: u64,
}

impl Desk {
    /// Opens one in a folder under `place`, with these lines in its settings; it asks for so many different keys.
    pub(crate) async fn open((place, settings): (&Path, &str), keys: usize) -> Result<Self> {
        let site = Site::open(place, settings, HOSTS).await?;
        let mut tokens = Vec::new();
        for number in 1..=PEOPLE {
            tokens.push(site.person(number).await?);
        }
        let load = Load::new(tokens, keys, HOSTS)?;
        let mut desk = Self { site, load, newest: 0 };
        // Most grants begin here, so that each case finds the same.
        desk.ask(PEOPLE, PEOPLE.saturating_mul(HOSTS).saturating_mul(2)).await?;
        Ok(desk)
    }

    /// Asks for `count` certificates over so many connections.
    pub(crate) async fn ask(&mut self, connections: usize, count: usize) -> Result<Done> {
        let done = self.load.run(&self.site, connections, count).await?;
        let newest = done.serials.last().copied().unwrap_or_default();
        ensure!(count == 0 || newest > self.newest, "a serial was given that was given before");
        self.newest = newest.max(self.newest);
        Ok(done)
    }
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

/// Holds every serial, and each answer that was kept, against what a host demands; the newest entry among those.
fn check(done: &Done, believed: &Believed) -> Result<u64> {
    ensure!(done.serials.len() == done.latency.count(), "a serial was given twice");
    let entries = done.sample.iter().map(|answer| check_one(answer, believed));
    let entries: Vec<u64> = entries.collect::<Result<_>>()?;
    entries.into_iter().max().context("no answer was kept")
}

fn check_one(answer: &[u8], believed: &Believed) -> Result<u64> {
    let reply: CertificateReply = serde_json::from_slice(answer)?;
    let certificate = Certificate::from_openssh(&reply.certificate)?;
    let login = LOGIN.parse()?;
    let now = Timestamp::from_secs(reply.valid_before.secs().saturating_sub(1));
    wire::certificate::verify(&certificate, &believed.authorities, &login, &reply.host, now)?;
    ensure!(certificate.serial() == reply.serial.number(), "the answer names another serial");
    let evidence = certificate.extensions().text(EXTENSION)?.context("it carries no proof")?;
    let evidence: Evidence = std::str::from_utf8(evidence)?.parse()?;
    let bare = certificate.to_be_signed_without(EXTENSION).context("it carries two proofs")?;
    let entry = evidence.leaf().seq;
    evidence.verify(Hash::of(&bare), &believed.log)?;
    Ok(entry)
}

/// Hosts that are asked for in turn.
const HOSTS: usize = 8;
/// Microseconds in a second.
pub(crate) const MICROS: f64 = 1_000_000.0;
