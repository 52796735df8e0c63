//! The authority goes over to other keys, and nobody is refused who should get in; a key that is lost goes at once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;
use tests::{FleetError, Output, Person, Site, eventually};

#[test]
fn no_login_is_refused_while_the_user_key_is_rotated() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let first = signing(&site, "user")?;
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let logins = std::thread::scope(|scope| -> Result<Vec<Output>, FleetError> {
        let knocking = scope.spawn(|| knock(&ana, ["db1", "db2"], (&stop, &rounds)));
        let walked = walk(&site, "user", || two_more(&rounds));
        stop.store(true, Ordering::Relaxed);
        let counted = knocking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        walked.and(counted)
    })?;
    assert!(logins.len() >= 10, "{}", logins.len());
    let refused: Vec<&Output> = logins.iter().filter(|login| !login.succeeded()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_ne!(signing(&site, "user")?, first);
    for host in [&db1, &db2] {
        let believed = host.read_text("/etc/curfew/user_ca.pub")?;
        assert_eq!(believed.lines().count(), 1, "{believed}");
    }
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    Ok(())
}

#[test]
fn a_host_that_is_away_is_named_and_blocks_until_it_is_back() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db7] = site.hosts(["db1", "db7"])?;
    let ana = site.person("ana@example.com")?;
    db7.stop("curfew-agent")?;
    keys(&site, &["rotate", "user"])?.done()?;
    eventually("db1 confirms", || list(&site).is_ok_and(|view| missing(&view) == ["db7"]))?;
    let blocked = keys(&site, &["rotate", "user"])?;
    assert!(!blocked.succeeded() && blocked.stderr.contains("1 host has not confirmed"));
    assert!(blocked.stderr.contains("db7") && !blocked.stderr.contains("db1"), "{blocked:?}");

    keys(&site, &["rotate", "user", "--without", "db7", "--reason", "db7 is in repair"])?.done()?;
    ana.curfew(["ssh", "deploy@db1", "--", "true"])?.done()?;
    db7.start("curfew-agent")?;
    confirmed(&site)?;
    ana.curfew(["ssh", "deploy@db7", "--", "true"])?.done()?;
    keys(&site, &["retire", "user", "--before-certificates-end"])?.done()?;
    confirmed(&site)?;
    drop(db1);
    Ok(())
}

#[test]
fn the_way_back_is_open_from_every_phase() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let first = signing(&site, "user")?;
    let enters = || ana.curfew(["ssh", "deploy@db1", "--", "true"])?.done();
    keys(&site, &["rotate", "user"])?.done()?;
    confirmed(&site)?;
    keys(&site, &["revert", "user"])?.done()?;
    confirmed(&site)?;
    enters()?;
    for _ in 0..2 {
        keys(&site, &["rotate", "user"])?.done()?;
        confirmed(&site)?;
    }
    enters()?;
    let held = ana.certificate("deploy", &db1)?;
    assert_ne!(signing(&site, "user")?, first);
    keys(&site, &["revert", "user"])?.done()?;
    confirmed(&site)?;
    assert_eq!(signing(&site, "user")?, first);
    enters()?;
    ana.offering(&held, "deploy", &db1)?.run(["true"])?.done()?;
    let blocked = keys(&site, &["revert", "user"])?;
    assert!(!blocked.succeeded() && blocked.stderr.contains("valid until"), "{blocked:?}");
    assert_eq!(missing(&list(&site)?), [""; 0]);
    Ok(())
}

#[test]
fn every_purpose_can_be_rotated_and_orders_still_arrive() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    for purpose in ["order", "log", "host"] {
        let before = signing(&site, purpose)?;
        walk(&site, purpose, || Ok(()))?;
        assert_ne!(signing(&site, purpose)?, before, "{purpose}");
        // The former host key was given up early: people get in again when the host has its next certificate.
        eventually("a login under the next keys", || {
            ana.curfew(["ssh", "deploy@db1", "--", "true"]).is_ok_and(|said| said.succeeded())
        })?;
    }
    let mut shell = ana.shell("deploy", &db1)?;
    ops.lock(&["ana@example.com"])?.done()?;
    shell.wait()?;
    Ok(())
}

