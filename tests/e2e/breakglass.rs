//! In, when everything else is down: no authority, no link, no name service; with the agent alive and with it dead. And nobody
//! else comes in by that door.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tests::{Client, FleetError, Host, Person, Site, Ssh, Stopwatch, eventually, eventually_some};

/// Custodians at one table, a folder each, and what they signed.
struct Table {
    seat: Client,
}

impl Table {
    /// Makes a group of three of whom two sign.
    fn with_group(site: &Site, name: &str) -> Result<Self, FleetError> {
        let table = Self { seat: site.fleet.client(name)? };
        fs::write(table.path("passphrase"), "a passphrase for tests\n").map_err(broken)?;
        table.sh("chmod 600 passphrase; mkdir stick")?;
        let line = "curfew breakglass keygen --name $1 --custodian ann --custodian bob --custodian cem --threshold 2 \
            --expires 2090-01-01 --share $1.share --group group.txt --exchange stick --trust-exchange \
            --passphrase-file passphrase";
        table.all_at_once(&["ann", "bob", "cem"], line)?;
        table.sh("rm stick/*")?;
        Ok(table)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.seat.home_dir().join(name)
    }

    fn sh(&self, script: &str) -> Result<String, FleetError> {
        Ok(self.seat.run("bash", ["-euc", script])?.ok()?.stdout)
    }

    /// A line for each of them at the same time.
    fn all_at_once(&self, names: &[&str], line: &str) -> Result<(), FleetError> {
        let running = names
            .iter()
            .map(|name| self.seat.start("bash", ["-euc", line, "custodian", name]))
            .collect::<Result<Vec<_>, _>>()?;
        running.into_iter().try_for_each(|one| one.wait()?.done())
    }

    /// Asks, and has ann and cem sign: for `secs` more seconds of a window that began earlier, of which two thirds are left
    /// when it is signed. Where signing takes long, once more, for longer.
    fn certificate(&self, host: &Host, secs: u64, more: &str) -> Result<(), FleetError> {
        let mut asked = secs;
        for _ in 0..TRIES {
            let watch = Stopwatch::start();
            self.sign(host, asked, more)?;
            let took = watch.elapsed().as_secs().saturating_add(1);
            if asked.saturating_sub(took) >= secs.saturating_mul(2) / 3 {
                return Ok(());
            }
            asked = secs.saturating_add(took);
        }
        Err(FleetError::Authority { why: "custodians take ever longer to sign".to_owned() })
    }

    fn sign(&self, host: &Host, secs: u64, more: &str) -> Result<(), FleetError> {
        self.sh("rm -f request.* *-cert.pub *-receipt.txt")?;
        let window = 300_u64.max(secs);
        let ago = window.saturating_sub(secs);
        let script = format!(
            "at=$(date -u -d '-{ago} seconds' +%FT%TZ); \
             curfew breakglass request --group group.txt --host {} --incident INC-42 --reason 'all is down' \
             --custodian ann --custodian cem --at $at --for {window}s {more}",
            host.name()
        );
        let said = self.sh(&script)?;
        let code = said.lines().find_map(|line| line.trim().strip_prefix("code"));
        let code = code.unwrap_or_default().trim().to_owned();
        let line = format!(
            "curfew breakglass sign --share $1.share --exchange stick --agree '{code}' --passphrase-file passphrase \
             --certificate $1-cert.pub --receipt $1-receipt.txt"
        );
        self.all_at_once(&["ann", "cem"], &line)?;
        self.sh("rm stick/*; cp ann-cert.pub request.key-cert.pub").map(drop)
    }

    /// Has hosts believe the group, as root would.
    fn place(&self, site: &Site, host: &Host) -> Result<(), FleetError> {
        self.sh("curfew breakglass kit --group group.txt --host db1=10.0.0.1 --without-program --out kit")?;
        let key = fs::read(self.path("kit/breakglass.pub"));
        let key = key.map_err(broken)?;
        host.put("/etc/curfew/breakglass.pub", key, 0o644)?;
        site.install(host)?.done()
    }

