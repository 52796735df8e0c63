//! A host whose kernel cannot tag: said everywhere, never silently, and its sessions end on time and leave nobody.

use serde_json::Value;
use tests::{FleetError, Host, ROLES, Site, eventually, eventually_some};

#[test]
fn attribution_by_audit_is_declared_everywhere() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    is_declared(&site, &db1, "the configuration asks for attribution by audit session")
}

#[test]
fn a_kernel_without_btf_is_declared_everywhere() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = without_btf(&site)?;
    is_declared(&site, &db1, "BTF")?;
    let check = db1.run(["curfew-agent", "check"])?;
    assert!(check.stdout.contains("this kernel has no BTF"), "{check:?}");
    Ok(())
}

#[test]
fn a_lock_leaves_nobody_by_audit() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    a_lock_leaves_nobody(&site, &db1)
}

#[test]
fn a_lock_leaves_nobody_without_btf() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = without_btf(&site)?;
    a_lock_leaves_nobody(&site, &db1)
}

#[test]
fn what_outlives_its_connection_is_still_of_the_session() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    let ana = site.person("ana@example.com")?;
    ana.ssh("deploy", &db1).run(["setsid --fork sleep 4001 </dev/null >/dev/null 2>&1"])?.done()?;
    assert_eq!(db1.processes_like("sleep 4001")?.len(), 1);
    let session = site.session(&ana, &db1)?;
    let id = session.get("session").and_then(Value::as_str).unwrap_or_default();
    let said = site.authority.run(["lock", "session", id, "--reason", "gone"])?.ok()?;
    assert!(said.stdout.contains("1 sessions ended, 0 survivors"), "{said:?}");
    assert!(db1.processes_like("sleep 4001")?.is_empty());
    Ok(())
}

#[test]
fn a_session_from_before_a_restart_of_the_agent_ends_too() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter(HIDE)?;
    shell.wait_for("hidden")?;
    db1.kill_unit("curfew-agent", "KILL")?;
    eventually("the agent is back", || {
        db1.run(["curfew-agent", "status"]).is_ok_and(|s| s.succeeded())
    })?;
    site.wait_until_connected("db1")?;
    let lock = ["lock", "identity", "ana@example.com", "--reason", "gone"];
    let said = site.authority.run(lock)?.ok()?;
    assert!(said.stdout.contains("1 sessions ended, 0 survivors"), "{said:?}");
    assert_eq!(hidden(&db1)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn what_outlived_its_connection_is_found_after_a_restart_too() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    let ana = site.person("ana@example.com")?;
    ana.ssh("deploy", &db1).run(["setsid --fork sleep 4001 </dev/null >/dev/null 2>&1"])?.done()?;
    let session = site.session(&ana, &db1)?;
    eventually("the connection is over", || {
        db1.processes_like("sshd: deploy").is_ok_and(|sshds| sshds.is_empty())
    })?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    let id = session.get("session").and_then(Value::as_str).unwrap_or_default();
    let said = site.authority.run(["lock", "session", id, "--reason", "gone"])?.ok()?;
    assert!(said.stdout.contains("1 sessions ended, 0 survivors"), "{said:?}");
    assert!(db1.processes_like("sleep 4001")?.is_empty());
    Ok(())
}

#[test]
fn a_session_that_a_restart_cannot_find_is_named() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    let ana = site.person("ana@example.com")?;
    ana.ssh("deploy", &db1).run(["setsid --fork sleep 4001 </dev/null >/dev/null 2>&1"])?.done()?;
    let session = site.session(&ana, &db1)?;
    eventually("the connection is over", || {
        db1.processes_like("sshd: deploy").is_ok_and(|sshds| sshds.is_empty())
    })?;
    let id = session.get("session").and_then(Value::as_str).unwrap_or_default();
    let kept = format!("/run/curfew/sessions/{id}.json");
    let unmark = format!("grep -q '\"marks\"' {kept} && sed -i 's/\"marks\"/\"lost\"/' {kept}");
    db1.sh(&unmark)?.done()?;
    db1.restart("curfew-agent")?;
    site.ended(&session)?;
    let journal = db1.journal("curfew-agent")?;
    let said = journal.lines().find(|line| line.contains("it is unknown whether processes"));
    assert!(said.is_some_and(|line| line.contains(id)), "{journal}");
    Ok(())
}

#[test]
fn a_grant_ends_on_time_by_audit() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    a_grant_ends_on_time(&site, &db1)
}

#[test]
fn a_grant_ends_on_time_without_btf() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = without_btf(&site)?;
    a_grant_ends_on_time(&site, &db1)
}

#[test]
fn a_host_that_sees_again_is_degraded_no_more() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = by_audit(&site)?;
    db1.sh("sed -i /^attribution/d /etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    eventually("the authority knows that the host sees everything", || {
        tier(&site).is_ok_and(|tier| tier == "full")
    })?;
    let status = site.authority.run(["status"])?.ok()?;
    assert!(!status.stdout.contains("sees less"), "{status:?}");
    Ok(())
}

