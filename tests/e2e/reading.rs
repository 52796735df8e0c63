//! Reading what sessions did, as people do: watched, replayed, listed, searched, checked and taken away, on the real programs; by
//! whom it is not meant for, not at all; and whatever was written to drive a terminal, the reader's stays the reader's.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test reads what was said; what is not there fails it"
)]

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{FleetError, Host, Output, Person, Site, Terminal, eventually, eventually_some};

/// A site whose role records terminals, somebody on it, an operator, and somebody else.
struct Stage {
    site: Site,
    db1: Host,
    ana: Person,
    bob: Person,
    ops: Person,
}

impl Stage {
    fn open() -> Result<Self, FleetError> {
        let site = Site::open()?;
        let db1 = site.host("db1")?;
        let ana = site.person("ana@example.com")?;
        let bob = site.person("bob@example.com")?;
        let ops = site.operator("ops@example.com")?;
        site.set_roles(
            "[role.recorded]\nmembers = [\"ana@example.com\"]\nlogins = [\"deploy\"]\nhosts = [\"env=prod\"]\n\
             abilities = [\"pty\"]\nrecording = { level = \"full\", need = \"required\" }\n",
        )?;
        Ok(Self { site, db1, ana, bob, ops })
    }

    /// Ana's shell, and the name of its session.
    fn shell(&self) -> Result<(Terminal, String), FleetError> {
        let shell = self.ana.shell("deploy", &self.db1)?;
        let session = self.site.session(&self.ana, &self.db1)?;
        Ok((shell, session["session"].as_str().unwrap_or_default().to_owned()))
    }

    /// Waits until the authority has the recording of the session to its end, and the end of the session.
    fn over(&self, session: &str) -> Result<(), FleetError> {
        eventually("the recording is whole", || {
            let said = self.ops.curfew(["audit", "verify", session]);
            said.is_ok_and(|said| said.succeeded() && said.stdout.contains(": whole: "))
        })?;
        self.site.ended(&serde_json::json!({ "session": session })).map(drop)
    }

    /// The entries of that kind, as texts.
    fn entries(&self, kind: &str) -> Result<Vec<String>, FleetError> {
        let said = self.site.authority.run(["ledger", "search", "--kind", kind, "--json"])?.ok()?;
        Ok(said.stdout.lines().map(str::to_owned).collect())
    }
}

/// What a command printed, which must not have failed.
fn said(who: &Person, args: &[&str]) -> Result<String, FleetError> {
    Ok(who.curfew(args)?.ok()?.stdout)
}

/// Lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn what_a_person_did_is_watched_replayed_listed_searched_checked_and_taken_away()
-> Result<(), FleetError> {
    let stage = Stage::open()?;
    let (mut shell, session) = stage.shell()?;
    shell.enter("echo al\"\"pha; ls -d /etc/hostname /etc/nowhere")?;
    shell.wait_for("alpha\r\n")?;
    shell.wait_for("/etc/hostname")?;

    // An operator looks on, and sees what comes.
    let mut watching = stage.ops.client.terminal("curfew", ["watch", &session])?;
    watching.wait_for("alpha")?;
    watching.wait_for("live")?;
    shell.enter("echo br\"\"avo")?;
    watching.wait_for("bravo")?;
    // No key of the reader's: what is typed goes nowhere.
    watching.type_text("xyz\r")?;
    shell.enter("echo cha\"\"rlie")?;
    watching.wait_for("charlie")?;
    assert!(!shell.screen().contains("xyz"), "a watcher types nothing into the session");
    watching.type_text("q")?;
    assert!(watching.wait()?.success());
    shell.enter("exit 3")?;
    assert_eq!(shell.wait()?.code(), Some(3));
    stage.over(&session)?;

    replayed(&stage, &session)?;
    listed_and_searched(&stage, &session)?;
    checked_and_taken_away(&stage, &session)?;
    // Every look at the recording was an entry first, with who looked.
    let [watched, read] = [stage.entries("recording_watched")?, stage.entries("recording_read")?];
    assert_eq!(watched.len(), 1, "{watched:?}");
    assert!(watched[0].contains("ops@example.com") && watched[0].contains(&session), "{watched:?}");
    let by = |who: &str| read.iter().filter(|entry| entry.contains(who)).count();
    assert_eq!((by("ops@example.com"), by("ana@example.com")), (2, 1), "{read:?}");
    Ok(())
}