    fn ssh(&self, host: &Host) -> Ssh<'_> {
        let at = |name: &str| self.path(name).display().to_string();
        self.seat.ssh("breakglass", host).with([
            "-F".to_owned(),
            "/dev/null".to_owned(),
            "-o".to_owned(),
            "BatchMode=yes".to_owned(),
            "-o".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "-o".to_owned(),
            "StrictHostKeyChecking=no".to_owned(),
            "-o".to_owned(),
            "UserKnownHostsFile=/dev/null".to_owned(),
            "-o".to_owned(),
            format!("IdentityFile={}", at("request.key")),
            "-o".to_owned(),
            format!("CertificateFile={}", at("request.key-cert.pub")),
        ])
    }
}

/// How often custodians sign anew before a test gives up.
const TRIES: usize = 4;

fn broken(error: std::io::Error) -> FleetError {
    FleetError::Authority { why: error.to_string() }
}

/// Authority, link and name service are gone.
fn all_is_down(site: &mut Site, host: &Host) -> Result<(), FleetError> {
    site.authority.kill()?;
    host.stop("curfew-link")?;
    host.sh("rm -f /etc/resolv.conf; sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf")
        .map(drop)
}

fn all_is_up(site: &mut Site, host: &Host) -> Result<(), FleetError> {
    site.authority.serve()?;
    host.start("curfew-link")?;
    site.wait_until_connected(host.name())
}

/// Kills the agent as a crash would, and keeps systemd from starting it again.
fn take_agent_down(host: &Host) -> Result<(), FleetError> {
    let drop_in = "/run/systemd/system/curfew-agent.service.d/down.conf";
    host.put(drop_in, "[Service]\nRestart=no\n", 0o644)?;
    host.run(["systemctl", "daemon-reload"])?.done()?;
    host.run(["systemctl", "start", "curfew-agent"])?.done()?;
    host.kill_unit("curfew-agent", "KILL")?;
    eventually("the agent is down", || host.is_active("curfew-agent").is_ok_and(|active| !active))
}

/// Half a minute is more than a test waits for anything else.
fn until_its_end(shell: &mut tests::Terminal) -> Result<(), FleetError> {
    shell.wait().or_else(|_not_yet| shell.wait()).map(drop)
}

/// The incident of a use at the authority.
fn told(site: &Site, words: &str) -> Result<Value, FleetError> {
    eventually_some(&format!("the authority knows of {words}"), || {
        let incidents = site.listing(["incident", "list"]).ok()?;
        incidents.into_iter().find(|one| one.to_string().contains(words))
    })
}

