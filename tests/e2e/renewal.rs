//! Certificates of hosts renew themselves, and say what is so now; nobody who logs in notices.

use tests::{FleetError, Host, Person, Site, eventually, eventually_some};

#[test]
fn certificates_renew_themselves_and_no_login_fails() -> Result<(), FleetError> {
    let site = short_lived()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let (offered, identity) = (offered(&ana, &db1)?, db1.read_text(IDENTITY)?);
    let mut logins = 0;
    // 40 s, while somebody logs in all the time.
    while offered.serial == self::offered(&ana, &db1)?.serial
        || identity == db1.read_text(IDENTITY)?
    {
        ana.ssh("deploy", &db1).run(["true"])?.done()?;
        logins += 1;
        assert!(logins < 2000, "nothing was renewed");
    }
    let renewed = self::offered(&ana, &db1)?;
    assert!(renewed.serial > offered.serial);
    assert_eq!(renewed.names, offered.names);
    assert!(logins > 20, "{logins} logins are no proof");
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    eventually("the link speaks with its new certificate", || {
        let said = db1.journal("curfew-link").unwrap_or_default();
        said.contains("the authority has welcomed the next certificate")
    })?;
    assert!(!db1.has("/var/lib/curfew-link/identity.next.json"));
    site.wait_until_connected("db1")?;
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(status.text().contains("SSH certificates end in"), "{status:?}");
    let hosts = site.listing(["host", "list"])?;
    assert_eq!(hosts[0]["certificate_problem"], serde_json::Value::Null, "{hosts:?}");
    Ok(())
}

#[test]
fn other_addresses_are_certified_at_once_and_the_former_no_more() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let address = db1.address().to_string();
    assert_eq!(offered(&ana, &db1)?.names, ["db1", &address]);
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    site.authority
        .run(["host", "set", "db1", "--address", "db1.example.com", "--label", "env=prod"])?
        .done()?;
    eventually("the new names are certified", || {
        offered(&ana, &db1).is_ok_and(|offered| offered.names == ["db1", "db1.example.com"])
    })?;
    // Who still knows the former address is refused: its certificate is for other names now.
    let said = ana.held_certificate("deploy", &db1).run(["true"])?;
    assert!(!said.succeeded() && said.stderr.contains("Host key verification failed"), "{said:?}");
    assert!(said.stderr.contains("name is not a listed principal"), "{said:?}");
    Ok(())
}

#[test]
fn a_changed_host_key_is_certified_and_one_that_the_link_makes_up_is_not() -> Result<(), FleetError>
{
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let before = offered(&ana, &db1)?;
    db1.sh("rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -N '' -t ed25519 -f /etc/ssh/ssh_host_ed25519_key")?
        .done()?;
    eventually("the new key is certified", || {
        offered(&ana, &db1).is_ok_and(|now| now.key != before.key && now.serial > before.serial)
    })?;
    ana.ssh("deploy", &db1).run(["true"])?.done()?;

    // Without the agent's key an ask is the link's at best.
    db1.run(["rm", "/var/lib/curfew/agent_key"])?.done()?;
    db1.restart("curfew-agent")?;
    site.wait_until_connected("db1")?;
    db1.sh("rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -N '' -t ed25519 -f /etc/ssh/ssh_host_ed25519_key")?
        .done()?;
    eventually("the authority refuses a new key without proof", || {
        site.listing(["host", "list"]).is_ok_and(|hosts| {
            hosts[0]["certificate_problem"]
                .as_str()
                .is_some_and(|said| said.contains("is new, and the ask is not signed"))
        })
    })?;
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded(), "a plain host key was believed");
    Ok(())
}

