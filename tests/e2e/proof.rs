//! A certificate opens a host only when the ledger holds it, and a ledger that goes back is found out by every host.

use std::{fs, path::PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::{Certified, FleetError, Host, Person, Site, eventually};

#[test]
fn a_login_carries_its_proof_and_the_host_follows_the_ledger() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    assert!(proof(&mine).starts_with("c2sp.org/tlog-proof@v1\nextra "), "{}", proof(&mine));
    ana.offering(&mine, "deploy", &db1)?.run(["true"])?.done()?;
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    let known = |status: &Value| status["tree"]["size"].as_u64();
    let before = known(&status(&db1)?);
    assert_eq!(status(&db1)?["proof"], "require");
    eventually("each tree was shown to be the ledger's", || {
        status(&db1).is_ok_and(|status| status["unshown"] == 0 && known(&status) > Some(4))
    })?;
    assert!(known(&status(&db1)?) >= before);
    // What is known outlives the agent.
    let known_before = known(&status(&db1)?);
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    assert!(known(&status(&db1)?) >= known_before);
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    assert!(site.listing(["incident", "list"])?.is_empty());
    Ok(())
}

#[test]
fn a_stolen_authority_key_alone_logs_in_nowhere_and_is_an_incident() -> Result<(), FleetError> {
    let site = Site::open()?;
    let hosts = site.hosts(["db1", "db2"])?;
    let [db1, _] = &hosts;
    let ana = site.person("ana@example.com")?;
    let honest = ana.certificate("deploy", db1)?;
    ana.offering(&honest, "deploy", db1)?.run(["true"])?.done()?;
    let replayed = proof(&honest);
    for host in &hosts {
        // Plausible in everything: who, where, when, a serial that was given once.
        let forged = forge(&site, &ana, ("deploy", host), None)?;
        assert!(!ana.offering(&forged, "deploy", host)?.run(["true"])?.succeeded());
        assert!(!ana.offering(&forged, "root", host)?.run(["true"])?.succeeded());
        let forged = forge(&site, &ana, ("deploy", host), Some(&replayed))?;
        assert!(!ana.offering(&forged, "deploy", host)?.run(["true"])?.succeeded());
        let journal = host.journal("curfew-agent")?;
        assert!(journal.contains("it carries no proof of the ledger"), "{journal}");
        assert!(journal.contains("the entry in the proof commits to another certificate"));
    }
    let said = incidents(&site, 2, "without proof of the ledger")?;
    let of = |host: &str| said.iter().any(|incident| incident["host"] == host);
    assert!(of("db1") && of("db2"), "{said:?}");
    let shown = site.authority.run(["status"])?;
    assert!(shown.text().contains("! INCIDENT"), "{shown:?}");
    // What is honest goes on, and what was looked into is not shown again.
    ana.offering(&honest, "deploy", db1)?.run(["true"])?.done()?;
    for incident in site.listing(["incident", "list"])? {
        let number = incident["number"].to_string();
        site.authority.run(["incident", "settle", &number, "--reason", "a test"])?.done()?;
    }
    assert!(!site.authority.run(["status"])?.text().contains("INCIDENT"));
    assert_eq!(site.listing(["incident", "list"])?, Vec::<Value>::new());
    Ok(())
}

#[test]
fn a_host_that_only_reports_lets_in_and_says_so() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let forged = forge(&site, &ana, ("deploy", &db1), None)?;
    assert!(!ana.offering(&forged, "deploy", &db1)?.run(["true"])?.succeeded());
    db1.sh("echo 'proof = \"report\"' >>/etc/curfew/agent.toml")?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    ana.offering(&forged, "deploy", &db1)?.run(["true"])?.done()?;
    incidents(&site, 1, "let in, because this host only reports")?;
    let shown = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(shown.text().contains("let in and only reported"), "{shown:?}");
    Ok(())
}

#[test]
fn a_ledger_that_went_back_is_found_out_and_only_root_at_the_host_settles_it()
-> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let old = snapshot(&mut site)?;
    site.wait_until_connected("db1")?;
    grow(&site, 20)?;
    let mine = fresh(&ana, "mine", &db1)?;
    ana.offering(&mine, "deploy", &db1)?.run(["true"])?.done()?;
    eventually("the host knows the newer tree", || {
        status(&db1).is_ok_and(|status| status["unshown"] == 0 && status["tree"].is_object())
    })?;

    restore(&mut site, &old)?;
    site.wait_until_connected("db1")?;
    eventually("the host disputes", || {
        status(&db1).is_ok_and(|status| status["dispute"]["quarrel"] == "rollback")
    })?;
    incidents(&site, 1, "the ledger went back: known ")?;
    incidents(&site, 1, "was an older copy put in its place?")?;
    // What rests on the tree that was known still opens; what the ledger says from now on does not.
    ana.offering(&mine, "deploy", &db1)?.run(["true"])?.done()?;
    let next = fresh(&ana, "next", &db1)?;
    assert!(!ana.offering(&next, "deploy", &db1)?.run(["true"])?.succeeded());
    assert!(db1.journal("curfew-agent")?.contains("curfew-agent settle"));
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    assert!(!ana.offering(&next, "deploy", &db1)?.run(["true"])?.succeeded());

    let settle = ["curfew-agent", "settle", "--accept", "--reason", "restored on purpose"];
    db1.run(settle)?.done()?;
    ana.offering(&next, "deploy", &db1)?.run(["true"])?.done()?;
    assert!(!db1.run(settle)?.succeeded(), "there is nothing to settle any more");
    Ok(())
}