#[test]
fn when_all_is_down_custodians_get_in_loudly_recorded_and_until_the_end() -> Result<(), FleetError>
{
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let watcher = ana.shell("deploy", &db1)?;
    let table = Table::with_group(&site, "table")?;
    db1.sh("printf '#!/bin/sh\\ncp \"$1\" /root/paged.json\\n' > /usr/local/bin/page; chmod 755 /usr/local/bin/page; \
            echo 'breakglass_alarm = [\"/usr/local/bin/page\"]' >> /etc/curfew/agent.toml; systemctl restart curfew-agent")?
        .done()?;
    table.place(&site, &db1)?;
    all_is_down(&mut site, &db1)?;
    let watch = Stopwatch::start();
    table.certificate(&db1, 30, "")?;
    let mut shell = table.ssh(&db1).shell()?;
    shell.enter("whoami; sudo -n id -un; /bin/echo broken-glass")?;
    shell.wait_for("broken-glass")?;
    println!(
        "from \"all is down\" to a shell: 3 commands (request, 2 x sign) and ssh, {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    shell.wait_for("\nroot\r")?;
    // Every alarm that the host has.
    eventually("the journal, syslog and the command tell", || {
        let journal =
            db1.run(["journalctl", "--no-pager", "-b"]).map(|said| said.stdout).unwrap_or_default();
        journal.contains("INCIDENT: BREAK-GLASS for INC-42")
            && journal.contains("curfew: BREAK-GLASS")
            && db1.has("/root/paged.json")
    })?;
    let mut watcher = watcher;
    watcher.wait_for("BREAK-GLASS for INC-42")?;
    until_its_end(&mut shell)?;
    let sessions = db1.run(["curfew-agent", "sessions", "--json"])?.ok()?;
    assert!(!sessions.text().contains("breakglass"), "{sessions:?}");
    all_is_up(&mut site, &db1)?;
    let incident = told(&site, "breakglass/INC-42/ann.cem/")?;
    assert!(incident.to_string().contains("all is down"), "{incident}");
    let session = eventually_some("its session is known", || {
        let sessions = site.listing(["sessions"]).ok()?;
        sessions
            .into_iter()
            .find(|one| one["identity"] == "breakglass:INC-42" && one["ended"].is_object())
    })?;
    assert_eq!(session["ended"]["reason"], "grant_ended", "{session}");
    let ops = site.operator("ops@example.com")?;
    let records = ops.records(&session)?;
    assert!(
        records.iter().any(|record| record.to_string().contains("broken-glass")),
        "{records:?}"
    );
    receipts_account_for_it(&site, &db1, &table)
}

/// The receipts of both join with the use; a use whose receipt is withheld becomes an incident, once.
fn receipts_account_for_it(site: &Site, db1: &Host, table: &Table) -> Result<(), FleetError> {
    let ca = |line: &[&str]| site.authority.run(line.iter().copied())?.ok();
    let at = |name: &str| table.path(name).display().to_string();
    let (group, ann, cem) = (at("group.txt"), at("ann-receipt.txt"), at("cem-receipt.txt"));
    let early = site.authority.run(["breakglass", "reconcile", &ann])?;
    assert!(!early.succeeded(), "a receipt of an unknown group was taken: {early:?}");
    let people = ["--custodian", "ann=ana@example.com", "--custodian", "cem=bob@example.com"];
    let add = ["breakglass", "group", "add", &group, "--reason", "test"];
    site.person("bob@example.com")?;
    ca(&[&add[..], &people].concat()).map(drop)?;
    let said = ca(&["breakglass", "reconcile", &ann, &cem])?.stdout;
    assert!(said.contains("joined") && said.contains("receipts of ann,cem"), "{said}");
    assert!(said.contains("review due until"), "{said}");
    eventually("every alarm went out, the command's too", || {
        let said = ca(&["breakglass", "status"]).map(|said| said.stdout).unwrap_or_default();
        said.contains("every alarm went out") && said.contains("1 of 1 hosts believe it")
    })?;
    let serial = said
        .split_whitespace()
        .find(|word| word.parse::<u64>().is_ok_and(wire::breakglass::is_of_breakglass));
    let serial = serial.unwrap_or_default().to_owned();
    let review = ["breakglass", "review", &serial, "--verdict", "ok", "--note", "the outage"];
    let own = site.authority.run([&review[..], &["--reviewer", "bob@example.com"]].concat())?;
    assert!(own.stderr.contains("signed it as cem, and cannot review it"), "{own:?}");
    ca(&[&review[..], &["--reviewer", "ops@example.com"]].concat()).map(drop)?;
    table.certificate(db1, 10, "")?;
    table.ssh(db1).run(["true"])?.done()?;
    eventually("another use is known, and no receipt of it", || {
        let said = ca(&["breakglass", "reconcile"]).map(|said| said.stdout).unwrap_or_default();
        said.contains("unreceipted")
    })?;
    told(site, "\"unreceipted\"")?;
    let said = ca(&["breakglass", "reconcile"])?.stdout;
    assert!(!said.contains("were opened"), "{said}");
    Ok(())
}

#[test]
fn a_drill_proves_the_way_in_and_a_silent_alarm_fails_it() -> Result<(), FleetError> {
    let site = Site::open_with("breakglass_drill_every = \"1s\"\n")?;
    let db1 = site.host("db1")?;
    let ops = site.operator("ops@example.com")?;
    let table = Table::with_group(&site, "table")?;
    table.place(&site, &db1)?;
    let at = |name: &str| table.path(name).display().to_string();
    let group = at("group.txt");
    site.authority.run(["breakglass", "group", "add", &group, "--reason", "test"])?.done()?;
    eventually("a drill is overdue", || {
        let status = site.authority.run(["status"]).map(|said| said.stdout).unwrap_or_default();
        status.contains("break-glass was not tried for long on db1")
    })?;
    let (key, ann, cem) = (at("request.key"), at("ann-receipt.txt"), at("cem-receipt.txt"));
    let drill = || {
        let line = ["breakglass", "drill", "--host", "db1", "--key", &key];
        ops.curfew(line.into_iter().chain(["--receipt", &ann, "--receipt", &cem]))
    };
    // In earnest it is no drill, and nobody is let in by this command.
    table.certificate(&db1, 300, "")?;
    let earnest = drill()?;
    assert!(!earnest.succeeded() && earnest.stderr.contains("it is no drill"), "{earnest:?}");
    table.certificate(&db1, 300, "--drill")?;
    let said = drill()?.ok()?.stdout;
    assert!(said.contains("alarm by journal: arrived") && said.contains("db1 is proven"), "{said}");
    let status = site.authority.run(["breakglass", "status"])?.ok()?.stdout;
    assert!(status.contains("host db1: proven 0 days ago with its agent alive"), "{status}");
    // A command that cannot be started: what it is to be given cannot be written.
    db1.sh("echo 'breakglass_alarm = [\"/bin/true\"]' >> /etc/curfew/agent.toml; systemctl restart curfew-agent; \
            rm -rf /run/curfew/alarms; touch /run/curfew/alarms")?
        .done()?;
    site.wait_until_connected("db1")?;
    table.certificate(&db1, 300, "--drill")?;
    let silent = drill()?;
    assert!(!silent.succeeded() && silent.stderr.contains("no alarm by command"), "{silent:?}");
    // One that was started and did not end well called nobody either; one that did, did.
    for (command, called) in [("/bin/false", false), ("/bin/true", true)] {
        db1.sh(&format!(
            "rm -rf /run/curfew/alarms; sed -i '/^breakglass_alarm/d' /etc/curfew/agent.toml; \
             echo 'breakglass_alarm = [\"{command}\"]' >> /etc/curfew/agent.toml; systemctl restart curfew-agent"
        ))?
        .done()?;
        site.wait_until_connected("db1")?;
        table.certificate(&db1, 300, "--drill")?;
        let said = drill()?;
        assert_eq!(said.succeeded(), called, "{said:?}");
        let words = if called { "alarm by command: arrived" } else { "alarm by command: DID NOT" };
        assert!(said.stdout.contains(words), "{said:?}");
    }
    Ok(())
}

#[test]
fn with_the_agent_dead_too_sshd_lets_in_and_the_next_start_tells_and_ends_it()
-> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mine = ana.certificate("deploy", &db1)?;
    let table = Table::with_group(&site, "table")?;
    table.place(&site, &db1)?;
    all_is_down(&mut site, &db1)?;
    take_agent_down(&db1)?;
    table.certificate(&db1, 30, "")?;
    let mut shell = table.ssh(&db1).shell()?;
    shell.enter("sudo -n id -un; setsid sleep 4477 & /bin/echo in''side")?;
    shell.wait_for("inside")?;
    // And that is the only door that is open.
    assert!(!ana.offering(&mine, "deploy", &db1)?.run(["true"])?.succeeded());
    let journal =
        db1.run(["journalctl", "--no-pager", "-b", "-t", "sshd", "-t", "sshd-session"])?.stdout;
    assert!(journal.contains("BREAK-GLASS breakglass/INC-42/ann.cem/"), "{journal}");
    db1.start("curfew-agent")?;
    eventually("the agent tells of it", || {
        db1.journal("curfew-agent")
            .is_ok_and(|journal| journal.contains("while the agent was down"))
    })?;
    assert!(db1.run(["curfew-agent", "status"])?.text().contains("while nobody was at the gate"));
    until_its_end(&mut shell)?;
    eventually("nobody is left", || {
        db1.processes_like("sleep 4477").is_ok_and(|left| left.is_empty())
    })?;
    all_is_up(&mut site, &db1)?;
    let incident = told(&site, "breakglass/INC-42/ann.cem/")?;
    assert!(incident.to_string().contains("\"noticed\":\"word\""), "{incident}");
    Ok(())
}

