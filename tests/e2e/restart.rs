//! Whatever part of Curfew dies comes back to where it was: nobody slips in or out, and nothing recorded is lost.

use serde_json::Value;
use tests::{FleetError, Host, Site, Terminal, eventually};

#[test]
fn a_killed_agent_takes_up_its_sessions_and_loses_nothing_of_them() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    mark(&mut shell, 1, 30)?;
    db1.kill_unit("curfew-agent", "KILL")?;
    mark(&mut shell, 31, 60)?;
    take_agent_down(&db1)?;
    mark(&mut shell, 61, 90)?;
    db1.start("curfew-agent")?;
    assert_eq!(on_the_host(&db1)?, [session["session"].clone()]);
    mark(&mut shell, 91, 120)?;
    let records = ana.records_when(&session, |records| marks(records).len() >= 120)?;
    assert_eq!(marks(&records), (1..=120).collect::<Vec<_>>());
    ops.lock(&["ana@example.com"])?.done()?;
    shell.wait()?;
    let ended = site.ended(&session)?;
    assert_eq!((&ended["lost"], &ended["ended"]["survivors"]), (&0.into(), &0.into()), "{ended}");
    Ok(())
}

#[test]
fn who_leaves_while_the_agent_is_down_is_known_to_have_left() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    take_agent_down(&db1)?;
    shell.enter("exit")?;
    shell.wait()?;
    db1.start("curfew-agent")?;
    let ended = site.ended(&session)?;
    assert_eq!((&ended["ended"]["reason"], &ended["lost"]), (&"left".into(), &0.into()), "{ended}");
    Ok(())
}

#[test]
fn nobody_under_curfew_gets_in_while_the_agent_is_down() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let mine = ana.certificate("deploy", &db1)?;
    db1.stop("curfew-agent")?;
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    mark(&mut shell, 1, 2)?;
    db1.start("curfew-agent")?;
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

#[test]
fn a_lock_given_while_the_agent_is_down_is_done_when_it_is_back() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    take_agent_down(&db1)?;
    let said = ops.curfew(["lock", "ana@example.com", "--reason", "gone", "--wait", "1s"])?;
    assert!(!said.succeeded() && said.text().contains("0 of 1 host"), "{said:?}");
    assert!(shell.is_running());
    db1.start("curfew-agent")?;
    shell.wait()?;
    assert_eq!(site.ended(&session)?["ended"]["reason"]["locked"]["reason"], "gone");
    Ok(())
}

#[test]
fn a_lock_outlives_the_agent_and_needs_no_authority() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let (hers, his) = (ana.certificate("deploy", &db1)?, bob.certificate("deploy", &db1)?);
    ops.lock(&["ana@example.com"])?.done()?;
    site.authority.kill()?;
    take_agent_down(&db1)?;
    db1.start("curfew-agent")?;
    assert!(!ana.offering(&hers, "deploy", &db1)?.run(["true"])?.succeeded());
    bob.offering(&his, "deploy", &db1)?.run(["true"])?.done()
}

#[test]
fn a_killed_authority_comes_back_with_all_that_it_acknowledged() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    mark(&mut shell, 1, 20)?;
    ana.records_when(&session, |records| marks(records).len() == 20)?;
    ops.lock(&["bob@example.com"])?.done()?;
    site.authority.kill()?;
    mark(&mut shell, 21, 40)?;
    site.authority.serve()?;
    assert_eq!(marks(&ana.records(&session)?).into_iter().take(20).count(), 20);
    assert_eq!(site.listing(["lock", "list"])?.len(), 1);
    site.wait_until_connected("db1")?;
    let records = ana.records_when(&session, |records| marks(records).len() >= 40)?;
    assert_eq!(marks(&records), (1..=40).collect::<Vec<_>>());
    ana.ssh("app", &db1).run(["true"])?.done()?;
    assert!(ops.lock(&["ana@example.com"])?.ok()?.text().contains("0 survivors"));
    shell.wait().map(drop)
}