/// In a terminal with its keys, as text, and by whose session it is.
fn replayed(stage: &Stage, session: &str) -> Result<(), FleetError> {
    let mut replay =
        stage.ops.client.terminal("curfew", ["replay", session, "--speed", "8", "--skip-idle"])?;
    replay.wait_for("ana@example.com as deploy@db1")?;
    replay.wait_for("alpha")?;
    replay.type_text("G")?;
    replay.wait_for("at the end")?;
    replay.type_text("g")?;
    replay.wait_for("00:00/")?;
    replay.type_text("/bravo\r")?;
    replay.wait_for("bravo")?;
    replay.type_text("gn")?;
    replay.wait_for("$ ")?;
    replay.type_text("q")?;
    assert!(replay.wait()?.success());
    let text = said(&stage.ops, &["replay", session, "--text"])?;
    let shown: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start().split_once("  "))
        .map(|(_, line)| line.trim())
        .collect();
    for line in ["alpha", "bravo", "charlie"] {
        assert_eq!(shown.iter().filter(|shown| **shown == line).count(), 1, "{line}: {text}");
    }
    let cast = lines(&said(&stage.ana, &["replay", session, "--asciicast"])?);
    assert_eq!((&cast[0]["version"], &cast[0]["term"]["cols"]), (&3.into(), &80.into()));
    let output: String = cast[1..]
        .iter()
        .filter(|event| event[1] == "o")
        .filter_map(|event| event[2].as_str())
        .collect();
    assert!(output.contains("alpha\r\n") && output.contains("charlie\r\n"), "{output}");
    assert_eq!(cast.last().map(|event| event[1].clone()), Some("x".into()));
    Ok(())
}

fn listed_and_searched(stage: &Stage, session: &str) -> Result<(), FleetError> {
    let listing = said(&stage.ops, &["sessions", "--all", "--identity", "ana@example.com"])?;
    assert!(listing.contains(session) && listing.contains("deploy@db1"), "{listing}");
    let shown = said(&stage.ops, &["sessions", "show", session])?;
    for part in [
        "began",
        "ls --color=auto -d /etc/hostname /etc/nowhere",
        "→ exit 2",
        "is recorded",
        "ended with what ran in it",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let search = |query: &str| said(&stage.ops, &["audit", "search", query]);
    for query in
        ["exec:ls path:/etc who:ana", &format!("exec:ls session:{session}"), "arg:/etc/nowhere"]
    {
        let found = search(query)?;
        assert_eq!(found.lines().count(), 1, "{query}: {found}");
        assert!(found.contains("/etc/nowhere") && found.contains(session), "{query}: {found}");
    }
    assert_eq!(search("exec:ls path:/etc who:bob")?, "");
    Ok(())
}

#[test]
fn what_a_terminal_showed_and_what_was_typed_is_found_with_its_moment() -> Result<(), FleetError> {
    let stage = Stage::open()?;
    let (mut shell, session) = stage.shell()?;
    // Put together from two colours, and on the screen alone.
    shell.enter(r#"printf '\e[31mDR\e[32mOP %s\e[0m users\n' TABLE"#)?;
    shell.wait_for("TABLE\u{1b}[0m users\r\n")?;
    shell.enter("read -rsp 'Pass''word: ' x; echo; echo go''t ${#x}")?;
    shell.wait_for("Password: ")?;
    shell.enter("hunter2-secret")?;
    shell.wait_for("got 14")?;
    shell.enter("echo la\"\"st; exit")?;
    shell.wait()?;
    stage.over(&session)?;

    let found = |query: &str| -> Result<Vec<Value>, FleetError> {
        Ok(lines(&said(&stage.ops, &["audit", "search", query, "--json"])?))
    };
    let seen = found("seen:\"drop table users\" since:1d who:ana host:db1")?;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&seen[0]["text"], &seen[0]["how"]), (&"DROP TABLE users".into(), &"seen".into()));
    assert_eq!(seen[0]["session"], session.as_str());
    let typed = found("typed:\"read -rsp\" since:1d")?;
    assert_eq!(typed.len(), 1, "{typed:?}");
    assert!(typed[0]["text"].as_str().is_some_and(|text| text.starts_with("read -rsp")));
    // A password that was not shown is nowhere; that there was one is.
    for query in ["text:hunter2 since:1d", "text:secret since:1d"] {
        assert_eq!(found(query)?, [""; 0], "{query}");
    }
    assert_eq!(found("seen:\"got 14\" since:1d")?.len(), 1);
    for query in
        ["seen:drop since:1d who:bob", "seen:drop since:1d until:1h", "typed:\"got 14\" since:1d"]
    {
        assert_eq!(found(query)?, [""; 0], "{query}");
    }
    leads_to_its_moment(&stage, &session)?;
    let opened = stage.entries("recordings_searched")?;
    assert!(opened.iter().all(|entry| entry.contains("ops@example.com")), "{opened:?}");
    assert!(opened[0].contains(&session) && !opened[0].contains("users"), "{opened:?}");
    stage.site.authority.run(["ledger", "verify"])?.done()
}

