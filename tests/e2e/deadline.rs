//! A session ends when its grant does: on time, on the host's own, whatever else is down.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, Terminal, eventually, grace};

#[test]
fn a_session_is_warned_and_ends_on_time() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = warning_host(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut visit = Visit::begin(&site, &ana, &db1)?;
    visit.shell.wait_for("this session ends in 8 seconds: the grant is over then")?;
    visit.shell.wait_for("this session ends in 4 seconds: the grant is over then")?;
    visit.shell.wait_for("this session has ended: the grant's time is over")?;
    visit.shell.wait()?;
    visit.ended_on_time(&db1)?;
    let records = ana.records_when(&visit.session, |records| has(records, "session_ended"))?;
    let warned = records.iter().filter(|record| record["event"]["warned"].is_object()).count();
    assert!(warned >= 2, "{records:?}");
    visit.is_known_as_ended(&site)
}

#[test]
fn without_the_authority_a_session_ends_on_time() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = warning_host(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut visit = Visit::begin(&site, &ana, &db1)?;
    site.authority.stop()?;
    visit.shell.wait_for("this session ends in 4 seconds")?;
    visit.shell.wait()?;
    visit.ended_on_time(&db1)?;
    site.authority.serve()?;
    visit.is_known_as_ended(&site)
}

#[test]
fn without_a_link_a_session_ends_on_time() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = warning_host(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut visit = Visit::begin(&site, &ana, &db1)?;
    db1.cut_link()?;
    visit.shell.wait_for("this session ends in 4 seconds")?;
    visit.shell.wait()?;
    visit.ended_on_time(&db1)?;
    db1.mend_link()?;
    visit.is_known_as_ended(&site)
}

#[test]
fn with_the_agent_restarted_in_between_a_session_ends_on_time() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = warning_host(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut visit = Visit::begin(&site, &ana, &db1)?;
    db1.restart("curfew-agent")?;
    visit.shell.wait_for("this session ends in 4 seconds")?;
    db1.kill_unit("curfew-agent", "KILL")?;
    visit.shell.wait()?;
    visit.ended_on_time(&db1)?;
    visit.is_known_as_ended(&site)
}

#[test]
fn with_the_agent_down_at_the_deadline_a_session_ends_when_it_is_back() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = warning_host(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut visit = Visit::begin(&site, &ana, &db1)?;
    db1.stop("curfew-agent")?;
    eventually("the deadline has passed", || now(&db1).is_ok_and(|now| now > visit.until() + 200))?;
    assert!(visit.shell.is_running());
    db1.start("curfew-agent")?;
    visit.shell.wait()?;
    eventually("all are dead", || visit.left(&db1) == Some(0))?;
    visit.is_known_as_ended(&site)
}

#[test]
fn the_end_of_the_certificate_is_not_the_end_of_the_session() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    // One that ends this soon is not issued, so that it has no proof; everything else about it holds.
    db1.sh("echo 'proof = \"report\"' >>/etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    let args = ["-I", "ana@example.com/g1/1", "-z", "1", "-n", "deploy@db1", "-V", "-1m:+4s"];
    let grant = ["-Oextension:grant-until@curfew.internal=4000000000"];
    let role = ["-Oextension:role@curfew.internal=deploy"];
    let short = site.forge(&ana, &[&args[..], &grant, &role].concat())?;
    let mut shell = ana.offering(&short, "deploy", &db1)?.shell()?;
    shell.wait_for("deploy@db1:")?;
    eventually("the certificate opens nothing any more", || {
        let again = ana.offering(&short, "deploy", &db1).and_then(|ssh| ssh.run(["true"]));
        again.is_ok_and(|said| !said.succeeded())
    })?;
    assert!(db1.journal("curfew-agent")?.contains("it has expired"));
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    Ok(())
}

