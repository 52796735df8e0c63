//! What is recorded of a session is what happened in it: every program, argument by argument, and how it ended.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tests::{FleetError, Host, Person, Site, grace};

#[test]
fn two_hundred_odd_commands_are_recorded_as_they_were_run() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let commands: Vec<Command> = (0..200).map(odd_command).collect();
    let records = run_all(&site, &ana, &db1, &commands)?;
    let recorded = programs(&records);
    let recorded = &recorded[recorded.len().saturating_sub(commands.len())..];
    for (one, other) in commands.iter().zip(recorded) {
        assert!(one == other, "ran {}, recorded {}", shown(one), shown(other));
    }
    assert_eq!(recorded.len(), commands.len());
    Ok(())
}

#[test]
fn what_does_not_fit_is_counted() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut arguments = vec![b"/bin/true".to_vec()];
    arguments.extend((0..6).map(|_| vec![b'y'; 100_000]));
    let whole: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    let records = run_all(&site, &ana, &db1, &[Command { arguments, status: code(0) }])?;
    let exec = records.iter().map(|record| &record["event"]["exec"]).rfind(|exec| exec.is_object());
    let exec = exec.expect("an exec");
    let kept: usize = octets(&exec["arguments"]).iter().map(|argument| argument.len() + 1).sum();
    let cut = usize::try_from(exec["cut"].as_u64().expect("a number")).expect("it is small");
    assert!(kept > 200_000 && cut > 0, "kept {kept}, cut {cut}");
    assert!((kept + cut).abs_diff(whole) <= 1, "kept {kept}, cut {cut}, of {whole}");
    Ok(())
}

#[test]
fn where_a_session_connects_is_recorded_shown_and_found() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let ops = site.operator("ops@example.com")?;
    // Shell builtins, which are no programs: what is seen is the socket. One is answered and one is not.
    let connect = "exec 3<>/dev/tcp/127.0.0.1/22; (exec 4<>/dev/tcp/127.0.0.1/9) 2>/dev/null; true";
    ana.ssh("deploy", &db1).run(["bash", "-c", &format!("'{connect}'")])?.done()?;
    let session = site.last_of(1)?;
    let records = ana.records(&session)?;
    let sockets = records.iter().map(|record| &record["event"]["network"]);
    let places: Vec<(&str, u64)> = sockets
        .filter(|socket| socket["program"] == "bash" && socket["what"] == "connect")
        .map(|socket| {
            (socket["address"].as_str().unwrap_or_default(), socket["port"].as_u64().unwrap_or(0))
        })
        .collect();
    assert_eq!(places, [("127.0.0.1", 22), ("127.0.0.1", 9)], "{records:?}");
    assert_eq!(session["lost"], 0);

    let id = session["session"].as_str().unwrap_or_default();
    let shown = ops.curfew(["sessions", "show", id])?.ok()?.stdout;
    assert!(shown.contains("connect  127.0.0.1:22 by bash"), "{shown}");
    for query in
        ["connect:127.0.0.1:9 who:ana", "connect:127.0.*:9", "kind:network \"127.0.0.1:9\""]
    {
        let found = ops.curfew(["audit", "search", query])?.ok()?.stdout;
        assert_eq!(found.lines().count(), 1, "{query}: {found}");
        assert!(found.contains("127.0.0.1:9 by bash"), "{query}: {found}");
    }
    assert_eq!(ops.curfew(["audit", "search", "connect:127.0.0.2"])?.ok()?.stdout, "");
    Ok(())
}

#[test]
fn programs_that_run_at_once_are_all_recorded() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.put("/usr/local/bin/crowd", CROWD, 0o755)?;
    ana.ssh("deploy", &db1).run(["crowd"])?.done()?;
    let session = site.last_of(1)?;
    assert_eq!(session["lost"], 0);
    let mut seen: Vec<String> = programs(&ana.records(&session)?)
        .iter()
        .filter(|command| command.status == code(0) && command.arguments[0] == b"/bin/true")
        .map(|command| String::from_utf8_lossy(&command.arguments[1]).into_owned())
        .collect();
    seen.sort();
    let mut ran: Vec<String> =
        (1..=8).flat_map(|row| (1..=100).map(move |seat| format!("{row}-{seat}"))).collect();
    ran.sort();
    assert_eq!(seen, ran);
    Ok(())
}

