//! A host locks out by itself: by a file, or by closing an account, with nobody else within reach.

use tests::{FleetError, Host, Person, Site, Terminal, eventually};

#[test]
fn a_file_on_the_host_locks_with_the_authority_gone() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let (ana, bob) = (site.person("ana@example.com")?, site.person("bob@example.com")?);
    let (hers, his) = (ana.certificate("deploy", &db1)?, bob.certificate("deploy", &db1)?);
    let (mut shell, mut other) = (ana.shell("deploy", &db1)?, bob.shell("deploy", &db1)?);
    let session = site.session(&ana, &db1)?;
    db1.cut_link()?;
    site.authority.stop()?;

    db1.run(["mkdir", "-m", "755", "-p", "/etc/curfew/locks.d"])?.done()?;
    db1.put("/etc/curfew/locks.d/ana.toml", LOCK, 0o644)?;
    shell.wait()?;
    assert!(!ana.offering(&hers, "deploy", &db1)?.run(["true"])?.succeeded());
    bob.offering(&his, "deploy", &db1)?.run(["true"])?.done()?;
    assert!(other.is_running());
    let status = db1.run(["curfew-agent", "status"])?.ok()?;
    assert!(
        status.text().contains("identity ana@example.com") && status.text().contains("ana.toml")
    );

    // A broken file is said, and changes nothing: nor does a restart in which nobody could read it.
    db1.put(
        "/etc/curfew/locks.d/ana.toml",
        "identity = \"ana@example.com\"\nreson = \"x\"\n",
        0o644,
    )?;
    eventually("the broken file is named", || {
        db1.run(["curfew-agent", "status"])
            .is_ok_and(|said| said.text().contains("line 2: there is no `reson`"))
    })?;
    assert!(!db1.run(["curfew-agent", "check"])?.succeeded());
    assert!(!ana.offering(&hers, "deploy", &db1)?.run(["true"])?.succeeded());
    db1.restart("curfew-agent")?;
    assert!(!ana.offering(&hers, "deploy", &db1)?.run(["true"])?.succeeded());
    // Nor does one that others could have written.
    db1.put("/etc/curfew/locks.d/bob.toml", LOCK.replace("ana@", "bob@"), 0o666)?;
    eventually("the open file is named", || {
        db1.run(["curfew-agent", "status"])
            .is_ok_and(|said| said.text().contains("bob.toml: can be written"))
    })?;
    assert!(other.is_running());

    db1.run(["rm", "-r", "/etc/curfew/locks.d"])?.done()?;
    eventually("the lock is lifted", || {
        let again = ana.offering(&hers, "deploy", &db1).and_then(|ssh| ssh.run(["true"]));
        again.is_ok_and(|said| said.succeeded())
    })?;

    site.authority.serve()?;
    db1.mend_link()?;
    let ended = site.ended(&session)?;
    let reason = &ended["ended"]["reason"]["locked_here"];
    assert_eq!(reason["reason"], "her laptop was stolen", "{ended}");
    assert_eq!(ended["ended"]["survivors"], 0, "{ended}");
    Ok(())
}

#[test]
fn an_account_that_is_closed_ends_its_sessions_and_one_of_keys_alone_does_not()
-> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    // The accounts of the site have no password, and open all the same.
    for (close, open) in CLOSED {
        db1.run(["usermod", "-p", "*", "deploy"])?.done()?;
        let (mut shell, job) = begin(&ana, &db1)?;
        eventually("the agent knows the account", || {
            db1.read_text("/var/lib/curfew/accounts.json").is_ok_and(|kept| kept.contains("deploy"))
        })?;
        db1.run(close.split(' '))?.done()?;
        shell.wait()?;
        assert!(shell.screen().contains("the account"), "{close}: {}", shell.screen());
        eventually(close, || db1.processes_like("sleep 77").is_ok_and(|left| left.is_empty()))?;
        drop(job);
        assert!(!ana.ssh("deploy", &db1).run(["true"])?.succeeded(), "{close}");
        db1.run(open.split(' '))?.done()?;
        eventually(open, || {
            ana.ssh("deploy", &db1).run(["true"]).is_ok_and(|said| said.succeeded())
        })?;
    }
    let (mut shell, _job) = begin(&ana, &db1)?;
    // It says that somebody is logged in, and does it.
    drop(db1.run(["userdel", "-f", "deploy"])?);
    shell.wait()?;
    eventually("who is removed is gone", || {
        db1.processes_like("sleep 77").is_ok_and(|left| left.is_empty())
    })
}

/// A shell, and a process that does not mind hanging up.
fn begin(who: &Person, host: &Host) -> Result<(Terminal, tests::Output), FleetError> {
    let shell = who.shell("deploy", host)?;
    let job =
        who.ssh("deploy", host).run(["setsid -f sleep 77 </dev/null >/dev/null 2>&1"])?.ok()?;
    Ok((shell, job))
}

const LOCK: &str = "identity = \"ana@example.com\"\nreason = \"her laptop was stolen\"\n";
const CLOSED: [(&str, &str); 3] = [
    ("usermod -L deploy", "usermod -p * deploy"),
    ("usermod -e 1 deploy", "chage -E -1 deploy"),
    ("usermod -s /usr/sbin/nologin deploy", "usermod -s /bin/bash deploy"),
];
