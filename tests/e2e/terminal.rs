//! Terminals of sessions: what stands between them and the client is not noticed, and cannot be got around.

use serde_json::Value;
use tests::{FleetError, Host, Person, Site, eventually};

/// How the terminals of a session that is over ended, and what passed them.
fn closed(ana: &Person, session: &Value, count: usize) -> Result<Vec<Value>, FleetError> {
    let of = |records: &[Value]| -> Vec<Value> {
        records
            .iter()
            .filter_map(|record| record.pointer("/event/channel/closed").cloned())
            .filter(Value::is_object)
            .collect()
    };
    let mut found = Vec::new();
    eventually("every terminal is recorded as closed", || {
        found = ana.records(session).map(|records| of(&records)).unwrap_or_default();
        found.len() == count
    })?;
    Ok(found)
}

/// Whether the terminal of that program is its own to read from.
fn is_in_front(host: &Host, line: &str) -> bool {
    let found = host.processes_like(line).unwrap_or_default();
    let front = |pid: u32| {
        let said = host.run(["ps", "-o", "stat=", "-p", &pid.to_string()]);
        said.is_ok_and(|said| said.stdout.starts_with('S') && said.stdout.contains('+'))
    };
    found.iter().any(|process| front(process.pid))
}

/// How often the client's terminal is asked.
const ASKED: u64 = 4;

fn recorders(host: &Host) -> Result<Vec<u32>, FleetError> {
    Ok(host.processes_like("curfew-recorder relay")?.iter().map(|process| process.pid).collect())
}

#[test]
fn a_person_notices_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("PS1=; bind 'set enable-bracketed-paste off'; tty; echo $SSH_TTY; ps -o tty= $$; echo r\"\"eady")?;
    let seen = shell.wait_for("\nready")?;
    assert_eq!(seen.matches("/dev/pts/1").count(), 2, "{seen}");
    // Its size, from the beginning and after a change.
    shell.enter("stty size")?;
    shell.wait_for("24 80\r\n")?;
    shell.resize(101, 41)?;
    shell.enter("until stty size | grep '^41 101$'; do sleep 0.1; done")?;
    shell.wait_for("\n41 101\r\n")?;
    // Job control.
    shell.enter("sleep 600")?;
    eventually("it sleeps", || {
        db1.processes_like("sleep 600").is_ok_and(|found| !found.is_empty())
    })?;
    shell.type_text("\x1a")?;
    shell.wait_for("Stopped")?;
    shell.wait_for("sleep 600\r\n")?;
    shell.enter("PS1='ne''xt '")?;
    shell.wait_for("next ")?;
    shell.enter("fg")?;
    shell.wait_for("sleep 600\r\n")?;
    // The shell says what it continues before it gives it the terminal; and one interrupt too many would take what is
    // typed after it along.
    eventually("it has the terminal again", || is_in_front(&db1, "sleep 600"))?;
    shell.type_text("\x03")?;
    shell.wait_for("next ")?;
    shell.enter("echo s$?; PS1=")?;
    shell.wait_for("s130\r\n")?;
    // Every byte that a keyboard sends, NUL and controls among them, and the program that reads keys itself.
    shell.enter("stty raw -echo; echo g\"\"o; head -c 131 | sha256sum; stty sane")?;
    shell.wait_for("\ngo")?;
    let keys: String = (0..=127u8).map(char::from).chain("ü\u{0}".chars()).collect();
    shell.type_text(&keys)?;
    let sum = db1.run_with_input(["sha256sum"], keys.as_bytes())?.ok()?.text().to_owned();
    shell.wait_for(sum.split(' ').next().unwrap_or_default())?;
    // A full screen, and a terminal in the terminal.
    shell.enter("PS1='pr''ompt> '; top -d 60")?;
    shell.wait_for("\x1b[")?;
    shell.wait_for("PID")?;
    shell.type_text("q")?;
    // It throws away what was typed before it ends.
    shell.wait_for("prompt> ")?;
    shell.enter("tmux -L t new 'echo in-$(echo tmux); read x; exit'")?;
    shell.wait_for("in-tmux")?;
    shell.enter("")?;
    shell.wait_for("[exited]")?;
    // What the client's terminal answers by itself is not typed.
    let session = site.session(&ana, &db1)?;
    for _ in 0..ASKED {
        shell
            .enter("stty -echo; printf '\\033[6n'; read -rsd R x; stty echo; echo a\"\"nswered")?;
        shell.wait_for("\x1b[6n")?;
        shell.type_text("\x1b[24;80R")?;
        shell.wait_for("answered")?;
    }
    shell.enter("exit 7")?;
    assert_eq!(shell.wait()?.code(), Some(7));
    let over = closed(&ana, &session, 1)?;
    assert_eq!(over[0]["end"], "exited", "{over:?}");
    let of = |key: &str| over[0]["passed"][key].as_u64().unwrap_or_default();
    // tmux asks the terminal too; the test's terminal answers nobody, so the answers are those that were typed above. One
    // that took a busy machine more than a second counts as typed.
    let answers = of("input") - of("typed");
    assert!(answers.is_multiple_of(8) && (8..=8 * ASKED).contains(&answers), "{over:?}");
    Ok(())
}

