//! Which files a session wrote is recorded, whatever wrote them, and what could not be seen is said.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually};

fn open() -> Result<(Site, Host, Person), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    wait_until_seen(&db1)?;
    Ok((site, db1, ana))
}

fn wait_until_seen(host: &Host) -> Result<(), FleetError> {
    eventually("files are seen", || standing(host).is_ok_and(|count| count >= Some(1)))
}

/// On how many file systems the agent says that it sees files.
fn standing(host: &Host) -> Result<Option<u64>, FleetError> {
    let said = host.run(["curfew-agent", "status", "--json"])?.ok()?.stdout;
    let status: Value = serde_json::from_str(&said).unwrap_or_default();
    Ok(status.pointer("/files/filesystems").and_then(Value::as_u64))
}

/// What was done with which file, by whom, in the order in which it was told.
fn files(records: &[Value]) -> Vec<(String, String, String)> {
    let touched = records.iter().filter_map(|record| record.pointer("/event/file"));
    touched
        .map(|file| {
            let text =
                |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("what"), text("path"), text("program"))
        })
        .collect()
}

fn wrote(records: &[Value], path: &str) -> bool {
    files(records).iter().any(|(what, file, _)| what == "written" && file == path)
}

#[test]
fn what_a_session_writes_is_recorded_shown_and_found() -> Result<(), FleetError> {
    let (site, db1, ana) = open()?;
    let ops = site.operator("ops@example.com")?;
    // A redirection of the shell's own, one of a process that runs no program and is gone at once, a program, a file that
    // has lost its name, and one that is written twice.
    let script = "cd /home/deploy; echo a > /tmp/one; (echo b >> two); cp /bin/true 'th ree'; \
        exec 3>gone; rm gone; echo x >&3; exec 3>&-; cat one two >/dev/null 2>&1; \
        su -c id nobody </dev/null >/dev/null 2>&1; true";
    ana.ssh("deploy", &db1)
        .run(["sh", "-c", &format!("'{}'", script.replace('\'', "\""))])?
        .done()?;
    db1.sh("echo of nobody > /tmp/outside")?.done()?;
    let session = site.last_of(1)?;
    let records = ana.records(&session)?;
    let seen = files(&records);
    let expected = [
        ("written", "/tmp/one", "sh"),
        ("written", "/home/deploy/two", "sh"),
        ("written", "/home/deploy/th ree", "cp"),
        ("written", "/home/deploy/gone", "sh"),
        ("opened", "/etc/shadow", "su"),
    ];
    for (what, path, program) in expected {
        let one = (what.to_owned(), path.to_owned(), program.to_owned());
        assert!(seen.contains(&one), "{one:?} in {seen:?}");
    }
    assert!(!seen.iter().any(|(_, path, _)| path == "/tmp/outside"), "{seen:?}");
    let place = |kind: &str| records.iter().position(|record| record["event"][kind].is_object());
    let last = records.iter().rposition(|record| record["event"]["file"].is_object());
    assert!(last < place("session_ended"), "what it did last is recorded before its end");
    let nameless = records.iter().find(|record| record["event"]["file"]["nameless"] == true);
    assert_eq!(
        nameless.map(|record| &record["event"]["file"]["path"]),
        Some(&"/home/deploy/gone".into())
    );

    let id = session["session"].as_str().unwrap_or_default();
    let shown = ops.curfew(["sessions", "show", id])?.ok()?.stdout;
    assert!(shown.contains("wrote    /home/deploy/th ree by cp"), "{shown}");
    assert!(shown.contains("/home/deploy/gone (which has no name any more) by sh"), "{shown}");
    for query in ["kind:file path:/tmp/one who:ana", "\"wrote /home/deploy/two\""] {
        let found = ops.curfew(["audit", "search", query])?.ok()?.stdout;
        assert_eq!(found.lines().count(), 1, "{query}: {found}");
    }
    let export = ops.curfew(["audit", "export", "--format", "ocsf"])?.ok()?.stdout;
    assert!(
        export
            .lines()
            .any(|line| line.contains("\"class_uid\":1001") && line.contains("/etc/shadow")),
        "{export}"
    );
    Ok(())
}

#[test]
fn copies_that_come_in_are_seen_as_files() -> Result<(), FleetError> {
    let (site, db1, ana) = open()?;
    let config = ana.client.config_path().display().to_string();
    let copy = |mode: &str, from: &str, to: &str| {
        let to = format!("deploy@{}:{to}", db1.address());
        ana.client.run("scp", ["-q", mode, "-F", &config, from, &to])
    };
    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    for (mode, name, program) in [("-s", "by-sftp", "sftp-server"), ("-O", "by-scp", "scp")] {
        copy(mode, "/etc/hostname", &format!("/home/deploy/{name}"))?.done()?;
        eventually("the copy is recorded", || {
            let Ok(sessions) = site.listing(["sessions"]) else { return false };
            sessions.iter().any(|session| {
                let seen = ana.records(session).map(|records| files(&records)).unwrap_or_default();
                let expected =
                    ("written".to_owned(), format!("/home/deploy/{name}"), program.to_owned());
                seen.contains(&expected)
            })
        })?;
    }
    Ok(())
}