/// Programs that are started at a pace, each with a word of its own; the truth is what the workload itself wrote.
#[test]
fn what_the_workload_says_it_ran_is_recorded_or_told_to_be_lost() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.put("/usr/local/bin/oracle", ORACLE, 0o755)?;
    // A busy machine runs what it can; with ORACLE=full the paces of the promise are asked for.
    let full = std::env::var("ORACLE").is_ok_and(|asked| asked == "full");
    let paces: &[(u32, u32)] =
        if full { &[(10_000, 500), (10_000, 1_000), (10_000, 2_000)] } else { &[(2_000, 2_000)] };
    for (number, (count, pace)) in (1..).zip(paces) {
        let (count, pace) = (count.to_string(), pace.to_string());
        let said = ana.ssh("deploy", &db1).run(["oracle", &count, &pace])?.ok()?;
        let session = site.last_of(number)?;
        let records = ana.records(&session)?;
        let lost: u64 = records
            .iter()
            .filter_map(|record| record.pointer("/event/loss/missing")?.as_u64())
            .sum();
        let seen: BTreeSet<String> = programs(&records)
            .iter()
            .filter(|command| command.arguments[0] == b"/bin/true")
            .map(|command| String::from_utf8_lossy(&command.arguments[1]).into_owned())
            .collect();
        let ran: BTreeSet<String> = said.text().lines().map(str::to_owned).collect();
        assert_eq!(ran.len().to_string(), count);
        assert!(seen.is_subset(&ran));
        let missing = ran.difference(&seen).count();
        assert!(
            u64::try_from(missing).expect("it is small") <= lost,
            "{missing} missing, {lost} told"
        );
        let took = said.stderr.trim();
        println!(
            "{count} execs asked at {pace}/s: {took} s, {missing} missing, {lost} told to be lost"
        );
        assert_eq!(session["lost"], lost);
    }
    Ok(())
}

/// What is known of a program beside its arguments.
#[test]
fn a_program_is_recorded_with_what_runs_it_and_from_where() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    db1.put("/usr/local/bin/marked", "#!/bin/sh -e\nsleep 0.6\n", 0o755)?;
    ana.ssh("deploy", &db1).run(["cd /usr/local && marked; passwd -S"])?.done()?;
    let records = ana.records(&site.last_of(1)?)?;
    let mut execs = records.iter().filter_map(|record| record.pointer("/event/exec"));
    let marked = execs.find(|exec| exec["path"] == "/usr/local/bin/marked").expect("the script");
    let program = &marked["program"];
    assert_eq!(program["interpreter"], "/bin/sh", "{marked}");
    assert_eq!(program["folder"], "/usr/local", "{marked}");
    assert!(program["resolved"].as_str().is_some_and(|path| path.ends_with("sh")), "{marked}");
    assert!(program["inode"].as_u64().is_some_and(|inode| inode > 0), "{marked}");
    let ended = records
        .iter()
        .find(|record| record.pointer("/event/exit/pid").is_some_and(|pid| *pid == marked["pid"]));
    let ran = ended.and_then(|record| record.pointer("/event/exit/ran_micros")?.as_u64());
    assert!(ran.is_some_and(|ran| ran >= 600_000), "{ended:?}");
    let set_id = &exec_of(&records, "passwd")["program"];
    let deploy: u64 = db1.run(["id", "-u", "deploy"])?.text().parse().expect("a number");
    assert_eq!(
        (&set_id["elevated"], &set_id["before"]),
        (&true.into(), &vec![deploy, deploy].into())
    );
    Ok(())
}

#[test]
fn who_becomes_another_user_is_seen_to() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    ana.ssh("deploy", &db1).run(["passwd", "-S"])?.done()?;
    let exec = exec_of(&ana.records(&site.last_of(1)?)?, "passwd");
    let deploy: u64 = db1.run(["id", "-u", "deploy"])?.text().parse().expect("a number");
    assert_eq!((&exec["uid"], &exec["euid"]), (&deploy.into(), &0.into()), "{exec}");
    Ok(())
}

#[test]
fn a_program_without_a_name_is_seen_to_have_none() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let hide = "cp /bin/sleep hidden; exec 9<hidden; rm hidden; /proc/self/fd/9 0; /bin/sleep 0";
    ana.ssh("deploy", &db1).run([hide])?.done()?;
    let records = ana.records(&site.last_of(1)?)?;
    assert_eq!(exec_of(&records, "/proc/self/fd/9")["nameless"], true);
    assert_eq!(exec_of(&records, "/bin/sleep")["nameless"], false);
    Ok(())
}

