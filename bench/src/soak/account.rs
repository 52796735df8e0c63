//! The account at the end: what was done against what is known of it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::report::Row;

use super::deed::{LOCK_SLEEP, SHORT_SLEEP};
use super::scene::Scene;

/// Compares, and says what is broken.
pub(super) fn check(scene: &mut Scene, broken: &mut Vec<String>) -> Result<Row> {
    let sessions = scene.ops.listing(["sessions", "--all", "--limit", MANY])?;
    let sessions = sessions.as_array().context("the sessions are no list")?;
    if sessions.len() != scene.logins {
        let (known, logins) = (sessions.len(), scene.logins);
        broken.push(format!("{logins} logins were let in, and {known} sessions are known"));
    }
    let alive = sessions
        .iter()
        .filter(|session| !session.get("ended").is_some_and(Value::is_object))
        .count();
    if alive > 0 {
        broken.push(format!("{alive} sessions have not ended"));
    }
    let lost: u64 = sessions.iter().filter_map(|session| session.get("lost")?.as_u64()).sum();
    let found = found(scene, sessions)?;
    let wrong: Vec<_> =
        scene.marks.iter().filter(|mark| found.get(*mark).copied() != Some(1)).collect();
    if u64::try_from(wrong.len())? > lost {
        broken.push(format!("not recorded once, and {lost} told to be lost: {wrong:?}"));
    }
    let survivors = survivors(scene)?;
    if survivors > 0 {
        broken.push(format!("{survivors} processes outlived their sessions"));
    }
    let verified = scene.site.authority.run(["ledger", "verify"])?;
    if !verified.succeeded() {
        broken.push(format!("the ledger does not verify: {verified:?}"));
    }
    // That a host was not heard of is true of one whose link was cut, or whose authority was away.
    let mut incidents = scene.site.listing(["incident", "list"])?;
    incidents.retain(|incident| incident.pointer("/cause/silent").is_none());
    if !incidents.is_empty() {
        broken.push(format!("incidents nobody made: {incidents:?}"));
    }
    Ok(Row::new("account", "all three hosts")
        .counted("logins", scene.logins)
        .counted("sessions", sessions.len())
        .counted("marks", scene.marks.len())
        .counted("recorded_once", scene.marks.len().saturating_sub(wrong.len()))
        .counted("told_lost", usize::try_from(lost)?)
        .counted("survivors", survivors)
        .counted("late_ends", late(sessions, broken)))
}

/// How often each word was run, by the records.
fn found(scene: &Scene, sessions: &[Value]) -> Result<BTreeMap<String, usize>> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for session in sessions {
        for record in scene.ops.records(session)? {
            let is_echo =
                record.pointer("/event/exec/path").is_some_and(|path| *path == "/bin/echo");
            let word = record.pointer("/event/exec/arguments/1").and_then(Value::as_str);
            if let Some(word) = word.filter(|_| is_echo) {
                let count = found.entry(word.to_owned()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(found)
}

fn survivors(scene: &Scene) -> Result<usize> {
    let mut survivors: usize = 0;
    for host in &scene.hosts {
        for sleep in [LOCK_SLEEP, SHORT_SLEEP] {
            let left = host.processes_like(&format!("sleep {sleep}"))?.len();
            survivors = survivors.saturating_add(left);
        }
    }
    Ok(survivors)
}

/// Sessions whose grant ended, and that ended later than they must.
fn late(sessions: &[Value], broken: &mut Vec<String>) -> usize {
    let millis = |session: &Value, at: &str| session.pointer(at).and_then(Value::as_i64);
    let mut late: usize = 0;
    for session in sessions {
        if session.pointer("/ended/reason").is_none_or(|reason| *reason != "grant_ended") {
            continue;
        }
        let (until, ended) = (millis(session, "/until"), millis(session, "/ended/at"));
        let after = until.zip(ended).map(|(until, ended)| ended.saturating_sub(until));
        if after.is_none_or(|after| after > LATE_MILLIS) {
            late = late.saturating_add(1);
            broken.push(format!("a session ended {after:?} ms after its grant: {session}"));
        }
    }
    late
}

/// More sessions than a soak begins.
const MANY: &str = "100000";
/// The promise: an end within a second of its moment.
const LATE_MILLIS: i64 = 1000;
