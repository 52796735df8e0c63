//! `ask`: how long a person waits at the command line for each step to a certificate: login, request, somebody else's approval, certificate;
//! and for all of them together, with nobody thinking in between.
//!
//! Each step is one start of `curfew`, with its TLS connection, the authority's decision, and its entry on the disk. The policy that comes
//! with the program is in force, and a quorum of one person; a risk is reckoned for each request.

use anyhow::{Result, ensure};
use tests::{Person, Site, eventually_some};

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
    let mut rows = rows(&rounds);
    let heard: Vec<f64> = (0..count).map(|_| heard((&ana, &bob))).collect::<Result<_>>()?;
    rows.push(row("heard by who waits", &Sample::new(heard)));
    Ok(Verdict { rows, broken: Vec::new() })
}

/// How long after an approval is given, its own command over, `curfew request --wait` of somebody else is over too, in milliseconds.
fn heard((ana, bob): (&Person, &Person)) -> Result<f64> {
    let stopwatch = Stopwatch::start();
    let passed = |stopwatch: &Stopwatch| stopwatch.passed().as_secs_f64() * 1_000.0;
    let waited = std::thread::scope(|scope| {
        let waits = scope.spawn(|| -> Result<f64> {
            let ask = ["request", "dba", "--host", "db1", "--reason", "measured", "--wait"];
            ana.curfew(ask)?.done()?;
            Ok(passed(&stopwatch))
        });
        // It waits once it is in the inbox, but for the moment in which it asks to be told.
        let id = eventually_some("a request waits", || {
            let said = bob.curfew(["requests", "--json"]).ok()?.ok().ok()?.stdout;
            let inbox: serde_json::Value = serde_json::from_str(&said).ok()?;
            inbox.pointer("/requests/0/request").and_then(serde_json::Value::as_u64)
        })?;
        bob.curfew(["approve", &format!("r{id}"), "--yes"])?.done()?;
        let approved = passed(&stopwatch);
        let ended = waits.join().map_err(|_died| anyhow::anyhow!("whoever waits has died"))??;
        ana.curfew(["withdraw", &format!("r{id}")])?.done()?;
        anyhow::Ok((ended - approved).max(0.0))
    })?;
    Ok(waited)
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
    let of = |(place, name): (usize, &&'static str)| {
        row(name, &Sample::new(rounds.iter().filter_map(|round| round.get(place).copied())))
    };
    STEPS.iter().enumerate().map(of).collect()
}

fn row(name: &'static str, sample: &Sample) -> Row {
    Row::new("ask", name)
        .counted("count", sample.count())
        .measured("p50_ms", sample.percentile(50))
        .measured("p99_ms", sample.percentile(99))
        .measured("max_ms", sample.max())
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
