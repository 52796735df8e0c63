//! A recording in a real terminal: what is shown, what keys do, and what never reaches it.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use wire::channel::End;
use wire::octets::Octets;
use wire::recording::record::{Begin, Content, Record, Size};
use wire::time::Uptime;

use crate::authority::{Authority, now};
use crate::person::{Person, complained, eventually, said};

const SESSION: &str = "00000000000000a1";
const CHANNEL: u64 = 5;

fn at(millis: u64) -> Uptime {
    Uptime::from_nanos(9_000_000_000).after(Duration::from_millis(millis))
}

/// What passed: outputs with the milliseconds at which they came.
fn recording(outputs: &[(u64, &[u8])], ends: bool) -> Vec<u8> {
    let begin = Begin { at: now(), size: Size { columns: 60, rows: 10 }, term: None };
    let mut contents = vec![(0, Content::Begin(begin))];
    contents.extend(outputs.iter().map(|(at, bytes)| (*at, Content::Output(bytes.to_vec()))));
    let last = outputs.last().map_or(0, |(at, _)| *at);
    contents.extend(ends.then_some((last, Content::End(End::Exited))));
    let mut bytes = Vec::new();
    for (number, (millis, content)) in (1..).zip(contents) {
        Record { number, at: at(millis), content }.write(&mut bytes);
    }
    bytes
}

/// The records of a session with one terminal, in which programs were started.
fn detail(commands: &[(u64, &str)], ended: bool) -> Value {
    let record = |number: u64, millis: u64, event: Value| json!({"number": number, "at": now(), "uptime": at(millis).nanos(), "session": SESSION, "event": event});
    let opened =
        json!({"channel": {"opened": {"channel": CHANNEL, "terminal": "pts/7", "kept": true}}});
    let mut records = vec![record(1, 0, opened)];
    for (number, (millis, name)) in (2_u64..).zip(commands) {
        let exec = json!({"exec": {"sequence": number, "pid": 50, "parent": 1, "uid": 1000, "euid": 1000,
            "path": format!("/bin/{name}"), "arguments": [name], "cut": 0, "terminal": "pts7"}});
        records.push(record(number, *millis, exec));
    }
    let left =
        json!({"at": now(), "reason": "left", "killed": 0, "survivors": 0, "took_micros": 0});
    json!({"session": {"session": SESSION, "identity": "ana@example.com", "host": "db1", "login": "app", "role": "deploy",
        "grant": 17, "serial": 7, "remote": "10.0.0.9", "began": now(), "until": now(),
        "ended": if ended { left } else { Value::Null }, "execs": 1, "lost": 0}, "records": records})
}

fn passage(records: Vec<u8>, next: u64, ended: bool) -> Value {
    json!({"records": Octets::new(records), "next": next, "ended": ended})
}

fn serve(authority: &Authority, detail: Value, closed: bool) {
    authority.answer(&format!("GET /v1/sessions/{SESSION}"), detail);
    let recordings = json!([{"channel": CHANNEL, "host": "db1", "blocks": 1, "closed": closed}]);
    authority.answer(&format!("GET /v1/sessions/{SESSION}/recordings"), recordings);
    authority.answer("POST /v1/readings", json!({"entry": 7}));
}

/// A terminal of 80 by 24 in which a program runs.
struct Tmux {
    dir: tempfile::TempDir,
}

impl Tmux {
    fn run(person: &Person, arguments: &[&str]) -> Self {
        let tmux = Self { dir: tempfile::tempdir().unwrap() };
        let program =
            format!("{} {}; sleep 600", env!("CARGO_BIN_EXE_curfew"), arguments.join(" "));
        let home = person.path("curfew");
        let set = format!("CURFEW_HOME={}", home.display());
        tmux.tmux(&["new-session", "-d", "-x", "80", "-y", "24", "-e", &set, &program]);
        tmux
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.dir.path().join("socket"))
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", complained(&output));
        output
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn shown(&self) -> String {
        said(&self.tmux(&["capture-pane", "-p"]))
    }

    fn wait_for(&self, text: &str) {
        let mut last = String::new();
        for _ in 0..3 {
            let mut is_there = false;
            for _ in 0..400 {
                last = self.shown();
                is_there = last.contains(text);
                if is_there {
                    break;
                }
                crate::person::pause();
            }
            if is_there {
                return;
            }
        }
        panic!("{text:?} is not shown:\n{last}");
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.dir.path().join("socket");
        drop(Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output());
    }
}

