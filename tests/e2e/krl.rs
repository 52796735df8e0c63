//! The list of revoked keys on real hosts: what is locked is refused by sshd itself, with the agent out of the way, and
//! nobody is locked out by the list.
//!
//! On each host a second, stock sshd listens on port 2222: it trusts the authority, reads the list that the agent keeps,
//! and knows no agent, no PAM and no principals command.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually, eventually_some};

#[test]
fn what_is_locked_is_refused_by_a_stock_sshd_on_every_host() -> Result<(), FleetError> {
    let site = Site::open()?;
    let hosts = site.hosts(["db1", "db2"])?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;
    for host in &hosts {
        stock_sshd(host)?;
        // A key of hers that somebody put where no certificate is needed.
        host.authorize("app", &ana.client.public_key()?)?;
    }
    let [db1, db2] = &hosts;
    for (person, host) in [(&ana, db1), (&ana, db2), (&bob, db1)] {
        assert!(enters(person, host)?, "{}", host.journal("stock-sshd")?);
    }
    assert!(enters_by_key(&ana, db1)?);
    let before = everywhere(&site, 0)?;

    ops.lock(&["ana@example.com"])?.done()?;
    let locked = everywhere(&site, before)?;
    for host in &hosts {
        host.stop("curfew-agent")?;
        assert!(!enters(&ana, host)?, "refused by sshd alone");
        assert!(!enters_by_key(&ana, host)?, "her key too");
        host.run(["ssh-keygen", "-Q", "-l", "-f", LIST])?.done()?;
    }
    assert!(enters(&bob, db1)?, "and nobody else");
    let behind = site.authority.run(["status"])?.ok()?;
    assert!(behind.text().contains(&format!("KRL {locked}: 2 of 2 hosts")), "{behind:?}");
    for host in &hosts {
        host.start("curfew-agent")?;
        site.wait_until_connected(host.name())?;
    }

    ops.unlock(&["ana@example.com"])?;
    everywhere(&site, locked)?;
    assert!(enters(&ana, db1)? && enters_by_key(&ana, db2)?, "unlocked is un-revoked");
    Ok(())
}

#[test]
fn each_axis_alone_keeps_a_certificate_out_without_the_agent() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    stock_sshd(&db1)?;
    assert!(enters(&ana, &db1)?);
    let mut newest = everywhere(&site, 0)?;
    let shown = db1.run(["ssh-keygen", "-l", "-f", "/etc/curfew/user_ca.pub"])?.ok()?;
    let authority = shown.text().split(' ').nth(1).unwrap_or_default().to_owned();
    let said = ana
        .client
        .run("ssh-keygen", ["-L".as_ref(), "-f".as_ref(), held(&ana, &db1).as_os_str()])?;
    let line = |name: &str| {
        let found = said.stdout.lines().find_map(|line| line.trim().strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    let serial = line("Serial:");
    let key = line("Public key:").split(' ').nth(1).unwrap_or_default().to_owned();
    // The authority's own key is given up by rotation alone (rotation.rs), by whatever name it goes.
    let said_no = ops.lock(&["key", &authority])?;
    assert!(said_no.stderr.contains("keys retire --compromised"), "{said_no:?}");
    for (kind, value) in [("serial", &serial), ("key", &key)] {
        ops.lock(&[kind, value])?.done()?;
        newest = everywhere(&site, newest)?;
        assert!(!enters(&ana, &db1)?, "{kind} {value}: {}", said.stdout);
        ops.unlock(&[kind, value])?;
        newest = everywhere(&site, newest)?;
        assert!(enters(&ana, &db1)?, "{kind} {value} is lifted");
    }
    Ok(())
}

#[test]
fn whoever_spoils_the_file_finds_it_put_back_and_recorded() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, ops) = (site.person("ana@example.com")?, site.operator("ops@example.com")?);
    let before = everywhere(&site, 0)?;
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    ops.lock(&["serial", "4242"])?.done()?;
    let version = everywhere(&site, before)?;
    let good = db1.read(LIST)?;
    for (deed, found) in [
        (format!("rm {LIST}"), "could not be read"),
        (format!(": > {LIST}"), "was empty"),
        (format!("echo junk > {LIST}"), "was damaged"),
    ] {
        db1.sh(&deed)?.done()?;
        eventually("the list is back", || db1.read(LIST).is_ok_and(|there| there == good))?;
        eventually("it is said", || {
            db1.journal("curfew-agent").is_ok_and(|journal| journal.contains(found))
        })?;
        ana.ssh("deploy", &db1).run(["true"])?.done()?;
    }
    // The kept copy of the authority's list damaged, the agent killed: the list is asked for again.
    db1.sh("truncate -s 20 /var/lib/curfew/krl/authority.krl")?.done()?;
    db1.kill_unit("curfew-agent", "KILL")?;
    eventually("the list is whole again", || {
        db1.read("/var/lib/curfew/krl/authority.krl").is_ok_and(|kept| kept == good)
            && db1.read(LIST).is_ok_and(|there| there == good)
    })?;
    assert_eq!(everywhere(&site, version - 1)?, version);
    Ok(())
}