/// What is printed beside a line is a command that shows it.
fn leads_to_its_moment(stage: &Stage, session: &str) -> Result<(), FleetError> {
    let shown = said(&stage.ops, &["audit", "search", "seen:\"got 14\" since:1d"])?;
    let command = shown.lines().nth(1).unwrap_or_default().trim();
    assert!(command.starts_with(&format!("curfew replay {session}")), "{shown}");
    let arguments: Vec<&str> = command.split(' ').skip(1).chain(["--speed", "8"]).collect();
    let mut replay = stage.ops.client.terminal("curfew", arguments)?;
    replay.wait_for("got 14")?;
    replay.type_text("q")?;
    assert!(replay.wait()?.success());
    Ok(())
}

fn checked_and_taken_away(stage: &Stage, session: &str) -> Result<(), FleetError> {
    let checked = said(&stage.ana, &["audit", "verify", session])?;
    assert!(checked.contains("): whole: "), "{checked}");
    let records = lines(&said(&stage.ops, &["audit", "export"])?);
    let its = records.iter().filter(|hit| hit["record"]["session"] == session);
    let ours = its.filter(|hit| hit["whose"]["identity"] == "ana@example.com").count();
    let shown: Value =
        serde_json::from_str(&said(&stage.ops, &["sessions", "show", session, "--json"])?)
            .expect("it is JSON");
    assert_eq!(Some(ours), shown["records"].as_array().map(Vec::len));
    let events = lines(&said(&stage.ops, &["audit", "export", "--format", "ocsf"])?);
    let launched = events.iter().find(|event| {
        event["class_uid"] == 1007
            && event["process"]["cmd_line"].as_str().is_some_and(|it| it.contains("/etc/nowhere"))
    });
    assert!(launched.is_some(), "{events:?}");
    Ok(())
}