#[test]
fn a_recording_is_shown_and_keys_seek_search_and_end_it() {
    let authority = Authority::start();
    serve(&authority, detail(&[(60_000, "ls"), (120_000, "rm")], true), true);
    let outputs: [(u64, &[u8]); 4] = [
        (100, b"\x1b[1mwelcome\x1b[0m\r\n"),
        (60_000, b"$ ls\r\nalpha beta\r\n"),
        (120_000, b"$ rm alpha\r\n"),
        (180_000, b"\x1b[2J\x1b[Hthe end"),
    ];
    authority.answer("GET /v1/readings/7?block=", passage(recording(&outputs, true), 2, true));
    let person = Person::new().log_in(&authority, &["app"]);
    let tmux = Tmux::run(&person, &["replay", SESSION]);
    tmux.wait_for("welcome");
    tmux.wait_for("ana@example.com as app@db1");
    assert!(!tmux.shown().contains("alpha"), "{}", tmux.shown());
    tmux.keys(&["Space"]);
    tmux.wait_for("paused");
    tmux.keys(&["n"]);
    tmux.wait_for("alpha beta");
    tmux.wait_for("01:00/03:00");
    tmux.keys(&["n"]);
    tmux.wait_for("$ rm alpha");
    tmux.keys(&["p"]);
    tmux.wait_for("01:00/03:00");
    tmux.keys(&["/"]);
    tmux.keys(&["-l", "THE END"]);
    tmux.wait_for("/THE END");
    tmux.keys(&["Enter"]);
    tmux.wait_for("the end");
    assert!(!tmux.shown().contains("alpha"), "the screen was cleared: {}", tmux.shown());
    tmux.keys(&["g"]);
    tmux.wait_for("00:00/03:00");
    tmux.keys(&["i", ">"]);
    tmux.wait_for("2x, without pauses, paused");
    tmux.keys(&["G"]);
    tmux.wait_for("at the end");
    tmux.keys(&["q"]);
    eventually(|| !tmux.shown().contains("q quit"));
}

#[test]
fn what_was_written_to_drive_a_terminal_does_not_drive_the_reader_s() {
    let authority = Authority::start();
    serve(&authority, detail(&[], true), true);
    let outputs: [(u64, &[u8]); 2] = [
        (
            1,
            b"a\x1b]0;EVIL-TITLE\x07b\x1b]52;c;RVZJTA==\x07c\x1bP+q544e\x1b\\d\x1b[21t\x1b[6n\x1b[c\xc2\x9b5ne\x1b[?1049h",
        ),
        (2, b"shown\x1b[8;200;200t\x1b[?1000h\x1b[?2004h\x1bc visible"),
    ];
    authority.answer("GET /v1/readings/7?block=", passage(recording(&outputs, true), 2, true));
    let person = Person::new().log_in(&authority, &["app"]);
    let tmux = Tmux::run(&person, &["replay", SESSION]);
    tmux.tmux(&["set-option", "-s", "set-clipboard", "on"]);
    tmux.wait_for("visible");
    let title = said(&tmux.tmux(&["display-message", "-p", "#{pane_title}"]));
    assert!(!title.contains("EVIL"), "{title}");
    let mouse = said(&tmux.tmux(&[
        "display-message",
        "-p",
        "#{mouse_any_flag}#{pane_width}x#{pane_height}",
    ]));
    assert_eq!(mouse.trim(), "080x24");
    let buffers = said(&tmux.tmux(&["list-buffers"]));
    assert_eq!(buffers, "", "nothing was put into a clipboard");
    // Nothing was answered into the reader's keyboard: a key still means what it means.
    tmux.keys(&["q"]);
    eventually(|| !tmux.shown().contains("q quit"));
    let text = said(&person.curfew(["replay", SESSION, "--text"]));
    assert!(text.contains("visible"), "{text}");
    assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
}

#[test]
fn what_goes_on_is_watched_as_it_comes() {
    let authority = Authority::start();
    serve(&authority, detail(&[], false), false);
    let first = recording(&[(1, b"first line\r\n")], false);
    authority.answer("GET /v1/readings/7?block=1", passage(first, 2, false));
    authority.answer("GET /v1/readings/7?block=2", passage(Vec::new(), 2, false));
    let person = Person::new().log_in(&authority, &["app"]);
    let tmux = Tmux::run(&person, &["watch", SESSION]);
    tmux.wait_for("first line");
    tmux.wait_for("live");
    let mut more = Vec::new();
    let content = Content::Output(b"and another".to_vec());
    Record { number: 3, at: at(2_000), content }.write(&mut more);
    authority.set(|state| {
        state.answers.retain(|(call, _)| call != "GET /v1/readings/7?block=2");
        state.answers.push(("GET /v1/readings/7?block=2".into(), passage(more, 3, false)));
        state.answers.push(("GET /v1/readings/7?block=3".into(), passage(Vec::new(), 3, false)));
    });
    tmux.wait_for("and another");
    let asked = authority.calls();
    assert!(asked.iter().any(|call| call == "POST /v1/readings"), "{asked:?}");
    tmux.keys(&["q"]);
    eventually(|| !tmux.shown().contains("q quit"));
}

#[test]
fn a_recording_is_written_as_text_and_as_an_asciicast() {
    let authority = Authority::start();
    serve(&authority, detail(&[], true), true);
    let outputs: [(u64, &[u8]); 2] = [(1_500, b"one\r\n"), (2_000, b"two")];
    authority.answer("GET /v1/readings/7?block=", passage(recording(&outputs, true), 2, true));
    let person = Person::new().log_in(&authority, &["app"]);
    let text = said(&person.curfew(["replay", SESSION, "--text"]));
    assert!(text.contains("  one\n") && text.contains("  two\n"), "{text}");
    let cast = said(&person.curfew(["replay", SESSION, "--asciicast"]));
    let mut lines = cast.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!((&head["version"], &head["term"]["cols"]), (&json!(3), &json!(60)));
    assert_eq!(lines.next(), Some("[1.500, \"o\", \"one\\r\\n\"]"));
    assert_eq!(cast.lines().count(), 4);
    // Without a terminal there is nothing to show it on.
    let output = person.curfew(["replay", SESSION]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complained(&output).contains("--text"), "{}", complained(&output));
    let output = person.curfew(["replay", SESSION, "--channel", "2"]);
    assert!(complained(&output).contains("has 1 recording;"), "{}", complained(&output));
}