#[test]
fn a_terminal_is_named_and_where_there_is_none_none_is() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    for (count, is_terminal, flag) in [(1, true, "-tt"), (2, false, "-T")] {
        ana.ssh("deploy", &db1).with([flag]).run(["/bin/sleep 0"])?.done()?;
        let exec = exec_of(&ana.records(&site.last_of(count)?)?, "/bin/sleep");
        assert_eq!(exec["terminal"].is_string(), is_terminal, "{exec}");
    }
    Ok(())
}

#[test]
fn what_happened_while_the_agent_was_down_has_its_own_time() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    db1.stop("curfew-agent")?;
    shell.enter("/bin/sleep 1.5; echo sl''ept")?;
    shell.wait_for("slept")?;
    db1.start("curfew-agent")?;
    let records = ana.records_when(&session, |records| {
        programs(records)
            .iter()
            .any(|one| one.arguments[0] == b"/bin/sleep" && one.status != Value::Null)
    })?;
    let began =
        records.iter().find(|record| record["event"]["exec"]["arguments"][0] == "/bin/sleep");
    let began = began.expect("the sleep");
    let pid = &began["event"]["exec"]["pid"];
    let ended =
        records.iter().find(|record| record["event"]["exit"]["pid"] == *pid).expect("its end");
    let millis =
        |key: &str, unit| (ended[key].as_u64().unwrap() - began[key].as_u64().unwrap()) / unit;
    assert!(
        (1_490..1_500 + grace(1_500)).contains(&millis("uptime", 1_000_000)),
        "{began} {ended}"
    );
    assert!((1_490..1_500 + grace(1_500)).contains(&millis("at", 1)), "{began} {ended}");
    Ok(())
}

/// A program as it was run, or as it was recorded: its arguments, its own name first, and how it ended.
#[derive(Debug, PartialEq)]
struct Command {
    arguments: Vec<Vec<u8>>,
    status: Value,
}

/// The `number`th of a series without end that leaves out nothing odd.
fn odd_command(number: usize) -> Command {
    let mut arguments: Vec<Vec<u8>> = match number % 5 {
        0 => vec![b"/bin/false".to_vec()],
        1 => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), b"exit 7".to_vec()],
        2 => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), b"kill -9 $$".to_vec()],
        _ => vec![b"/bin/true".to_vec()],
    };
    let odd: [&[u8]; 12] = [
        b"",
        b" ",
        b"a b",
        b"'",
        b"\"",
        b"\n",
        b"\t\r\x1b[2J",
        b"\xff\xfe",
        b"\xc3\x28",
        "ü🦀".as_bytes(),
        b"$HOME `id` \\",
        b"-",
    ];
    arguments.push(number.to_string().into_bytes());
    arguments.extend(
        odd.iter().cycle().skip(number % 12).step_by(5).take(number % 7).map(|word| word.to_vec()),
    );
    match number % 50 {
        7 => arguments.push(vec![b'x'; 100_000]),
        8 => arguments.push((1..=255).cycle().take(5_000).collect()),
        9 => arguments.extend((0..900).map(|turn| vec![b'z'; turn % 5])),
        _ => {}
    }
    let status = match number % 5 {
        0 => code(1),
        1 => code(7),
        2 => serde_json::json!({ "signal": 9 }),
        _ => code(0),
    };
    Command { arguments, status }
}

/// Runs them one after the other in a session without a terminal, and returns what was recorded of it.
fn run_all(
    site: &Site,
    who: &Person,
    host: &Host,
    commands: &[Command],
) -> Result<Vec<Value>, FleetError> {
    let lines = commands.iter().map(|command| {
        let words: Vec<String> = command.arguments.iter().map(|word| quoted(word)).collect();
        words.join(" ") + "\n"
    });
    let script = format!("#!/bin/bash\n{}exit 0\n", lines.collect::<String>());
    host.put("/usr/local/bin/odd", script, 0o755)?;
    who.ssh("deploy", host).run(["odd"])?.done()?;
    let session = site.last_of(1)?;
    assert_eq!(session.get("lost"), Some(&0.into()), "{session}");
    who.records(&session)
}

/// A word of bash that stands for exactly these bytes.
fn quoted(word: &[u8]) -> String {
    let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("$'{bytes}'")
}

/// Every program of a session in the order of its start, with the end of its process.
fn programs(records: &[Value]) -> Vec<Command> {
    let mut programs: Vec<(Value, Command)> = Vec::new();
    for record in records {
        let at = |place: &str| record.pointer(place).cloned().unwrap_or_default();
        if let Some(arguments) = record.pointer("/event/exec/arguments") {
            let command = Command { arguments: octets(arguments), status: Value::Null };
            programs.push((at("/event/exec/pid"), command));
        } else if let Some(status) = record.pointer("/event/exit/status") {
            let of_pid = programs.iter_mut().rfind(|(pid, _)| *pid == at("/event/exit/pid"));
            of_pid.into_iter().for_each(|(_, command)| command.status = status.clone());
        }
    }
    programs.into_iter().map(|(_, command)| command).collect()
}