#[test]
fn nobody_else_comes_in_by_that_door() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let table = Table::with_group(&site, "table")?;
    let thieves = Table::with_group(&site, "thieves")?;
    table.place(&site, &db1)?;
    db1.put("/var/lib/curfew-breakglass/.ssh/authorized_keys", ana.client.public_key()?, 0o644)?;
    let key = ana.client.key_path().display().to_string();
    for agent in ["alive", "dead"] {
        if agent == "dead" {
            take_agent_down(&db1)?;
        }
        let refused = |what: &str, output: tests::Output| {
            assert!(!output.succeeded(), "{agent}: {what} got in: {output:?}");
        };
        // The authority's own key, stolen, for the account's principal and whatever else.
        let key_id = "breakglass/INC-42/ann.cem/9999999999/6917529027641081857";
        let forged = site.forge(
            &ana,
            &["-I", key_id, "-n", "breakglass@db1", "-V", "-1m:+10m", "-z", "6917529027641081857"],
        )?;
        refused("a stolen user key", ana.offering(&forged, "breakglass", &db1)?.run(["true"])?);
        // A plain key, although somebody wrote it into the account's own file.
        refused(
            "a plain key",
            ana.without_curfew("breakglass", &db1)?.with(["-i", &key]).run(["true"])?,
        );
        // Another group.
        thieves.certificate(&db1, 120, "")?;
        refused("another group", thieves.ssh(&db1).run(["true"])?);
        // The right group, another account, and another host.
        table.certificate(&db1, 120, "")?;
        let elsewhere = table
            .seat
            .ssh("deploy", &db1)
            .with(["-i", &table.path("request.key").display().to_string()]);
        refused(
            "another account",
            elsewhere
                .with(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
                .run(["true"])?,
        );
        table.ssh(&db1).run(["true"])?.done()?;
        table.certificate(&db1, 120, "--host db9 --from 192.0.2.0/24")?;
        refused("from elsewhere", table.ssh(&db1).run(["true"])?);
    }
    Ok(())
}