#[test]
fn commands_copies_and_exit_codes_are_as_without() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    assert_eq!(ana.ssh("deploy", &db1).run(["exit 3"])?.status.code(), Some(3));
    assert_eq!(
        ana.ssh("deploy", &db1).run(["printf '%s' \"$0 $SSH_ORIGINAL_COMMAND\""])?.ok()?.text(),
        "bash"
    );
    assert_eq!(ana.ssh("deploy", &db1).run(["kill -TERM $$"])?.status.code(), Some(255));
    for (command, code) in [("exit 5", 5), ("kill -KILL $$", 255), ("true", 0)] {
        let mut on_terminal = ana.ssh("deploy", &db1).terminal([command])?;
        assert_eq!(on_terminal.wait()?.code(), Some(code), "{command}");
    }
    // 64 MiB of random bytes through a terminal that changes none of them, then both ways of copying.
    db1.sh("head -c 67108864 /dev/urandom > /tmp/big; chmod 644 /tmp/big")?.done()?;
    let sum = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let expected = sum(db1.sh("sha256sum /tmp/big")?.ok()?.text());
    let config = ana.client.config_path().display().to_string();
    let address = db1.address();
    let there = format!(
        "ssh -F {config} -e none -tt -l deploy {address} 'stty -opost; cat /tmp/big' </dev/null 2>/dev/null | sha256sum"
    );
    assert_eq!(sum(ana.client.run("bash", ["-c", &there])?.ok()?.text()), expected);
    for copy in ["scp -q", "scp -q -O"] {
        let line = format!("{copy} -F {config} deploy@{address}:/tmp/big ./got && sha256sum ./got");
        assert_eq!(sum(ana.client.run("bash", ["-c", &line])?.ok()?.text()), expected, "{copy}");
    }
    Ok(())
}

#[test]
fn a_recorder_that_dies_ends_its_terminal_and_no_other() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut first = ana.shell("deploy", &db1)?;
    first.enter("echo o\"\"ne")?;
    first.wait_for("one\r\n")?;
    let doomed = recorders(&db1)?;
    let mut second = ana.shell("deploy", &db1)?;
    second.enter("echo t\"\"wo")?;
    second.wait_for("two\r\n")?;
    // The user can do nothing to it, nor to the client's end of the terminal.
    second.enter(&format!(
        "kill -9 {}; cat /proc/{}/environ; echo x > /dev/pts/0; echo d\"\"one",
        doomed[0], doomed[0]
    ))?;
    let said = second.wait_for("done\r\n")?;
    assert!(
        said.contains("not permitted") && said.matches("ermission denied").count() == 2,
        "{said}"
    );
    db1.sh(&format!("kill -9 {}", doomed[0]))?.done()?;
    assert_ne!(first.wait()?.code(), Some(0));
    second.enter("echo still h\"\"ere")?;
    second.wait_for("still here")?;
    // A stub that its user kills ends its terminal too.
    second.enter("kill -9 $PPID")?;
    assert_ne!(second.wait()?.code(), Some(0));
    eventually("nobody relays any more", || recorders(&db1).is_ok_and(|left| left.is_empty()))?;
    Ok(())
}

#[test]
fn a_recorder_that_starts_late_costs_no_terminal_that_may_go_on() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.start("curfew-recorder")?;
    db1.kill_unit("curfew-recorder", "STOP")?;
    let mut shell = ana.ssh("deploy", &db1).shell()?;
    // What is typed meanwhile waits for the shell.
    shell.enter("echo ze\"\"ro")?;
    shell.wait_for("goes on without it")?;
    shell.wait_for("zero\r\n")?;
    shell.enter("echo o\"\"ne")?;
    shell.wait_for("one\r\n")?;
    db1.kill_unit("curfew-recorder", "CONT")?;
    eventually("the late one gives up", || {
        db1.run(["journalctl", "--no-pager", "-b"])
            .is_ok_and(|said| said.stdout.contains("the session did not wait"))
    })?;
    // Its terminal is as it was: it echoes, and ^C still means what it did.
    shell.enter("sleep 4481")?;
    eventually("it sleeps", || is_in_front(&db1, "sleep 4481"))?;
    shell.enter("\u{3}")?;
    shell.enter("echo thr\"\"ee; exit 7")?;
    shell.wait_for("three\r\n")?;
    assert_eq!(shell.wait()?.code(), Some(7));
    Ok(())
}

#[test]
fn a_terminal_of_ones_own_making_fakes_nothing() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    shell.enter("script -qc /usr/lib/curfew/curfew-pty /dev/null")?;
    let session = site.session(&ana, &db1)?;
    ana.records_when(&session, |records| {
        records.iter().any(|record| {
            record["event"]["channel"]["unrelayed"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("not one that sshd made"))
        })
    })?;
    assert_eq!(recorders(&db1)?.len(), 1);
    Ok(())
}