#[test]
fn a_list_that_the_host_had_before_stays_in_force_and_is_read_again() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.fleet.host("db1")?;
    site.prepare(&db1)?;
    let ana = site.person("ana@example.com")?;
    let key = ana.client.public_key()?;
    db1.authorize("app", &key)?;
    db1.put("/etc/ssh/banned", format!("# nobody yet\n{key}\n"), 0o600)?;
    db1.put("/etc/ssh/sshd_config.d/50-banned.conf", "RevokedKeys /etc/ssh/banned\n", 0o600)?;
    site.enrol(&db1, &site.token(&db1)?)?.done()?;
    let said = site.install(&db1)?;
    assert!(said.text().contains("what /etc/ssh/banned revokes stays revoked"), "{said:?}");
    site.wait_until_connected("db1")?;
    let effective = db1.run(["/usr/sbin/sshd", "-T"])?.ok()?;
    assert!(effective.text().contains(&format!("revokedkeys {LIST}")), "{effective:?}");
    everywhere(&site, 0)?;
    stock_sshd(&db1)?;
    assert!(!enters_by_key(&ana, &db1)?, "revoked by the list from before");
    db1.put("/etc/ssh/banned", "# nobody\n", 0o600)?;
    eventually("it is read again", || enters_by_key(&ana, &db1).unwrap_or(false))?;
    db1.put("/etc/ssh/banned", format!("{key}\n"), 0o600)?;
    eventually("it is read again", || !enters_by_key(&ana, &db1).unwrap_or(true))?;
    db1.run(["curfew-agent", "uninstall"])?.done()?;
    let effective = db1.run(["/usr/sbin/sshd", "-T"])?.ok()?;
    assert!(effective.text().contains("revokedkeys /etc/ssh/banned"), "{effective:?}");
    assert!(!db1.has(LIST));
    Ok(())
}

#[test]
fn a_host_from_before_lists_says_so_and_catches_up() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let newest = everywhere(&site, 0)?;
    // As the version before left it: no folder, and sshd is told of none.
    let drop_in = db1.read_text("/etc/ssh/sshd_config.d/00-curfew.conf")?;
    let former: String = drop_in
        .lines()
        .filter(|line| !line.starts_with("RevokedKeys"))
        .map(|line| format!("{line}\n"))
        .collect();
    db1.put("/etc/ssh/sshd_config.d/00-curfew.conf", former, 0o644)?;
    db1.stop("curfew-agent")?;
    db1.sh("rm -r /var/lib/curfew/krl")?.done()?;
    db1.start("curfew-agent")?;
    let host = eventually_some("the host says what is wrong", || {
        let host = site.listing(["host", "list"]).ok()?.remove(0);
        let trouble = host["krl"]["trouble"].as_str()?.to_owned();
        (host["krl"]["version"].as_u64() == Some(newest)).then_some(trouble)
    })?;
    assert!(host.contains("run `curfew-agent install`"), "{host}");
    let check = db1.run(["curfew-agent", "check"])?;
    assert!(check.stdout.contains("RevokedKeys is none"), "{check:?}");
    site.install(&db1)?.done()?;
    assert_eq!(everywhere(&site, newest - 1)?, newest);
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(status.text().contains(&format!("KRL        {newest}, read by sshd")), "{status:?}");
    Ok(())
}