#[test]
fn who_may_not_read_learns_nothing_and_leaves_no_trace_of_a_reading() -> Result<(), FleetError> {
    let stage = Stage::open()?;
    let (mut shell, session) = stage.shell()?;
    shell.enter("echo al\"\"pha")?;
    shell.wait_for("alpha\r\n")?;
    let refused = |args: &[&str]| -> Result<Output, FleetError> {
        let said = stage.bob.curfew(args)?;
        assert!(!said.succeeded(), "{args:?}: {said:?}");
        assert!(!said.stdout.contains("alpha") && said.stdout.is_empty(), "{args:?}: {said:?}");
        Ok(said)
    };
    // Running or over, to somebody else there is no such session.
    let absent = format!("there is no session {session}");
    let look = || -> Result<(), FleetError> {
        for args in [
            ["watch", &session].as_slice(),
            &["replay", &session],
            &["replay", &session, "--text"],
            &["replay", &session, "--asciicast"],
            &["sessions", "show", &session],
            &["audit", "verify", &session],
        ] {
            let said = refused(args)?;
            assert!(said.stderr.contains(&absent), "{args:?}: {said:?}");
        }
        let mut watching = stage.bob.client.terminal("curfew", ["watch", &session])?;
        assert!(!watching.wait()?.success());
        assert!(!watching.screen().contains("alpha"), "{}", watching.screen());
        let named = format!("text:alpha session:{session}");
        for args in [
            ["audit", "search", "exec:ls"].as_slice(),
            &["audit", "search", "seen:alpha since:1d"],
            &["audit", "search", &named],
            &["audit", "export"],
        ] {
            let said = refused(args)?;
            assert!(
                said.stderr.contains("does not let bob@example.com read or take out"),
                "{args:?}: {said:?}"
            );
        }
        Ok(())
    };
    look()?;
    shell.enter("exit")?;
    shell.wait()?;
    stage.over(&session)?;
    look()?;
    for kind in ["recording_watched", "recording_read", "searched", "recordings_searched"] {
        assert_eq!(stage.entries(kind)?, [""; 0], "{kind}");
    }
    // She reads her own, and may not search.
    assert!(said(&stage.ana, &["replay", &session, "--text"])?.contains("alpha"));
    assert!(!stage.ana.curfew(["audit", "search", "exec:ls"])?.succeeded());
    Ok(())
}

/// Prints what takes over terminals that believe it, and starts a program with a name and arguments like that.
const EVIL: &str = r#"#!/bin/bash
printf 'a\e]0;EVIL\ab\e]52;c;RVZJTA==\ac\eP+q544e\e\\d\e[21t\e[6n\e[c\e[>c\e[5n\e_Gi=1\e\\e\302\2336n'
printf '\e[?1049h\e[8;200;200t\e[?1000h\e[?2004h\e]8;;http://evil\a\e[20h\e(0\016\e#8\ec'
printf 'vis\342\200\256ible\r\n'
mkdir -p $'/tmp/d\e[2J'; cp /bin/true $'/tmp/d\e[2J/n\302\2332J'
$'/tmp/d\e[2J/n\302\2332J' $'\e]0;EVIL\a' $'\302\2336n' $'\177\342\200\256' marker
echo done-""with-it
"#;