#[test]
fn a_cached_lock_refuses_break_glass_and_a_rotated_key_opens_nothing() -> Result<(), FleetError> {
    let mut site = Site::open()?;
    let db1 = site.host("db1")?;
    let ops: Person = site.operator("ops@example.com")?;
    let table = Table::with_group(&site, "table")?;
    table.place(&site, &db1)?;
    ops.lock(&["role", "breakglass"])?.done()?;
    all_is_down(&mut site, &db1)?;
    table.certificate(&db1, 200, "--drill")?;
    assert!(!table.ssh(&db1).run(["true"])?.succeeded());
    let journal = db1.journal("curfew-agent")?;
    assert!(journal.contains("role breakglass is locked"), "{journal}");
    all_is_up(&mut site, &db1)?;
    ops.unlock(&["role", "breakglass"])?;
    eventually("the lock is lifted", || {
        table.ssh(&db1).run(["true"]).is_ok_and(|said| said.succeeded())
    })?;
    told(&site, "drill/INC-42/ann.cem/")?;
    // A new key in its place: what the old one signed opens nothing.
    let next = Table::with_group(&site, "next")?;
    for table in [&table, &next] {
        let group = table.path("group.txt").display().to_string();
        site.authority.run(["breakglass", "group", "add", &group, "--reason", "test"])?.done()?;
    }
    next.place(&site, &db1)?;
    // The host says so, and nobody has got in by the new one yet.
    eventually("the host believes the new key and not the old one", || {
        let said = site.authority.run(["breakglass", "group", "list"]);
        let said = said.map(|said| said.stdout).unwrap_or_default();
        said.contains("1 of 1 hosts believe it")
            && said.contains("0 of 1 hosts believe it; not db1")
    })?;
    assert!(!table.ssh(&db1).run(["true"])?.succeeded());
    next.certificate(&db1, 200, "--drill")?;
    next.ssh(&db1).run(["true"])?.done()
}