/// The one exec whose first argument is `name`.
fn exec_of(records: &[Value], name: &str) -> Value {
    let mut found = records.iter().filter_map(|record| record.pointer("/event/exec"));
    let exec = found.find(|exec| exec.pointer("/arguments/0") == Some(&name.into()));
    exec.cloned().unwrap_or_default()
}

/// Arguments as bytes: text stands for itself, what is no text is in base64.
fn octets(arguments: &Value) -> Vec<Vec<u8>> {
    let bytes = |argument: &Value| match argument.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => {
            let binary = argument.pointer("/base64").and_then(Value::as_str).unwrap_or_default();
            STANDARD.decode(binary).unwrap_or_else(|error| error.to_string().into_bytes())
        }
    };
    arguments.as_array().into_iter().flatten().map(bytes).collect()
}

fn shown(command: &Command) -> String {
    let words = command
        .arguments
        .iter()
        .map(|word| String::from_utf8_lossy(word).chars().take(40).collect());
    format!("{:?} → {}", words.collect::<Vec<String>>(), command.status)
}

fn code(code: u8) -> Value {
    serde_json::json!({ "code": code })
}

/// Starts `$1` programs, `$2` in a second if the machine can, eight at a time; says which, and how long it took.
const ORACLE: &str = r#"#!/usr/bin/perl
use strict;
my ($count, $pace) = @ARGV;
sub now { open my $up, "<", "/proc/uptime" or die; (split " ", <$up>)[0] }
my ($running, $began) = (0, now);
for my $number (1 .. $count) {
    # In steps of a hundredth of a second, as the file counts.
    select undef, undef, undef, 0.005 while now() < $began + $number / $pace;
    while ($running >= 8) { wait; $running-- }
    my $pid = fork // die;
    if (!$pid) { exec { "/bin/true" } "/bin/true", "o$number"; die }
    $running++;
    print "o$number\n";
}
while (wait != -1) {}
printf STDERR "%.2f", now() - $began;
"#;

/// Eight rows of a hundred programs, the rows side by side.
const CROWD: &str = r"#!/bin/bash
for row in {1..8}; do (for seat in {1..100}; do /bin/true $row-$seat; done) & done
wait
";

#[test]
fn who_typed_and_what_a_program_started_is_told_apart() -> Result<(), FleetError> {
    let site = Site::open()?;
    let db1 = site.host("db1")?;
    let ana = site.person("ana@example.com")?;
    let mut shell = ana.shell("deploy", &db1)?;
    let session = site.session(&ana, &db1)?;
    shell.enter("printf 'head -n 1 /etc/hostname\\n' > script; cat script")?;
    shell.wait_for("head -n 1 /etc/hostname")?;
    shell.enter("sh script; echo en''d")?;
    shell.wait_for("end")?;
    shell.enter("exit")?;
    shell.wait()?;
    site.ended(&session)?;
    let id = session["session"].as_str().unwrap_or_default();
    let detail = ana.listing(["sessions", "show", id])?;
    assert_eq!(
        (&detail["manner"]["starter"], &detail["manner"]["confidence"]),
        (&"person".into(), &"high".into())
    );
    let label = |words: &[&str]| {
        let records = detail["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let called =
            |record: &&Value| record["event"]["exec"]["arguments"] == serde_json::json!(words);
        let number = records.iter().find(called).map(|record| record["number"].to_string());
        detail["manners"][number.unwrap_or_default()]["starter"].clone()
    };
    let head = ["head", "-n", "1", "/etc/hostname"];
    let labels = (label(&["cat", "script"]), label(&["sh", "script"]), label(&head));
    assert_eq!(labels, ("person".into(), "person".into(), "program".into()), "{detail}");
    let shown = ana.curfew(["sessions", "show", id])?.ok()?.stdout;
    assert!(shown.contains("manual (surely): "), "{shown}");

    ana.ssh("deploy", &db1).run(["true"])?.done()?;
    let session = site.last_of(2)?;
    let id = session["session"].as_str().unwrap_or_default();
    let shown = ana.curfew(["sessions", "show", id])?.ok()?.stdout;
    assert!(shown.contains("programmatic (surely): nobody typed any of "), "{shown}");
    Ok(())
}