#[test]
fn for_only_shortens_what_the_role_allows() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let long =
        ana.client.start("curfew", ["ssh", "deploy@db1", "--for", "23h", "--", "-T", "cat"])?;
    let session = site.session(&ana, &db1)?;
    let length = millis(&session, "/until") - millis(&session, "/began");
    assert!(length <= 4 * 3600 * 1000, "the role allows four hours: {session}");
    drop(long);
    Ok(())
}

/// A shell under a short grant, with processes that would outlive it. One of them writes the host's time down as long as
/// it lives, so that its end is known from nobody but itself.
struct Visit {
    shell: Terminal,
    session: Value,
}

impl Visit {
    fn begin(site: &Site, who: &Person, host: &Host) -> Result<Self, FleetError> {
        host.put("/usr/local/bin/beat", BEAT, 0o755)?;
        let mut shell =
            who.client.terminal("curfew", ["ssh", "deploy@db1", "--for", "12s", "--", "-t"])?;
        shell.wait_for("deploy@db1:")?;
        shell.enter(
            "setsid beat & (trap '' TERM HUP; setsid sleep 4302) & tmux new -d 'sleep 4303'",
        )?;
        let session = site.session(who, host)?;
        eventually("it beats", || host.has("/home/deploy/beat"))?;
        Ok(Self { shell, session })
    }

    fn until(&self) -> u64 {
        millis(&self.session, "/until")
    }

    fn left(&self, host: &Host) -> Option<usize> {
        let all = host.processes().ok()?;
        Some(
            all.iter()
                .filter(|one| one.line().contains("sleep 430") || one.line().contains("bin/beat"))
                .count(),
        )
    }

    /// Nobody is left, and the last beat was within a second of the grant's end.
    fn ended_on_time(&self, host: &Host) -> Result<(), FleetError> {
        eventually("all are dead", || self.left(host) == Some(0))?;
        let last = last_beat(host)?;
        let (early, late) = (self.until().saturating_sub(last), last.saturating_sub(self.until()));
        assert!(early < 500 && late < grace(1_000), "ended {early} ms early, {late} ms late");
        Ok(())
    }

    /// The authority knows when and why, in the host's own words.
    fn is_known_as_ended(&self, site: &Site) -> Result<(), FleetError> {
        let ended = site.ended(&self.session)?;
        assert_eq!(ended.pointer("/ended/reason"), Some(&"grant_ended".into()), "{ended}");
        assert_eq!(ended.pointer("/ended/survivors"), Some(&0.into()), "{ended}");
        assert!(millis(&ended, "/ended/killed") >= 3, "{ended}");
        Ok(())
    }
}

/// A host that warns 8 and 4 seconds before the end.
fn warning_host(site: &Site) -> Result<Host, FleetError> {
    let db1 = site.host("db1")?;
    let settings = db1.read_text("/etc/curfew/agent.toml")?;
    let settings = format!("{settings}\nwarn_before = [\"8s\", \"4s\"]\n");
    db1.put("/etc/curfew/agent.toml", settings, 0o644)?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    Ok(db1)
}

fn has(records: &[Value], event: &str) -> bool {
    records.iter().any(|record| record.pointer(&format!("/event/{event}")).is_some())
}

/// The host's time, in milliseconds since 1970.
fn now(host: &Host) -> Result<u64, FleetError> {
    Ok(number(host.run(["date", "+%s%3N"])?.ok()?.text()))
}

fn last_beat(host: &Host) -> Result<u64, FleetError> {
    Ok(host.read_text("/home/deploy/beat")?.lines().map(number).max().unwrap_or_default())
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_default()
}

/// A number of a listing.
fn millis(listed: &Value, place: &str) -> u64 {
    listed.pointer(place).and_then(Value::as_u64).unwrap_or_default()
}

const BEAT: &str = r#"#!/bin/bash
trap '' TERM HUP
while :; do date +%s%3N >>~/beat; read -rt 0.1 <> <(:); done
"#;
