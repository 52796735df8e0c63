//! `ask`: how long a person waits at the command line for each step to a certificate: login, request, somebody else's approval, certificate;
//! and for all of them together, with nobody thinking in between.
//!
//! Each step is one start of `curfew`, with its TLS connection, the authority's decision, and its entry on the disk. The policy that comes
//! with the program is in force, and a quorum of one person; a risk is reckoned for each request.

use anyhow::{Result, ensure};
use tests::{Person, Site};

use crate::{bench::Verdict, clock::Stopwatch, report::Row, sample::Sample};

/// Rounds.
pub(crate) const COUNT: usize = 200;

/// One round, in milliseconds, step by step.
type Round = [f64; STEPS.len()];

/// Measures every step.
pub(crate) fn measure(count: usize) -> Result<Verdict> {
    let site = Site::open()?;
    site.set_roles(ROLES)?;
    let _host = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let key = ana.client.make_key("certified", "ed25519")?.display().to_string();
    // The first of everything reads what the others find in memory.
    round((&ana, &bob), &key)?;
    let mut rounds = Vec::with_capacity(count);
    for _ in 0..count {
        rounds.push(round((&ana, &bob), &key)?);
    }
    Ok(Verdict { rows: rows(&rounds), broken: Vec::new() })
}

fn round((ana, bob): (&Person, &Person), key: &str) -> Result<Round> {
    let (_, login) = timed(ana, &["login"])?;
    let ask = ["request", "dba", "--host", "db1", "--reason", "measured", "--json"];
    let (said, request) = timed(ana, &ask)?;
    let made: serde_json::Value = serde_json::from_str(&said)?;
    let number = made.pointer("/view/request").and_then(serde_json::Value::as_u64);
    ensure!(number.is_some(), "the request has no number: {said}");
    let id = format!("r{}", number.unwrap_or_default());
    let (_, approve) = timed(bob, &["approve", &id, "--yes"])?;
    let (_, certificate) = timed(ana, &["certificate", "deploy@db1", "--key", key])?;
    // Given back, so that the next round asks anew.
    ana.curfew(["done"])?.done()?;
    let whole = login + request + approve + certificate;
    Ok([login, request, approve, certificate, whole])
}

/// A command that must work: what it said, and how long it took, in milliseconds.
fn timed(person: &Person, arguments: &[&str]) -> Result<(String, f64)> {
    let stopwatch = Stopwatch::start();
    let output = person.curfew(arguments)?;
    let passed = stopwatch.passed();
    Ok((output.ok()?.stdout, passed.as_secs_f64() * 1_000.0))
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let row = |(place, name): (usize, &&str)| {
        let sample = Sample::new(rounds.iter().filter_map(|round| round.get(place).copied()));
        Row::new("ask", *name)
            .counted("count", sample.count())
            .measured("p50_ms", sample.percentile(50))
            .measured("p99_ms", sample.percentile(99))
            .measured("max_ms", sample.max())
    };
    STEPS.iter().enumerate().map(row).collect()
}

/// What is measured, in the order of a round.
const STEPS: [&str; 5] = ["login", "request", "approve", "certificate", "all four"];
const ROLES: &str = r#"[role.dba]
members = ["ana@example.com"]
logins = ["deploy"]
hosts = ["env=prod"]
default_duration = "30m"
max_duration = "1h"
requires = ["colleague"]

[quorum.colleague]
seats = [{ people = ["bob@example.com"] }]
"#;