/// Waits until every host has a list newer than `before`, the newest there is; gives its version.
fn everywhere(site: &Site, before: u64) -> Result<u64, FleetError> {
    eventually_some("every host has the newest list", || {
        let status = site.authority.run(["status", "--json"]).ok()?.ok().ok()?;
        let status: Value = serde_json::from_str(status.text()).ok()?;
        let krl = status.get("krl")?;
        let version = krl.get("version")?.as_u64()?;
        (version > before && krl.get("current")? == krl.get("hosts")?).then_some(version)
    })
}

/// A second sshd, as a machine without the agent has it, but for the list.
fn stock_sshd(host: &Host) -> Result<(), FleetError> {
    let principals: String =
        ["deploy", "app"].map(|login| format!("{login}@{}\n", host.name())).concat();
    host.put("/etc/ssh/stock_principals", principals, 0o644)?;
    let config = format!(
        "Port 2222\nPidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         HostKey /etc/ssh/ssh_host_ed25519_key\nTrustedUserCAKeys /etc/curfew/user_ca.pub\n\
         AuthorizedPrincipalsFile /etc/ssh/stock_principals\nRevokedKeys {LIST}\nLogLevel VERBOSE\n"
    );
    host.put("/etc/ssh/stock_sshd_config", config, 0o644)?;
    // Without PAM, sshd takes an account that never had a password for a locked one.
    host.sh("usermod -p '*' deploy && usermod -p '*' app")?.done()?;
    let run = "systemd-run -q --unit stock-sshd /usr/sbin/sshd -D -e -f /etc/ssh/stock_sshd_config";
    host.sh(run)?.done()?;
    eventually("the stock sshd listens", || {
        host.sh("ss -ltn | grep -q :2222").is_ok_and(|said| said.succeeded())
    })
}

/// Where the person's certificate for the host was put aside.
fn held(person: &Person, host: &Host) -> std::path::PathBuf {
    person.client.ssh_dir().join(format!("deploy@{}-cert.pub", host.address()))
}

/// Whether the certificate that the person got first opens the stock sshd.
fn enters(person: &Person, host: &Host) -> Result<bool, FleetError> {
    let certificate = held(person, host);
    if !certificate.exists() {
        person.certificate("deploy", host)?;
    }
    let key = certificate.to_string_lossy().replace("-cert.pub", "");
    let more = [
        "-i".to_owned(),
        key,
        "-o".to_owned(),
        format!("CertificateFile={}", certificate.display()),
    ];
    tries(person, ("deploy", host), &more)
}

/// Whether the person's own key opens `app` there, which names it.
fn enters_by_key(person: &Person, host: &Host) -> Result<bool, FleetError> {
    let key = person.client.key_path().display().to_string();
    tries(person, ("app", host), &["-i".to_owned(), key])
}

fn tries(
    person: &Person,
    (login, host): (&str, &Host),
    more: &[String],
) -> Result<bool, FleetError> {
    let target = format!("{login}@{}", host.address());
    let fixed = [
        "-F",
        "/dev/null",
        "-p",
        "2222",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "IdentityAgent=none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ];
    let words = fixed.into_iter().map(str::to_owned).chain(more.iter().cloned());
    let said = person.client.run("ssh", words.chain([target, "echo in".to_owned()]))?;
    let is_in = said.stdout.contains("in");
    assert!(is_in || said.stderr.contains("Permission denied"), "{said:?}");
    Ok(is_in)
}

const LIST: &str = "/var/lib/curfew/krl/revoked_keys";