fn is_declared(site: &Site, db1: &Host, why: &str) -> Result<(), FleetError> {
    let said = db1.run(["curfew-agent", "status"])?.ok()?;
    let line = said.stdout.lines().find(|line| line.contains("degraded: "));
    assert!(line.is_some_and(|line| line.contains(why)), "{said:?}");
    let said = db1.run(["curfew-agent", "status", "--json"])?.ok()?;
    assert!(said.stdout.contains("\"degraded\""), "{said:?}");

    let tier = tier(site)?;
    let reason = tier.pointer("/degraded/reason").and_then(Value::as_str).unwrap_or_default();
    assert!(reason.contains(why), "{tier}");
    for command in [&["host", "list"][..], &["status"]] {
        let said = site.authority.run(command)?.ok()?;
        assert!(said.stdout.contains(reason), "{command:?} does not say {reason:?}: {said:?}");
    }
    let ana = site.person("ana@example.com")?;
    let said = ana.curfew(["hosts"])?.ok()?;
    assert!(said.stdout.contains("degraded: "), "{said:?}");
    let said = ana.curfew(["status"])?;
    assert!(said.stdout.contains("sees less than it should"), "{said:?}");
    Ok(())
}

fn a_lock_leaves_nobody(site: &Site, db1: &Host) -> Result<(), FleetError> {
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let bobs = bob.ssh("deploy", db1).start(["exec sleep 4002"])?;
    site.session(&bob, db1)?;
    let mut shell = ana.shell("deploy", db1)?;
    shell.enter(HIDE)?;
    shell.wait_for("hidden")?;
    let lock = ["lock", "identity", "ana@example.com", "--reason", "gone"];
    let said = site.authority.run(lock)?.ok()?;
    assert!(said.stdout.contains("1 sessions ended, 0 survivors"), "{said:?}");
    assert_eq!(hidden(db1)?, Vec::<String>::new());
    shell.wait()?;
    assert_eq!(db1.processes_like("sleep 4002")?.len(), 1, "bob goes on");
    drop(bobs);
    Ok(())
}

fn a_grant_ends_on_time(site: &Site, db1: &Host) -> Result<(), FleetError> {
    site.set_roles(&ROLES.replace("\"1h\"", "\"6s\"").replace("[role.deploy]", "[role.short]"))?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", db1)?;
    shell.enter(HIDE)?;
    shell.wait_for("hidden")?;
    let session = site.session(&ana, db1)?;
    let until = session.get("until").and_then(Value::as_u64).unwrap_or_default();
    eventually("nobody is left", || hidden(db1).is_ok_and(|left| left.is_empty()))?;
    let now: u64 = db1.run(["date", "+%s%3N"])?.text().parse().unwrap_or_default();
    let on_time = until..until.saturating_add(1000);
    assert!(on_time.contains(&now), "{now} is not within 1 s of {until}");
    shell.wait()?;
    let ended = site.ended(&session)?;
    assert_eq!(ended.pointer("/ended/reason"), Some(&"grant_ended".into()));
    assert_eq!(ended.pointer("/ended/survivors"), Some(&0.into()));
    Ok(())
}

/// A host that is told to do without tags.
fn by_audit(site: &Site) -> Result<Host, FleetError> {
    let db1 = site.host("db1")?;
    db1.sh("echo 'attribution = \"audit\"' >> /etc/curfew/agent.toml")?.done()?;
    restarted(site, db1)
}

/// A host whose kernel does not say what its types are.
fn without_btf(site: &Site) -> Result<Host, FleetError> {
    let db1 = site.host("db1")?;
    db1.run(["mount", "-t", "tmpfs", "none", "/sys/kernel/btf"])?.done()?;
    restarted(site, db1)
}

fn restarted(site: &Site, db1: Host) -> Result<Host, FleetError> {
    db1.restart("curfew-agent")?;
    eventually_some("the authority knows that the host is degraded", || {
        tier(site).ok().filter(Value::is_object)
    })?;
    site.wait_until_connected("db1")?;
    Ok(db1)
}

/// What the authority says of how much the one host sees.
fn tier(site: &Site) -> Result<Value, FleetError> {
    let hosts = site.listing(["host", "list"])?;
    Ok(hosts.first().and_then(|host| host.get("tier")).cloned().unwrap_or_default())
}

/// What [`HIDE`] started and is alive.
fn hidden(host: &Host) -> Result<Vec<String>, FleetError> {
    Ok(host.processes_like("sleep 400001")?.iter().map(tests::Process::line).collect())
}

/// Leaves the terminal in every usual way; the apostrophes keep the echo of it from being taken for its end.
const HIDE: &str = "setsid sleep 400001 & nohup sleep 400001 >/dev/null 2>&1 & ((setsid sleep 400001 &) &); \
                    tmux new -d 'exec sleep 400001'; until [ $(pgrep -fc '^sleep 400001') = 4 ]; do :; done; echo hid''den";