#[test]
fn a_fork_that_a_cut_off_host_let_in_is_found_when_it_is_back() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    eventually("the host knows the ledger", || {
        status(&db1).is_ok_and(|status| status["tree"].is_object())
    })?;
    db1.stop("curfew-link")?;
    let old = snapshot(&mut site)?;
    // The fork: a certificate that the true ledger will never hold.
    let forked = fresh(&ana, "forked", &db1)?;
    restore(&mut site, &old)?;
    grow(&site, 20)?;
    ana.offering(&forked, "deploy", &db1)?.run(["true"])?.done()?;
    assert_eq!(status(&db1)?["unshown"], 1);
    // It waits to be shown through a restart as well.
    db1.restart("curfew-agent")?;
    assert_eq!(status(&db1)?["unshown"], 1);
    db1.start("curfew-link")?;
    eventually("the host disputes", || {
        status(&db1).is_ok_and(|status| status["dispute"]["quarrel"] == "stray")
    })?;
    incidents(&site, 1, "a certificate rests on a tree that is not the ledger's")?;
    incidents(&site, 1, "a certificate of our own authority that the ledger never issued")?;
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

/// Adds so many entries to the ledger.
fn grow(site: &Site, entries: usize) -> Result<(), FleetError> {
    for entry in 0..entries {
        let name = format!("spare{entry}");
        site.authority.run(["host", "token", &name])?.done()?;
    }
    Ok(())
}

/// A certificate by the stolen key of the user authority, for this person's key.
fn forge(
    site: &Site,
    who: &Person,
    (login, host): (&str, &Host),
    proof: Option<&str>,
) -> Result<Certified, FleetError> {
    let name = format!("forged-{}-{}", host.name(), proof.is_some());
    let key_path = who.client.make_key(&name, "ed25519")?;
    let authority = site.authority.dir().join("state/user_ca");
    let until = "4102444800";
    let mut args = vec![
        "-q".to_owned(),
        "-s".to_owned(),
        authority.display().to_string(),
        "-I".to_owned(),
        format!("{}/g1/1", who.identity),
        "-z".to_owned(),
        "1".to_owned(),
        "-n".to_owned(),
        format!("{login}@{0},root@{0}", host.name()),
        "-V".to_owned(),
        "-1m:+5m".to_owned(),
        "-O".to_owned(),
        format!("extension:grant-until@curfew.internal={until}"),
        "-O".to_owned(),
        "extension:role@curfew.internal=deploy".to_owned(),
    ];
    if let Some(proof) = proof {
        args.extend(["-O".to_owned(), format!("extension:proof@curfew.internal={proof}")]);
    }
    args.push(key_path.with_extension("pub").display().to_string());
    let made = std::process::Command::new("ssh-keygen").args(&args).status();
    assert!(made.is_ok_and(|status| status.success()), "{args:?}");
    let certificate_path = key_path.with_file_name(format!("{name}-cert.pub"));
    Ok(Certified { key_path, certificate_path })
}

/// The proof in a certificate.
#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn proof(certified: &Certified) -> String {
    let text = fs::read_to_string(&certified.certificate_path).unwrap();
    let bytes = STANDARD.decode(text.split_whitespace().nth(1).unwrap()).unwrap();
    let magic = b"c2sp.org/tlog-proof@v1";
    let at = bytes.windows(magic.len()).position(|window| window == magic).unwrap();
    let (before, after) = bytes.split_at(at);
    let length = u32::from_be_bytes(*before.last_chunk().unwrap());
    String::from_utf8(after.get(..usize::try_from(length).unwrap()).unwrap().to_vec()).unwrap()
}

#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn status(host: &Host) -> Result<Value, FleetError> {
    let said = host.run(["curfew-agent", "status", "--json"])?.ok()?;
    Ok(serde_json::from_str(said.text()).unwrap())
}

/// The open incidents whose sentence has these words, when there are as many.
fn incidents(site: &Site, count: usize, words: &str) -> Result<Vec<Value>, FleetError> {
    eventually(&format!("{count} incidents: {words}"), || {
        let listed = site.authority.run(["incident", "list"]);
        listed.is_ok_and(|listed| listed.text().matches(words).count() >= count)
    })?;
    site.listing(["incident", "list"])
}

/// A copy of the ledger, with nobody writing.
#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn snapshot(site: &mut Site) -> Result<Vec<(PathBuf, Vec<u8>)>, FleetError> {
    site.authority.stop()?;
    let files = fs::read_dir(site.authority.dir().join("state")).unwrap();
    let ledger = files.map(|file| file.unwrap().path()).filter(|path| is_ledger(path));
    let copy = ledger.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    site.authority.serve()?;
    Ok(copy)
}

#[expect(clippy::unwrap_used, reason = "a fault of the test itself ends it")]
fn restore(site: &mut Site, copy: &[(PathBuf, Vec<u8>)]) -> Result<(), FleetError> {
    site.authority.stop()?;
    for file in fs::read_dir(site.authority.dir().join("state")).unwrap() {
        let path = file.unwrap().path();
        if is_ledger(&path) {
            fs::remove_file(&path).unwrap();
        }
    }
    for (path, bytes) in copy {
        fs::write(path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
    }
    site.authority.serve()
}

fn is_ledger(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ledger.db"))
}