#[test]
fn what_a_compromised_key_certified_is_over_at_once() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let held = ana.certificate("deploy", &db1)?;
    ana.offering(&held, "deploy", &db1)?.run(["true"])?.done()?;
    let lost = signing(&site, "user")?;
    let said = keys(&site, &["retire", "user", "--compromised", &lost, "--reason", "stolen"])?;
    said.done()?;
    shell.wait()?;
    confirmed(&site)?;
    assert!(!ana.offering(&held, "deploy", &db1)?.run(["true"])?.succeeded());
    ana.curfew(["ssh", "deploy@db1", "--", "true"])?.done()?;
    assert_ne!(signing(&site, "user")?, lost);
    let again = keys(&site, &["retire", "user", "--compromised", &lost])?;
    assert!(!again.succeeded() && again.stderr.contains("already"), "{again:?}");
    Ok(())
}

#[test]
fn a_rotation_goes_on_after_everything_was_killed_in_every_phase() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    for step in [&["rotate", "user"][..], &["rotate", "user"], &["retire", "user", EARLY]] {
        keys(&site, step)?.done()?;
        db1.kill_unit("curfew-agent", "KILL")?;
        site.authority.kill()?;
        site.authority.serve()?;
        site.wait_until_connected("db1")?;
        confirmed(&site)?;
        ana.curfew(["ssh", "deploy@db1", "--", "true"])?.done()?;
    }
    Ok(())
}

/// Through all phases, as fast as hosts confirm; `settle` lets what the former key signed come to its end.
fn walk(
    site: &Site,
    purpose: &str,
    settle: impl FnOnce() -> Result<(), FleetError>,
) -> Result<(), FleetError> {
    for _ in 0..2 {
        keys(site, &["rotate", purpose])?.done()?;
        confirmed(site)?;
    }
    settle()?;
    keys(site, &["retire", purpose, EARLY])?.done()?;
    confirmed(site)
}

/// Whoever had a certificate of the former key is in, or has another one.
fn two_more(rounds: &AtomicU32) -> Result<(), FleetError> {
    let before = rounds.load(Ordering::Relaxed);
    let wanted = before.saturating_add(2);
    eventually("two more rounds of logins", || rounds.load(Ordering::Relaxed) >= wanted)
}

/// Logs in over and over, each time with a new certificate, until told to stop: what came of each login.
fn knock(
    person: &Person,
    hosts: [&str; 2],
    (stop, rounds): (&AtomicBool, &AtomicU32),
) -> Result<Vec<Output>, FleetError> {
    let mut logins = Vec::new();
    while !stop.load(Ordering::Relaxed) || logins.len() < 10 {
        for host in hosts {
            logins.push(person.curfew(["ssh", &format!("deploy@{host}"), "--", "true"])?);
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(logins)
}

fn keys(site: &Site, args: &[&str]) -> Result<Output, FleetError> {
    site.authority.run(["keys"].iter().chain(args))
}

fn list(site: &Site) -> Result<Value, FleetError> {
    let said = keys(site, &["list", "--all", "--json"])?.ok()?;
    serde_json::from_str(said.text().trim()).map_err(|error| site.broken(&error.to_string()))
}

/// The hosts that have not confirmed.
fn missing(view: &Value) -> Vec<String> {
    let hosts = view.get("unconfirmed").and_then(Value::as_array).cloned().unwrap_or_default();
    hosts
        .iter()
        .map(|host| host.get(0).and_then(Value::as_str).unwrap_or_default().to_owned())
        .collect()
}

fn confirmed(site: &Site) -> Result<(), FleetError> {
    eventually("all hosts confirm the keys", || {
        list(site).is_ok_and(|view| missing(&view).is_empty())
    })
}

/// The fingerprint of the key that signs.
fn signing(site: &Site, purpose: &str) -> Result<String, FleetError> {
    let view = list(site)?;
    let keys = view.get("keys").and_then(|keys| keys.as_array()).cloned().unwrap_or_default();
    let found = keys.iter().find(|key| key["purpose"] == purpose && key["stage"] == "signing");
    let print = found.and_then(|key| key["fingerprint"].as_str());
    print.map(str::to_owned).ok_or_else(|| site.broken("no key signs"))
}

const EARLY: &str = "--before-certificates-end";
