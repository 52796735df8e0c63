//! A backup that is put back and declared: hosts go on with it by themselves. A copy of its files is refused.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tests::{Certified, FleetError, Host, Person, Site, eventually};

#[test]
#[expect(clippy::too_many_lines, reason = "one story: what is restored is what was lived through")]
fn hosts_go_on_with_a_declared_restore_and_let_nobody_in_on_what_it_gave_up()
-> Result<(), FleetError> {
    let mut site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let bob = site.person("bob@example.com")?;
    let early = fresh(&ana, "early", &db1)?;
    ana.offering(&early, "deploy", &db1)?.run(["true"])?.done()?;
    let backup = site.authority.dir().join("backup.tar");
    let to = backup.display().to_string();
    site.authority.run(["backup", "--to", &to])?.done()?;

    // After the backup: a certificate that logs in, a lock, and hosts that have seen both.
    let lost = fresh(&ana, "lost", &db1)?;
    ana.offering(&lost, "deploy", &db1)?.run(["true"])?.done()?;
    site.authority
        .run(["lock", "identity", "bob@example.com", "--reason", "stolen laptop"])?
        .done()?;
    assert!(!bob.ssh("deploy", &db2).run(["true"])?.succeeded());
    eventually("the host knows the newer tree", || {
        status(&db1).is_ok_and(|status| status["unshown"] == 0 && status["tree"].is_object())
    })?;
    // Records that the hosts let go of, because that ledger had them.
    eventually("records are acknowledged", || {
        status(&db1).is_ok_and(|status| status["spooled"] == 0)
    })?;

    site.authority.stop()?;
    let state = site.authority.dir().join("state");
    let abandoned = site.authority.dir().join("abandoned");
    rename(&state, &abandoned);
    let keys = abandoned.display().to_string();
    let said =
        site.authority.run(["restore", &to, "--keys", &keys, "--reason", "the disk died"])?;
    said.done()?;
    site.authority.serve()?;
    for host in ["db1", "db2"] {
        site.wait_until_connected(host)?;
    }
    let first_order = |host: &Host| {
        status(host).is_ok_and(|status| status["last_order"].as_u64() > Some(1 << 20))
    };
    eventually("both hosts go on with it", || first_order(&db1) && first_order(&db2))?;
    assert!(status(&db1)?["dispute"].is_null());

    // The people's logins are over; who logs in again gets a serial of the new era, and is let in.
    ana.log_in(&site)?;
    let next = fresh(&ana, "next", &db1)?;
    ana.offering(&next, "deploy", &db1)?.run(["true"])?.done()?;
    assert!(serial(&next) > 1 << 20, "{}", serial(&next));
    // What was issued before the backup opens still, what was issued after it opens nothing.
    ana.offering(&early, "deploy", &db1)?.run(["true"])?.done()?;
    assert!(!ana.offering(&lost, "deploy", &db1)?.run(["true"])?.succeeded());
    let journal = db1.journal("curfew-agent")?;
    assert!(
        journal.contains("it was issued after the backup to which the ledger was put back"),
        "{journal}"
    );

    // The lock that the ledger lost holds on, is named, and is lifted by the operator.
    incidents(&site, "declared restore: the ledger was put back to")?;
    let named = site.authority.run(["status"])?;
    assert!(
        named.text().contains("keeps a lock on identity bob@example.com (stolen laptop)"),
        "{named:?}"
    );
    bob.log_in(&site)?;
    assert!(!bob.ssh("deploy", &db2).run(["true"])?.succeeded());
    site.authority.run(["unlock", "identity", "bob@example.com", "--reason", "found"])?.done()?;
    bob.ssh("deploy", &db2).run(["true"])?.done()?;
    assert!(!site.authority.run(["status"])?.text().contains("keeps a lock"));

    // Records go on, the ledger holds, and a restart of a host forgets nothing.
    eventually("records are acknowledged again", || {
        status(&db1).is_ok_and(|status| status["spooled"] == 0)
    })?;
    site.authority.run(["ledger", "verify"])?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    assert!(!ana.offering(&lost, "deploy", &db1)?.run(["true"])?.succeeded());
    ana.ssh("deploy", &db1).run(["true"])?.done()?;

    // The files of before, put in place by hand: no restore.
    site.authority.stop()?;
    rename(&state, &site.authority.dir().join("second"));
    rename(&abandoned, &state);
    site.authority.serve()?;
    eventually("the host refuses to go back", || {
        site.authority.log().contains("was an old copy of it put in its place?")
    })?;
    assert!(!status(&db1)?["connected"].as_bool().unwrap_or(true));
    Ok(())
}

/// A certificate that was issued just now, put aside under this name.
#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn fresh(who: &Person, name: &str, host: &Host) -> Result<Certified, FleetError> {
    let kept = who.client.home_dir().join(".config/curfew/id");
    if kept.exists() {
        fs::remove_dir_all(&kept).unwrap();
    }
    let issued = who.certificate("deploy", host)?;
    let key_path = who.client.ssh_dir().join(name);
    let certificate_path = who.client.ssh_dir().join(format!("{name}-cert.pub"));
    fs::copy(&issued.key_path, &key_path).unwrap();
    fs::copy(&issued.certificate_path, &certificate_path).unwrap();
    Ok(Certified { key_path, certificate_path })
}

#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn serial(certified: &Certified) -> u64 {
    let mut listing = std::process::Command::new("ssh-keygen");
    let listed = listing.arg("-Lf").arg(&certified.certificate_path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let serial = listed.lines().find_map(|line| line.trim().strip_prefix("Serial: "));
    serial.unwrap().parse().unwrap()
}

#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn status(host: &Host) -> Result<Value, FleetError> {
    let said = host.run(["curfew-agent", "status", "--json"])?.ok()?;
    Ok(serde_json::from_str(said.text()).unwrap())
}

fn incidents(site: &Site, words: &str) -> Result<(), FleetError> {
    eventually(words, || {
        let listed = site.authority.run(["incident", "list"]);
        listed.is_ok_and(|listed| listed.text().contains(words))
    })
}

#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn rename(from: &PathBuf, to: &PathBuf) {
    fs::rename(from, to).unwrap();
}