#[test]
fn who_is_locked_is_not_renewed_until_the_lock_is_lifted() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let before = offered(&ana, &db1)?;
    ops.lock(&["host", "db1"])?.done()?;
    db1.sh("rm /var/lib/curfew/hostcert/*")?.done()?;
    db1.restart("curfew-agent")?;
    let said = eventually_some("the authority refuses", || {
        let status = site.authority.run(["status"]).ok()?;
        status.text().contains("host db1 is locked: ").then_some(status)
    })?;
    assert!(
        said.text().contains("the SSH certificates of host db1: the authority refused"),
        "{said:?}"
    );
    ops.unlock(&["host", "db1"])?;
    db1.restart("curfew-agent")?;
    eventually("it is certified again", || {
        offered(&ana, &db1).is_ok_and(|now| now.serial > before.serial)
    })
}

#[test]
fn a_newer_sshd_is_reloaded_and_its_sessions_stay() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    // An sshd that says it is 9.9: from 9.8 on the listener keeps the certificates that it began with.
    db1.sh("mv /usr/sbin/sshd /usr/sbin/sshd.real")?.done()?;
    db1.put("/usr/sbin/sshd", NEWER, 0o755)?;
    let mut shell = ana.shell("deploy", &db1)?;
    let before = offered(&ana, &db1)?;
    site.authority
        .run([
            "host",
            "set",
            "db1",
            "--address",
            &db1.address().to_string(),
            "--address",
            "db1.example.com",
        ])?
        .done()?;
    eventually("sshd was reloaded", || {
        db1.journal("curfew-agent").is_ok_and(|said| said.contains("sshd was reloaded"))
    })?;
    eventually("the new names are offered", || {
        offered(&ana, &db1).is_ok_and(|now| now.serial > before.serial && now.names.len() == 3)
    })?;
    shell.enter("echo al''ive")?;
    shell.wait_for("alive")?;
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

#[test]
fn a_removed_host_gets_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let before = offered(&ana, &db1)?;
    site.authority.run(["host", "remove", "db1"])?.done()?;
    db1.sh("rm /var/lib/curfew/hostcert/*")?.done()?;
    db1.restart("curfew-agent")?;
    db1.restart("curfew-link")?;
    eventually("the host is refused", || {
        db1.journal("curfew-link").is_ok_and(|said| said.contains("the authority refused"))
    })?;
    assert!(!db1.sh("ls /var/lib/curfew/hostcert")?.ok()?.text().contains("cert"));
    assert!(before.serial > 0);
    assert!(offered(&ana, &db1).is_err(), "nobody certified it");
    Ok(())
}

/// What a host's ed25519 certificate says, as a client is offered it.
#[derive(Debug, PartialEq, Eq)]
struct Offered {
    serial: u64,
    key: String,
    names: Vec<String>,
}

fn offered(who: &Person, host: &Host) -> Result<Offered, FleetError> {
    let script = format!(
        "ssh-keyscan -c -t ed25519 {} 2>/dev/null | sed 's/.* /ssh-ed25519-cert-v01@openssh.com /' | ssh-keygen -L -f -",
        host.address()
    );
    let said = who.client.run("sh", ["-c", &script])?.ok()?;
    let after = |start: &str| {
        let found = said.text().lines().find_map(|line| line.trim().strip_prefix(start));
        found.unwrap_or_default().trim().to_owned()
    };
    let names = said.text().lines().skip_while(|line| !line.contains("Principals:")).skip(1);
    let names = names.take_while(|line| !line.contains("Critical Options:"));
    Ok(Offered {
        serial: after("Serial:").parse().unwrap_or_default(),
        key: after("Public key:"),
        names: names.map(|name| name.trim().to_owned()).collect(),
    })
}

/// A site whose hosts renew all that they have every 40 s.
fn short_lived() -> Result<Site, FleetError> {
    Site::open_with("host_certificate_lifetime = \"1m\"\nlink_certificate_lifetime = \"1m\"")
}

const IDENTITY: &str = "/var/lib/curfew-link/identity.json";
const NEWER: &str = r#"#!/bin/sh
case "$1" in -V) echo 'OpenSSH_9.9p1, a test' >&2; exit 0;; esac
exec /usr/sbin/sshd.real "$@"
"#;