#[test]
fn what_was_written_to_drive_a_terminal_does_not_drive_the_reader_s() -> Result<(), FleetError> {
    let stage = Stage::open()?;
    stage.db1.put("/usr/local/bin/evil", EVIL, 0o755)?;
    let (mut shell, session) = stage.shell()?;
    let mut watching = stage.ops.client.terminal("curfew", ["watch", &session])?;
    watching.wait_for("live")?;
    shell.enter("evil")?;
    watching.wait_for("done-with-it")?;
    watching.type_text("q")?;
    watching.wait_for("\u{1b}[?1049l")?;
    assert!(watching.wait()?.success());
    only_painted(&watching);
    shell.enter("exit")?;
    shell.wait()?;
    stage.over(&session)?;

    let mut replay = stage.ops.client.terminal("curfew", ["replay", &session, "--speed", "16"])?;
    replay.wait_for("done-with-it")?;
    replay.type_text("q")?;
    replay.wait_for("\u{1b}[?1049l")?;
    assert!(replay.wait()?.success());
    only_painted(&replay);
    // What is printed, line by line or as JSON, to a terminal or a pipe.
    eventually_some("the program is found", || {
        let found = said(&stage.ops, &["audit", "search", "arg:marker"]).ok()?;
        found.contains("marker").then_some(())
    })?;
    for args in [
        ["replay", &session, "--text"].as_slice(),
        &["replay", &session, "--asciicast"],
        &["sessions", "show", &session],
        &["sessions", "show", &session, "--json"],
        &["audit", "search", "arg:marker"],
        &["audit", "search", "arg:marker", "--json"],
        &["audit", "search", "seen:done-with-it since:1d"],
        &["audit", "search", "seen:done-with-it since:1d", "--json"],
        &["audit", "export"],
        &["audit", "export", "--format", "ocsf"],
    ] {
        let text = said(&stage.ops, args)?;
        assert!(text.contains("marker") || text.contains("done-with-it"), "{args:?}: {text}");
        let bad = text.chars().find(|it| drives(*it));
        assert_eq!(bad, None, "{args:?}: {text:?}");
        let mut shown = stage.ops.client.terminal("curfew", args)?;
        shown.wait_for(if text.contains("done-with-it") { "done-with-it" } else { "marker" })?;
        assert!(shown.wait()?.success());
        let used = sequences(&shown.screen());
        // Colours, and a line of ours that says how far it is and is taken away again.
        assert!(used.iter().all(|one| ["[m", "[K"].contains(&one.as_str())), "{args:?}: {used:?}");
    }
    // What turns letters round has a sign in its place.
    let turned = said(&stage.ops, &["audit", "search", "seen:ible since:1d", "--json"])?;
    assert_eq!(lines(&turned)[0]["text"], "vis\u{fffd}ible", "{turned}");
    // Nothing of it is lost to whoever reads the JSON.
    let hits = lines(&said(&stage.ops, &["audit", "search", "arg:marker", "--json"])?);
    let arguments = &hits[0]["record"]["event"]["exec"]["arguments"];
    assert_eq!(arguments[1], "\u{1b}]0;EVIL\u{7}", "{hits:?}");
    assert_eq!(arguments[2], "\u{9b}6n", "{hits:?}");
    Ok(())
}

/// Whether a character does something to a terminal, or to how its neighbours read.
fn drives(character: char) -> bool {
    (character.is_control() && character != '\n') || character == '\u{202e}'
}

/// A reader's terminal got another screen once and gave it back, and between that places, colours, lines to clear, and the
/// cursor: nothing that was recorded.
fn only_painted(terminal: &Terminal) {
    let screen = terminal.screen();
    let allowed = ["7", "8", "[?1049h", "[?1049l", "[J", "[H", "[K", "[m", "[?25h", "[?25l"];
    let used = sequences(&screen);
    let foreign: Vec<&String> =
        used.iter().filter(|one| !allowed.contains(&one.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?} in {screen:?}");
    for once in ["\u{1b}[?1049h", "\u{1b}[?1049l", "\u{1b}[2J"] {
        assert_eq!(screen.matches(once).count(), 1, "{once:?} in {screen:?}");
    }
    // What turns letters round has a sign in its place.
    assert!(screen.contains("vis\u{fffd}ible"), "{screen:?}");
}

/// The kinds of sequences and controls in what a terminal got, numbers left out of all but the private ones.
fn sequences(screen: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = screen.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => {
                let mut sequence = String::new();
                sequence.extend(rest.next());
                if sequence == "[" {
                    let private = rest.next_if_eq(&'?');
                    sequence.extend(private);
                    while let Some(part) = rest.next_if(|it| it.is_ascii_digit() || *it == ';') {
                        sequence.extend(private.map(|_| part));
                    }
                    sequence.extend(rest.next());
                }
                found.insert(sequence);
            }
            '\r' | '\n' => {}
            other if drives(other) => {
                found.insert(other.escape_default().to_string());
            }
            _ => {}
        }
    }
    found
}

