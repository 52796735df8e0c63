//! What a session must not do: told, warned of, or ended, as its role says.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually};

fn limited(thresholds: &str) -> Result<(Site, Host, Person), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    site.set_roles(&format!(
        "[role.watched]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
         [role.watched.thresholds]\n{thresholds}\n"
    ))?;
    Ok((site, db1, ana))
}

fn incidents(site: &Site) -> Vec<Value> {
    site.listing(["incident", "list"]).unwrap_or_default()
}

#[test]
fn too_many_programs_are_told_warned_of_and_ended() -> Result<(), FleetError> {
    let (site, db1, ana) = limited("execs_per_minute = { alert = 40, warn = 60, kill = 120 }")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("while :; do /bin/true; sleep 0.01; done")?;
    shell.wait_for("careful: ")?;
    shell.wait_for("this session has been ended: ")?;
    shell.wait()?;
    let ended = site.ended(&session)?;
    let crossed = &ended["ended"]["reason"]["threshold"];
    assert_eq!((&crossed["measure"], &crossed["limit"]), (&"execs_per_minute".into(), &120.into()));
    assert_eq!(ended["ended"]["survivors"], 0);
    let answers: Vec<Value> = incidents(&site)
        .iter()
        .map(|incident| incident["cause"]["threshold"]["crossed"]["response"].clone())
        .collect();
    for answer in ["alert", "warn", "kill"] {
        assert!(answers.contains(&answer.into()), "{answers:?}");
    }
    Ok(())
}

#[test]
fn what_is_forbidden_ends_the_session_or_is_told() -> Result<(), FleetError> {
    let (site, db1, ana) =
        limited("forbidden = { \"command nc -l\" = \"kill\", \"path /etc/shadow\" = \"alert\" }")?;
    db1.sh("ln -sf /bin/sleep /usr/local/bin/nc")?.done()?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("cat /etc/shadow; echo still he''re")?;
    shell.wait_for("still here")?;
    eventually("the authority is told", || {
        incidents(&site)
            .iter()
            .any(|incident| incident["cause"]["threshold"]["crossed"]["rule"] == "path /etc/shadow")
    })?;
    shell.enter("nc -l 4308")?;
    shell.wait_for("a program was started that is forbidden (command nc -l)")?;
    shell.wait()?;
    let ended = site.ended(&session)?;
    assert_eq!(ended["ended"]["reason"]["threshold"]["rule"], "command nc -l");
    let records = ana.records_when(&session, |records| !records.is_empty())?;
    let told = records.iter().filter(|record| record["event"]["threshold"].is_object()).count();
    assert_eq!(told, 2, "{records:?}");
    Ok(())
}

#[test]
fn bytes_that_leave_are_counted_and_other_rights_too() -> Result<(), FleetError> {
    let (site, db1, ana) =
        limited("bytes_out = { kill = \"2M\" }\nprivilege_changes = { alert = 2 }")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("su -c id nobody </dev/null; su -c id nobody </dev/null; echo al''ive")?;
    shell.wait_for("alive")?;
    eventually("the authority is told", || {
        incidents(&site).iter().any(|incident| {
            incident["cause"]["threshold"]["crossed"]["measure"] == "privilege_changes"
        })
    })?;
    shell.enter("head -c 5000000 /dev/zero | base64")?;
    let ended = site.ended(&session)?;
    let crossed = &ended["ended"]["reason"]["threshold"];
    assert_eq!(crossed["measure"], "bytes_out", "{ended}");
    assert!(crossed["count"].as_u64() >= Some(2 << 20), "{ended}");
    Ok(())
}
