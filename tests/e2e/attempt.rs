//! Denied attempts: each is known at the authority with whose certificate it was and why, wherever it ended.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually_some};

#[test]
fn each_door_that_refuses_is_told_of_and_everybody_sees_their_own() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    // The host's gate: a certificate for another place.
    let mine = ana.certificate("deploy", &db1)?;
    assert!(!ana.offering(&mine, "deploy", &db2)?.run(["true"])?.succeeded());
    let gate = attempt(&ana, |row| row["by"] == "gate" && row["host"] == "db2")?;
    assert_eq!((&gate["identity"], &gate["count"]), (&"ana@example.com".into(), &1.into()));
    assert_eq!((&gate["login"], &gate["within"]), (&"deploy".into(), &true.into()));
    assert!(gate["reason"].as_str().is_some_and(|why| why.contains("it is for deploy@db1")));
    assert!(gate["remote"].as_str().is_some_and(|from| from.starts_with("10.")), "{gate}");

    // The authority: no role opens that account.
    assert_eq!(ana.curfew(["ssh", "root@db1", "--", "true"])?.status.code(), Some(77));
    let authority = attempt(&ana, |row| row["by"] == "authority")?;
    assert_eq!((&authority["login"], &authority["host"]), (&"root".into(), &"db1".into()));

    // sshd by itself: a certificate that stands on its list, and one that is bound to other networks.
    let serial = gate["serial"].as_u64().unwrap_or_default().to_string();
    let newest = krl(&db1)?;
    ops.lock(&["serial", &serial])?.done()?;
    eventually_some("the list is read", || krl(&db1).ok().filter(|list| *list > newest))?;
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    let revoked = attempt(&ana, |row| row["by"] == "sshd" && row["host"] == "db1")?;
    assert_eq!(revoked["serial"].to_string(), serial, "{revoked}");
    assert!(revoked["reason"].as_str().is_some_and(|why| why.contains("list of revoked keys")));
    assert_eq!(revoked["login"], "deploy", "{revoked}");

    let said = ana.curfew(["ssh", "--from", "203.0.113.0/24", "deploy@db2", "--", "true"])?;
    assert_eq!(said.status.code(), Some(255), "{said:?}");
    assert!(said.stderr.contains("db2 refused certificate"), "{said:?}");
    assert!(said.stderr.contains("does not open this host from there"), "{said:?}");

    assert_eq!(bob.listing(["attempts"])?.as_array().map(Vec::len), Some(0));
    let all = ops.listing(["attempts", "--identity", "ana@example.com"])?;
    assert_eq!(all.as_array().map(Vec::len), Some(4), "{all}");
    let there = ana.listing(["attempts", "--host", "db2", "--since", "1h"])?;
    assert_eq!(there.as_array().map(Vec::len), Some(2), "{there}");
    let table = ops.curfew(["attempts"])?.ok()?;
    assert!(table.stdout.contains("list of revoked keys"), "{table:?}");
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(status.stdout.contains("it stands on the list of revoked keys"), "{status:?}");
    Ok(())
}

#[test]
fn what_repeats_is_counted_and_nothing_is_lost_of_the_count() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    for _ in 0..TIMES {
        assert!(!ana.offering(&mine, "app", &db1)?.run(["true"])?.succeeded());
    }
    let counted = attempt(&ana, |row| row["count"] == TIMES && row["login"] == "app")?;
    assert_eq!(counted["by"], "gate");
    assert_eq!(ana.listing(["attempts"])?.as_array().map(Vec::len), Some(1));
    // The agent dies with counts that it has not written yet: they are written when it is asked to stop.
    assert!(!ana.offering(&mine, "app", &db1)?.run(["true"])?.succeeded());
    assert!(!ana.offering(&mine, "app", &db1)?.run(["true"])?.succeeded());
    db1.restart("curfew-agent")?;
    attempt(&ana, |row| row["count"] == TIMES + 2)?;
    Ok(())
}

#[test]
fn a_certificate_that_is_shown_without_its_key_is_told_of() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    // The key lies in an agent that asks before it signs, and nobody answers.
    let agent = ana.client.agent()?;
    let socket = agent.socket_path().display().to_string();
    ana.client
        .run(
            "env",
            [
                &format!("SSH_AUTH_SOCK={socket}"),
                "ssh-add",
                "-q",
                "-c",
                &mine.key_path.display().to_string(),
            ],
        )?
        .done()?;
    let public = mine.key_path.with_extension("public");
    let shown =
        ana.client.run("ssh-keygen", ["-y", "-f", &mine.key_path.display().to_string()])?.ok()?;
    std::fs::write(&public, shown.stdout).expect("it can be written");
    let said = ana
        .without_curfew("deploy", &db1)?
        .with([
            "-o".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "-o".to_owned(),
            format!("IdentityAgent={socket}"),
            "-o".to_owned(),
            format!("CertificateFile={}", mine.certificate_path.display()),
            "-i".to_owned(),
            public.display().to_string(),
        ])
        .run(["true"])?;
    assert!(!said.succeeded(), "{said:?}");
    let told = attempt(&ana, |row| row["by"] == "unfinished")?;
    assert!(told["serial"].as_u64().is_some_and(|serial| serial > 0), "{told}");
    Ok(())
}

#[test]
fn no_more_sessions_than_the_role_allows_are_let_in_at_once() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    site.set_roles(
        "[role.few]\nmembers = [\"ana@example.com\", \"bob@example.com\"]\nlogins = [\"deploy\"]\n\
         hosts = [\"env=prod\"]\nconcurrency = 2\n",
    )?;
    // Five at once: whichever come first have the two places, and no third is let in between question and answer.
    let mut jobs: Vec<_> = (0..5)
        .map(|_| ana.ssh("deploy", &db1).start(["echo in; exec sleep 600"]))
        .collect::<Result<_, _>>()?;
    let told = attempt(&ana, |row| row["reason"].as_str().is_some_and(|why| why.contains(FULL)))?;
    assert_eq!((&told["by"], &told["identity"]), (&"gate".into(), &"ana@example.com".into()));
    eventually_some("three are refused", || {
        let rows = ana.listing(["attempts"]).ok()?;
        let counts = rows.as_array()?.iter().filter_map(|row| row["count"].as_u64());
        (counts.sum::<u64>() == 3).then_some(())
    })?;
    assert_eq!(db1.processes_like("sleep 600")?.len(), 2);
    // Somebody else has places of their own, and one that is free is given again.
    bob.ssh("deploy", &db1).run(["true"])?.done()?;
    db1.sh("pkill -x sleep || true")?.done()?;
    jobs.clear();
    eventually_some("there is a place again", || {
        let status = db1.run(["curfew-agent", "sessions", "--json"]).ok()?.ok().ok()?;
        (status.text() == "[]").then_some(())
    })?;
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

/// Waits until the person sees such an attempt.
fn attempt(who: &Person, is_it: impl Fn(&Value) -> bool) -> Result<Value, FleetError> {
    eventually_some("the attempt is known", || {
        let rows = who.listing(["attempts"]).ok()?;
        rows.as_array()?.iter().find(|row| is_it(row)).cloned()
    })
}

/// The version of the list that the host's sshd reads.
fn krl(host: &Host) -> Result<u64, FleetError> {
    let status = host.run(["curfew-agent", "status", "--json"])?.ok()?;
    let status: Value = serde_json::from_str(status.text()).unwrap_or_default();
    Ok(status.pointer("/krl/version").and_then(Value::as_u64).unwrap_or_default())
}

const TIMES: u64 = 12;
const FULL: &str = "2 of 2 sessions under the role few on db1";
