//! When a host lets nobody in: it may lack orders, or its authority has been silent for too long. Sessions go on.

use tests::{FleetError, Site, eventually};

#[test]
fn a_host_that_lost_its_locks_lets_nobody_in_until_it_has_every_order_again()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let (hers, his) = (ana.certificate("deploy", &db1)?, bob.certificate("deploy", &db1)?);
    ops.lock(&["ana@example.com"])?.done()?;
    for damage in
        ["rm /var/lib/curfew/revocation.json", "echo '{' > /var/lib/curfew/revocation.json"]
    {
        db1.cut_link()?;
        db1.stop("curfew-agent")?;
        db1.sh(damage)?.done()?;
        db1.start("curfew-agent")?;
        for (who, certified) in [(&ana, &hers), (&bob, &his)] {
            assert!(!who.offering(certified, "deploy", &db1)?.run(["true"])?.succeeded());
        }
        let status = db1.run(["curfew-agent", "status"])?.ok()?;
        assert!(status.stdout.contains("this host may lack orders"), "{status:?}");
        db1.mend_link()?;
        eventually("bob is let in again", || {
            bob.offering(&his, "deploy", &db1)
                .and_then(|ssh| ssh.run(["true"]))
                .is_ok_and(|said| said.succeeded())
        })?;
        assert!(!ana.offering(&hers, "deploy", &db1)?.run(["true"])?.succeeded());
        assert!(db1.read_text("/var/lib/curfew/revocation.json")?.contains("ana@example.com"));
    }
    assert!(db1.has("/var/lib/curfew/revocation.json.damaged"), "what was damaged is kept");
    Ok(())
}

#[test]
fn a_strict_host_lets_nobody_in_after_a_silence_and_its_sessions_go_on() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let toml = db1.read_text("/etc/curfew/agent.toml")?;
    db1.put("/etc/curfew/agent.toml", format!("{toml}\nstrict_silence = \"20s\"\n"), 0o644)?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    let mine = ana.certificate("deploy", &db1)?;
    let enters = || {
        ana.offering(&mine, "deploy", &db1)
            .and_then(|ssh| ssh.run(["true"]))
            .is_ok_and(|said| said.succeeded())
    };
    eventually("she is let in", enters)?;
    let job = ana.offering(&mine, "deploy", &db1)?.start(["exec sleep 4711"])?;
    eventually("her job runs", || {
        db1.processes_like("sleep 4711").is_ok_and(|found| found.len() == 1)
    })?;
    db1.cut_link()?;
    assert!(enters(), "a short silence bars nobody");
    eventually("the silence is too long", || {
        db1.run(["curfew-agent", "status"]).is_ok_and(|said| said.stdout.contains("strict_silence"))
    })?;
    assert!(!enters());
    // The agent's restart does not make the silence shorter.
    db1.restart("curfew-agent")?;
    assert!(!enters());
    assert_eq!(db1.processes_like("sleep 4711")?.len(), 1, "sessions go on");
    db1.mend_link()?;
    eventually("she is let in again", enters)?;
    drop(job);
    Ok(())
}
