//! Who gets in, by stock `ssh` through stock sshd, and what is known of it afterwards.

use serde_json::Value;
use tests::{FleetError, Host, Site, eventually};

#[test]
fn a_person_gets_in_on_two_hosts_and_is_listed() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let job = ana.ssh("deploy", &db2).start(["sleep", "600"])?;
    for host in [&db1, &db2] {
        let session = site.session(&ana, host)?;
        assert_eq!((&session["login"], &session["role"]), (&"deploy".into(), &"deploy".into()));
        let key_id = format!("\"ana@example.com/g{}/{}\"", session["grant"], session["serial"]);
        let certificate = ana.certificate("deploy", host)?.text()?;
        assert!(certificate.contains(&key_id), "{session} is not of {certificate}");
        assert!(certificate.contains(&format!("deploy@{}", host.name())), "{certificate}");
    }
    assert_eq!(ana.listing(["sessions"])?.as_array().map(Vec::len), Some(2));
    let session = site.session(&ana, &db1)?;
    shell.enter("exit")?;
    let ended = site.ended(&session)?;
    assert_eq!(ended["ended"]["reason"], "left");
    drop(job);
    Ok(())
}

#[test]
fn everybody_sees_their_own_sessions_and_an_operator_all() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    let jobs = [&ana, &bob].map(|who| who.ssh("deploy", &db1).start(["sleep", "600"]));
    let (his, hers) = (site.session(&bob, &db1)?, site.session(&ana, &db1)?);
    assert_eq!(names(&ana.listing(["sessions"])?), ["ana@example.com"]);
    assert_eq!(names(&bob.listing(["sessions"])?), ["bob@example.com"]);
    assert_eq!(names(&ops.listing(["sessions"])?).len(), 2);
    assert!(ana.records(&hers).is_ok() && ana.records(&his).is_err());
    drop(jobs);
    Ok(())
}

#[test]
fn a_certificate_opens_its_login_on_its_host_and_nothing_else() -> Result<(), FleetError> {
    let site = Site::open()?;
    let [db1, db2] = site.hosts(["db1", "db2"])?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    assert_eq!(ana.offering(&mine, "deploy", &db1)?.run(["whoami"])?.ok()?.text(), "deploy");
    for (login, host) in [("deploy", &db2), ("app", &db1), ("root", &db1), ("app", &db2)] {
        let said = ana.offering(&mine, login, host)?.run(["true"])?;
        assert_eq!(said.status.code(), Some(255), "{login} on {}: {said:?}", host.name());
    }
    refusal_is_known(&db2, "it is for deploy@db1")?;
    refusal_is_known(&db1, "it is for deploy@db1")
}

#[test]
fn a_certificate_that_is_not_right_opens_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let until = "-Oextension:grant-until@curfew.internal=4000000000";
    let role = "-Oextension:role@curfew.internal=deploy";
    let (mine, now) =
        (["-I", "ana@example.com/g1/1", "-z", "1"], ["-n", "deploy@db1", "-V", "-1m:+1h"]);
    let with = |rest: &[&'static str]| [&mine, rest].concat();
    let table: [(&str, Vec<&str>); 7] = [
        ("it has expired", with(&["-n", "deploy@db1", "-V", "-2h:-1h", until, role])),
        ("it is not valid yet", with(&["-n", "deploy@db1", "-V", "+1h:+2h", until, role])),
        ("it names no principal", with(&["-V", "-1m:+1h", until, role])),
        ("its role@curfew.internal extension is missing", [&mine[..], &now, &[until]].concat()),
        (
            "its grant-until@curfew.internal extension is missing",
            [&mine[..], &now, &[role]].concat(),
        ),
        ("its key id is not", [&["-I", "ana", "-z", "1"][..], &now, &[until, role]].concat()),
        ("disagree", [&["-I", mine[1], "-z", "2"][..], &now, &[until, role]].concat()),
    ];
    for (why, args) in table {
        let forged = site.forge(&ana, &args)?;
        let said = ana.offering(&forged, "deploy", &db1)?.run(["true"])?;
        assert_eq!(said.status.code(), Some(255), "{why}: {said:?}");
        refusal_is_known(&db1, why)?;
    }
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_opens_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let foreign = ana.client.make_key("foreign", "ed25519")?;
    let forged =
        ana.sign(&foreign, &["-I", "ana@example.com/g1/1", "-z", "1", "-n", "deploy@db1"])?;
    assert_eq!(ana.offering(&forged, "deploy", &db1)?.run(["true"])?.status.code(), Some(255));
    assert!(site.listing(["sessions"])?.is_empty());
    Ok(())
}

#[test]
fn a_login_with_a_plain_key_goes_on_as_before_and_is_recorded() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.authorize("app", &ana.client.public_key()?)?;
    let key = ana.client.key_path().display().to_string();
    let plain = ana.without_curfew("app", &db1)?.with(["-i", &key]);
    assert_eq!(plain.run(["whoami"])?.ok()?.text(), "app");
    assert!(db1.journal("curfew-agent")?.contains("a login that is not under our authority"));
    assert!(site.listing(["sessions"])?.is_empty());
    Ok(())
}

#[test]
fn a_host_is_believed_by_its_certificate_and_not_without() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let ssh = ana.ssh("deploy", &db1).with(["-o", "BatchMode=yes"]);
    assert!(!ssh.run(["true"])?.ok()?.stderr.contains("authenticity"));
    assert!(!ana.client.ssh_dir().join("known_hosts").exists(), "no key had to be believed");
    db1.sh("cd /etc/ssh; rm ssh_host_*; ssh-keygen -qA; \
         sed -i /HostCertificate/d sshd_config sshd_config.d/*; systemctl restart ssh")?
        .done()?;
    let said = ssh.run(["true"])?;
    assert!(said.stderr.contains("Host key verification failed"), "{said:?}");
    Ok(())
}

#[test]
fn nobody_without_a_role_gets_a_certificate() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let eve = site.person("eve@example.com")?;
    assert_eq!(eve.listing(["hosts"])?.as_array().map(Vec::len), Some(0));
    let said = eve.curfew(["ssh", "deploy@db1", "--", "true"])?;
    assert!(!said.succeeded() && said.stderr.contains("db1"), "{said:?}");
    assert!(!eve.ssh("deploy", &db1).run(["true"])?.succeeded());
    Ok(())
}

fn names(sessions: &Value) -> Vec<&str> {
    let sessions = sessions.as_array().map(Vec::as_slice).unwrap_or_default();
    sessions.iter().filter_map(|session| session["identity"].as_str()).collect()
}

/// There is no listing of refusals yet; the host's journal has each with its reason.
fn refusal_is_known(host: &Host, why: &str) -> Result<(), FleetError> {
    eventually(&format!("{} says: {why}", host.name()), || {
        host.journal("curfew-agent").is_ok_and(|journal| {
            journal.lines().any(|line| line.contains("refused a login") && line.contains(why))
        })
    })
}
