//! Work that a session hands to a daemon of the host is seen, told as nobody's for certain, and ended where it is
//! nobody else's.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually, eventually_some};

#[test]
fn work_handed_to_at_cron_and_the_users_own_manager_is_seen_and_ends_with_a_lock()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    for (hand, work) in HANDED {
        shell.enter(hand)?;
        eventually(work, || is_running(&db1, work))?;
    }
    // As its own kind of record, by login, with who may have asked; never as the session's own.
    let records = ana.records_when(&session, |records| {
        HANDED.iter().all(|(_, work)| handed(records).any(|told| told.contains(&words(work))))
    })?;
    let own = records.iter().filter_map(|record| record["event"].get("exec"));
    assert_eq!(own.filter(|exec| exec["path"] == "/usr/bin/sleep").count(), 0);
    let told = records.iter().find_map(|record| record.pointer("/event/delegated"));
    let told = told.ok_or_else(|| site.broken("handed work is told"))?;
    assert_eq!(
        (&told["login"], &told["candidates"][0]),
        (&"deploy".into(), &session["session"]),
        "{told}"
    );

    // The agent dies and comes back: it still knows whose the work is.
    db1.kill_unit("curfew-agent", "KILL")?;
    site.wait_until_connected("db1")?;
    ops.lock(&["ana@example.com"])?.done()?;
    for (_, work) in HANDED {
        eventually(work, || !is_running(&db1, work))?;
    }
    let records = ops.records_when(&session, |records| {
        records.iter().any(|record| record["event"].get("delegated_ended").is_some())
    })?;
    let ended = records.iter().find_map(|record| record["event"].get("delegated_ended"));
    assert!(ended.is_some_and(|ended| ended["survivors"] == 0), "{ended:?}");
    // What it took to end the session has it all, by what had started it.
    let id = session["session"].as_str().unwrap_or_default();
    let killed = eventually_some("the kill is told", || {
        let detail = ops.listing(["sessions", "show", id]).ok()?;
        detail.pointer("/killed/killed").cloned()
    })?;
    let handed = |kind: &str| killed["handed"][kind].as_u64().unwrap_or_default();
    assert!(handed("jobs") >= 1 && handed("manager") >= 1, "{killed}");
    assert_eq!(
        (&killed["survivors"], &killed["interrupted"]),
        (&0.into(), &Value::Null),
        "{killed}"
    );
    Ok(())
}

#[test]
fn work_that_may_be_another_persons_lives_on() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let (_hers, mut his) = (begin(&ana, &db1)?, begin(&bob, &db1)?);
    his.enter(HANDED[0].0)?;
    eventually("the work begins", || is_running(&db1, HANDED[0].1))?;
    ops.lock(&["ana@example.com"])?.done()?;
    assert!(is_running(&db1, HANDED[0].1));
    his.enter("echo al''ive")?;
    his.wait_for("alive")?;
    Ok(())
}

fn begin(who: &Person, host: &Host) -> Result<tests::Terminal, FleetError> {
    let mut shell = who.shell("deploy", host)?;
    shell.enter("echo rea''dy")?;
    shell.wait_for("ready")?;
    Ok(shell)
}

fn is_running(host: &Host, work: &str) -> bool {
    host.processes_like(work).is_ok_and(|found| !found.is_empty())
}

/// The arguments of handed work, as records have them.
fn handed(records: &[Value]) -> impl Iterator<Item = String> {
    let told =
        records.iter().filter_map(|record| record.pointer("/event/delegated/exec/arguments"));
    told.map(Value::to_string)
}

/// The last argument, as records have it; systemd gives the first one as a path.
fn words(work: &str) -> String {
    format!("\"{}\"]", work.rsplit(' ').next().unwrap_or_default())
}

/// How it is asked for, and what then runs.
const HANDED: [(&str, &str); 3] = [
    ("systemd-run --user --quiet sleep 9101", "sleep 9101"),
    ("echo 'exec sleep 9102' | at now", "sleep 9102"),
    ("systemd-run --user --quiet sh -c 'setsid sleep 9103 & wait'", "sleep 9103"),
];
