//! The promises on Debian 13, where sshd is three programs: its monitor is `sshd-session`, and who is not let in yet is
//! attended by `sshd-auth`. All other tests run there too: `CURFEW_TEST_DEBIAN=trixie cargo xtask test`.

use serde_json::Value;
use tests::{Debian, Fleet, FleetError, KeySetup, Site, eventually};

#[test]
fn a_session_is_let_in_recorded_refused_to_others_and_ended_whole() -> Result<(), FleetError> {
    let site = Site::on(Fleet::boot_on(Debian::Trixie)?, &KeySetup::default())?;
    let db1 = site.host("db1")?;
    let release = db1.run(["sshd", "-V"])?.stderr;
    assert!(release.contains("OpenSSH_10"), "{release}");
    let status = db1.run(["curfew-agent", "status", "--json"])?.ok()?;
    let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    assert_eq!(status["tier"], "full", "{status}");
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let ops = site.operator("ops@example.com")?;

    // With a terminal, which a recorder relays; and what is run in it.
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("tty; /bin/echo 'wh at' \u{2713}; echo re''ady")?;
    shell.wait_for("\nready")?;
    let terminals = db1.processes_like("curfew-recorder relay")?;
    assert_eq!(terminals.len(), 1, "{terminals:?}");
    let records = ops.records_when(&session, |records| records.iter().any(ran_echo))?;
    assert!(records.iter().any(ran_echo), "{records:?}");

    // Another person's certificate opens nothing there, and the refusal is known with its reason.
    let his = bob.certificate("deploy", &db1)?;
    let stolen = ana.offering(&his, "root", &db1)?.run(["true"])?;
    assert_eq!(stolen.status.code(), Some(255), "{stolen:?}");
    eventually("the refusal is known", || {
        db1.run(["curfew-agent", "status"])
            .is_ok_and(|said| said.stdout.contains("it is for deploy@db1"))
    })?;

    // Detached, deaf to hang-ups, and handed to nobody: all of it ends with the lock; another person's goes on.
    let mut other = bob.shell("deploy", &db1)?;
    shell.enter("setsid sleep 4813 & (trap '' HUP TERM; setsid sleep 4813) & echo le''ft")?;
    shell.wait_for("left")?;
    let said = ops.lock(&["ana@example.com"])?.ok()?;
    assert!(said.text().contains("0 survivors"), "{said:?}");
    shell.wait()?;
    assert!(db1.processes_like("sleep 4813")?.is_empty());
    other.enter("echo st''ill")?;
    other.wait_for("still")?;
    assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded());
    Ok(())
}

#[test]
fn a_grant_ends_on_time_with_its_agent_restarted_and_sshd_is_stock_afterwards()
-> Result<(), FleetError> {
    let site = Site::on(Fleet::boot_on(Debian::Trixie)?, &KeySetup::default())?;
    let db1 = site.fleet.host("db1")?;
    let stock = db1.sh(LOGIN_PATH)?.ok()?.stdout;
    site.join(&db1)?;
    let ana = site.person("ana@example.com")?;
    let short = ["ssh", "deploy@db1", "--for", "10s", "--", "sleep", "4814"];
    let session = ana.client.start("curfew", short)?;
    eventually("it runs", || {
        db1.processes_like("sleep 4814").is_ok_and(|found| !found.is_empty())
    })?;
    db1.kill_unit("curfew-agent", "KILL")?;
    assert!(!session.wait()?.succeeded());
    assert!(db1.processes_like("sleep 4814")?.is_empty());
    db1.run(["curfew-agent", "uninstall"])?.done()?;
    assert_eq!(db1.sh(LOGIN_PATH)?.ok()?.stdout, stock, "sshd and PAM are as they were");
    Ok(())
}

/// An address from which logins fail is turned away by this sshd before any key is looked at: `check` says so where
/// break-glass is to work, and the exemption that it names lets it in.
#[test]
fn failed_logins_do_not_shut_break_glass_out_where_check_was_heeded() -> Result<(), FleetError> {
    let site = Site::on(Fleet::boot_on(Debian::Trixie)?, &KeySetup::default())?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.sh("rm /etc/ssh/sshd_config.d/50-many-logins.conf; systemctl reload ssh")?.done()?;
    let check = || db1.run(["curfew-agent", "check"]).map(|said| said.stdout);
    let finding = "PerSourcePenalties exempts nobody";
    assert!(!check()?.contains(finding), "nobody comes by break-glass here");
    db1.put("/etc/curfew/breakglass.pub", ana.client.public_key()?, 0o644)?;
    let said = check()?;
    assert!(said.contains(finding) && said.contains("PerSourcePenaltyExemptList"), "{said}");

    let key = ana.client.key_path().display().to_string();
    let knock = || -> Result<String, FleetError> {
        let ssh = ana.without_curfew("nobody", &db1)?.with(["-i", &key]);
        Ok(ssh.run(["true"])?.stderr)
    };
    let is_shut_out = |said: &str| !said.contains("Permission denied");
    eventually("the address is turned away", || knock().is_ok_and(|said| is_shut_out(&said)))?;
    db1.put(
        "/etc/ssh/sshd_config.d/50-exempt.conf",
        "PerSourcePenaltyExemptList 10.99.0.0/16\n",
        0o644,
    )?;
    db1.run(["systemctl", "restart", "ssh"])?.done()?;
    assert!(!check()?.contains(finding));
    for _ in 0..8 {
        let said = knock()?;
        assert!(!is_shut_out(&said), "{said}");
    }
    ana.ssh("deploy", &db1).run(["true"])?.done()
}

fn ran_echo(record: &Value) -> bool {
    let expected = serde_json::json!(["/bin/echo", "wh at", "\u{2713}"]);
    record.pointer("/event/exec/arguments") == Some(&expected)
}

/// What a login on this host goes through, in words that change with it.
const LOGIN_PATH: &str = "find /etc/ssh /etc/pam.d -type f | sort | xargs sha256sum; sshd -T; find /etc/systemd/system ! -type d | sort";