#[test]
fn who_is_watched_is_told_where_the_role_says_so() -> Result<(), FleetError> {
    let stage = Stage::open()?;
    let role = "members = [\"ana@example.com\"]\nhosts = [\"env=prod\"]\nabilities = [\"pty\"]\n\
                recording = { level = \"full\", need = \"required\" }\n";
    stage.site.set_roles(&format!(
        "[role.open]\nlogins = [\"deploy\"]\nannounce_watching = true\n{role}[role.silent]\nlogins = [\"app\"]\n{role}"
    ))?;
    let watch = |session: &str| -> Result<(), FleetError> {
        let mut watching = stage.ops.client.terminal("curfew", ["watch", session])?;
        watching.wait_for("live")?;
        watching.type_text("q")?;
        watching.wait().map(drop)
    };
    let (mut told, session) = stage.shell()?;
    watch(&session)?;
    told.wait_for("ops@example.com is watching this session.")?;
    told.enter("exit")?;
    told.wait()?;
    stage.over(&session)?;
    // What terminals were told is a record of the session.
    let shown = said(&stage.ops, &["sessions", "show", &session])?;
    assert!(
        shown.contains("\"ops@example.com is watching this session.\" on 1 terminal"),
        "{shown}"
    );
    assert_eq!(stage.entries("watch_announced")?.len(), 1);

    let mut silent = stage.ana.shell("app", &stage.db1)?;
    let session = stage.site.session(&stage.ana, &stage.db1)?;
    watch(session["session"].as_str().unwrap_or_default())?;
    silent.enter("echo no\"\"thing")?;
    silent.wait_for("nothing\r\n")?;
    assert_eq!(stage.entries("watch_announced")?.len(), 1);
    assert!(!silent.screen().contains("watching"), "{}", silent.screen());
    Ok(())
}

#[test]
fn what_two_people_delete_is_gone_and_verify_says_by_whom() -> Result<(), FleetError> {
    let mut stage = Stage::open()?;
    stage.site.authority.set("[retention]\nterminals = \"0s\"\n")?;
    stage.site.authority.restart()?;
    let eve = stage.site.operator("eve@example.com")?;
    let (mut shell, session) = stage.shell()?;
    shell.enter("echo al\"\"pha; exit")?;
    shell.wait()?;
    stage.over(&session)?;
    let query = format!("seen:alpha session:{session}");
    let found = said(&stage.ops, &["audit", "search", &query])?;
    assert!(found.contains("alpha") && found.contains(&session), "{found}");
    // The grant is not over yet, and until then it must be kept.
    let delete = ["retention", "delete", "terminals", &session, "--reason", "its time is over"];
    let early = stage.ops.curfew(delete)?;
    assert!(!early.succeeded() && early.stderr.contains("must be kept until"), "{early:?}");
    said(&stage.ana, &["done"])?;
    eventually("it can be deleted", || {
        let due = stage.ops.curfew(["retention", "due", "terminals"]);
        due.is_ok_and(|due| due.stdout.contains(&session))
    })?;
    let asked = said(&stage.ops, &delete)?;
    let number =
        asked.split_whitespace().last().unwrap_or_default().trim_matches(['`', '.']).to_owned();
    assert!(asked.contains("waits for another operator"), "{asked}");
    let alone = stage.ops.curfew(["retention", "approve", &number])?;
    assert!(!alone.succeeded() && alone.stderr.contains("somebody else"), "{alone:?}");
    said(&eve, &["retention", "approve", &number])?;
    eventually("it is done", || {
        let listed = stage.ops.curfew(["retention"]);
        listed.is_ok_and(|listed| listed.stdout.contains("done, 1 deleted"))
    })?;
    let verified = said(&stage.ops, &["audit", "verify", &session])?;
    assert!(
        verified.contains("by ops@example.com and eve@example.com: its time is over"),
        "{verified}"
    );
    assert!(verified.contains("deleted, as the ledger and what is left of it say"), "{verified}");
    let replay = stage.ana.curfew(["replay", &session, "--text"])?;
    assert!(!replay.succeeded() && replay.stderr.contains("was deleted on"), "{replay:?}");
    let searched = stage.ops.curfew(["audit", "search", &query])?.ok()?;
    assert_eq!(searched.stdout, "", "{searched:?}");
    assert!(searched.stderr.contains("1 session whose recordings were deleted"), "{searched:?}");
    let shown = said(&stage.ops, &["sessions", "show", &session])?;
    assert!(shown.contains("terminals deleted ") && shown.contains("exec"), "{shown}");
    stage.site.authority.run(["ledger", "verify"])?.done()
}