#[test]
fn a_restart_of_either_half_misses_no_file_and_a_full_queue_is_said() -> Result<(), FleetError> {
    let (site, db1, ana) = open()?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    let mut touch = |names: &str| -> Result<(), FleetError> {
        shell.enter(&format!(
            "for n in {names}; do echo x > /tmp/f-$n; done; echo do''ne-{}",
            names.len()
        ))?;
        shell.wait_for(&format!("done-{}", names.len())).map(drop)
    };
    touch("1 2 3")?;
    // The agent alone: the kernel keeps what it tells.
    db1.stop("curfew-agent")?;
    touch("4 5 6 7")?;
    db1.start("curfew-agent")?;
    touch("8 9 10 11 12")?;
    // Whoever set the marks: they stay with the agent's own descriptor.
    db1.kill_unit("curfew-files", "KILL")?;
    touch("13 14 15 16 17 18")?;
    wait_until_seen(&db1)?;
    let all =
        |records: &[Value]| (1..=18).all(|number| wrote(records, &format!("/tmp/f-{number}")));
    ana.records_when(&session, all)?;

    // An agent that does not read while more happens on the host than the kernel keeps.
    db1.kill_unit("curfew-agent", "STOP")?;
    db1.sh("mkdir /tmp/g; cd /tmp/g; n=0; while [ $n -lt 20000 ]; do : > $n; n=$((n+1)); done")?
        .done()?;
    db1.kill_unit("curfew-agent", "CONT")?;
    let said = |records: &[Value]| {
        records.iter().any(|record| record["event"]["files_unseen"]["why"].is_string())
    };
    ana.records_when(&session, said)?;
    shell.enter("echo x > /tmp/after")?;
    ana.records_when(&session, |records| wrote(records, "/tmp/after"))?;
    Ok(())
}

#[test]
fn too_many_files_end_a_session_and_one_that_is_forbidden_is_told() -> Result<(), FleetError> {
    let (site, db1, ana) = open()?;
    site.set_roles(
        "[role.watched]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
         [role.watched.thresholds]\nfiles_written = { alert = 5, kill = 40 }\n\
         forbidden = { \"path /home/deploy/keys/\" = \"warn\" }\n",
    )?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("mkdir keys; cd keys; echo x > id")?;
    shell.wait_for("a file was written that is forbidden (path /home/deploy/keys/)")?;
    shell.enter("n=0; while sleep 0.05; do echo x > /tmp/many-$n; n=$((n+1)); done")?;
    shell.wait_for("at 40 this session is ended")?;
    shell.wait()?;
    let ended = site.ended(&session)?;
    let crossed = &ended["ended"]["reason"]["threshold"];
    assert_eq!(
        (&crossed["measure"], &crossed["limit"]),
        (&"files_written".into(), &40.into()),
        "{ended}"
    );
    let records = ana.records_when(&session, |records| !records.is_empty())?;
    let told: Vec<&Value> = records.iter().map(|record| &record["event"]["threshold"]).collect();
    assert!(told.iter().any(|crossed| crossed["file"] == "/home/deploy/keys/id"), "{told:?}");
    assert!(
        told.iter()
            .any(|crossed| crossed["measure"] == "files_written" && crossed["response"] == "alert")
    );
    Ok(())
}

#[test]
fn a_host_that_cannot_see_files_says_so() -> Result<(), FleetError> {
    let (site, db1, _ana) = open()?;
    let concern = "host db1: files that sessions write are not seen";
    let is_told = || site.authority.run(["status"]).is_ok_and(|said| said.stdout.contains(concern));
    assert!(!is_told());
    db1.run(["systemctl", "stop", "curfew-files.socket", "curfew-files.service"])?.done()?;
    db1.run(["systemctl", "restart", "curfew-agent"])?.done()?;
    // The agent wants the socket; without the program nothing answers at it.
    db1.sh("systemctl stop curfew-files.socket curfew-files.service; systemctl mask --runtime curfew-files.socket; \
        systemctl restart curfew-agent")?
        .done()?;
    eventually("it is said", || {
        let said = db1.run(["curfew-agent", "status"]).map(|said| said.stdout).unwrap_or_default();
        said.contains("files      NOT SEEN when they are written: curfew-files does not answer")
    })?;
    eventually("the authority says so", is_told)?;
    db1.sh("systemctl unmask --runtime curfew-files.socket; systemctl start curfew-files.socket")?
        .done()?;
    wait_until_seen(&db1)?;
    eventually("and that it is over", || !is_told())
}