#[test]
fn what_is_recorded_while_the_authority_is_away_arrives_once_and_in_order() -> Result<(), FleetError>
{
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    site.authority.stop()?;
    mark(&mut shell, 1, 100)?;
    db1.kill_unit("curfew-link", "KILL")?;
    mark(&mut shell, 101, 200)?;
    db1.kill_unit("curfew-agent", "KILL")?;
    shell.enter("exit")?;
    shell.wait()?;
    site.authority.serve()?;
    assert_eq!(site.ended(&session)?["lost"], 0);
    let records = ana.records(&session)?;
    assert_eq!(marks(&records), (1..=200).collect::<Vec<_>>());
    assert!(in_order(&records));
    Ok(())
}

#[test]
fn a_link_killed_again_and_again_loses_and_doubles_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    for round in 0..5 {
        mark(&mut shell, round * 40 + 1, round * 40 + 40)?;
        db1.kill_unit("curfew-link", "KILL")?;
    }
    let records = ana.records_when(&session, |records| marks(records).len() >= 200)?;
    assert_eq!(marks(&records), (1..=200).collect::<Vec<_>>());
    assert!(in_order(&records));
    site.wait_until_connected("db1")?;
    ops.lock(&["ana@example.com"])?.done()?;
    shell.wait().map(drop)
}

#[test]
fn an_agent_killed_while_it_kills_goes_on_killing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("for i in {1..200}; do setsid sleep 4401 & done; echo be''gun")?;
    shell.wait_for("begun")?;
    let session = site.session(&ana, &db1)?;
    let lock = ops.client.start("curfew", ["lock", "ana@example.com", "--reason", "gone"])?;
    db1.kill_unit("curfew-agent", "KILL")?;
    shell.wait()?;
    assert_eq!(site.ended(&session)?["ended"]["survivors"], 0);
    assert!(db1.processes_like("sleep 4401")?.is_empty());
    ops.records_when(&session, |records| {
        records.iter().any(|record| record.pointer("/event/killed").is_some())
    })?;
    drop(lock);
    Ok(())
}

/// Kills the agent as a crash would, and keeps systemd from starting it again.
fn take_agent_down(host: &Host) -> Result<(), FleetError> {
    host.put(
        "/run/systemd/system/curfew-agent.service.d/down.conf",
        "[Service]\nRestart=no\n",
        0o644,
    )?;
    host.run(["systemctl", "daemon-reload"])?.done()?;
    // A crash a moment ago may just be under repair.
    host.run(["systemctl", "start", "curfew-agent"])?.done()?;
    host.kill_unit("curfew-agent", "KILL")?;
    eventually("the agent is down", || host.is_active("curfew-agent").is_ok_and(|active| !active))
}

/// Runs a program once for each number, and waits until the last one has spoken.
fn mark(shell: &mut Terminal, from: u32, to: u32) -> Result<(), FleetError> {
    shell.enter(&format!("for i in {{{from}..{to}}}; do /bin/echo mark-$i; done"))?;
    shell.wait_for(&format!("\nmark-{to}\r")).map(drop)
}

/// The numbers of [`mark`] in a session's records.
fn marks(records: &[Value]) -> Vec<u32> {
    let arguments = records.iter().filter_map(|record| {
        record.pointer("/event/exec/arguments")?.as_array().map(Vec::as_slice)
    });
    let marks = arguments.filter_map(|arguments| match arguments {
        [program, mark] if program == "/bin/echo" => {
            mark.as_str()?.strip_prefix("mark-")?.parse().ok()
        }
        _ => None,
    });
    marks.collect()
}

/// Whether every record comes once, and events stand in the kernel's order (which counts more than is recorded).
fn in_order(records: &[Value]) -> bool {
    let rises = |places: &[&str]| {
        let numbers = records.iter().filter_map(|record| {
            places.iter().find_map(|place| record.pointer(place)).and_then(Value::as_u64)
        });
        numbers.is_sorted_by(|one, next| one < next)
    };
    rises(&["/number"]) && rises(&["/event/exec/sequence", "/event/exit/sequence"])
}

/// The sessions that the agent itself has, by name.
fn on_the_host(host: &Host) -> Result<Vec<Value>, FleetError> {
    let said = host.run(["curfew-agent", "sessions", "--json"])?.ok()?;
    let sessions: Vec<Value> = serde_json::from_str(said.text()).unwrap_or_default();
    Ok(sessions.iter().filter_map(|session| session.get("id").cloned()).collect())
}
