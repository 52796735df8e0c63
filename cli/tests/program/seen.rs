//! Searching what terminals showed, as a person sees it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

const SESSION: &str = "00000000000000a1";

fn line(channel: u64, into_millis: u64, how: &str, text: &str) -> Value {
    json!({"host": "db1", "session": SESSION, "channel": channel, "recordings": 2,
        "whose": {"identity": "ana@example.com", "login": "app", "role": "deploy", "began": now().before(Duration::from_secs(99))},
        "at": now(), "into_millis": into_millis, "how": how, "text": text, "found": [7, 4]})
}

fn answer(lines: &[Value], next: bool) -> Value {
    let next = next.then(|| json!({"began": now(), "session": SESSION, "host": "db1"}));
    let mut answer = json!({"entry": 4, "lines": lines,
        "looked": {"sessions": 2, "recordings": 3, "bytes": 83_000, "millis": 5_400_000},
        "passed": {"closed": 1, "deleted": 2, "crowded": 1},
        "flaws": [{"host": "db1", "session": SESSION, "channel": 6, "what": "block 3 is missing"}]});
    if let Some(next) = next {
        answer["next"] = next;
    }
    answer
}

fn serve(authority: &Authority, page: Value) {
    authority
        .answer("POST /v1/search", json!({"entry": 4, "hits": [], "read": 10, "unsearched": 0}));
    authority.answer("POST /v1/search/terminals", page);
    let opened = |number: u64, channel: u64| {
        json!({"number": number, "at": now(), "uptime": number, "session": SESSION,
            "event": {"channel": {"opened": {"channel": channel, "terminal": "pts/7", "kept": true}}}})
    };
    authority.answer(
        &format!("GET /v1/sessions/{SESSION}"),
        json!({"session": {"session": SESSION, "identity": "ana@example.com", "host": "db1", "login": "app", "role": "deploy",
            "grant": 17, "serial": 7, "remote": "10.0.0.9", "began": now(), "until": now(), "ended": null, "execs": 1, "lost": 0},
            "records": [opened(1, 9), opened(2, 5)]}),
    );
    let recording =
        |channel: u64| json!({"channel": channel, "host": "db1", "blocks": 1, "closed": true});
    authority.answer(
        &format!("GET /v1/sessions/{SESSION}/recordings"),
        json!([recording(5), recording(9)]),
    );
}

#[test]
fn a_line_is_shown_with_who_where_when_and_the_command_that_shows_its_moment() {
    let authority = Authority::start();
    let lines = [
        line(5, 83_412, "seen", "mysql> DROP TABLE \u{1b}[2Jusers"),
        line(9, 412, "typed", "select DROP"),
    ];
    serve(&authority, answer(&lines, false));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["audit", "search", "text:\"drop\"", "since:7d"]);
    let text = said(&output);
    let shown: Vec<&str> = text.lines().collect();
    assert_eq!(shown.len(), 4, "{text}");
    assert!(
        shown[0].contains(
            "00000000000000a1 +83.412  ana@example.com app@db1  seen     mysql> DROP TABLE"
        ),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert_eq!(shown[1], "    curfew replay 00000000000000a1 --at 83s --channel 2");
    assert!(shown[2].contains("typed    select DROP"), "{text}");
    assert_eq!(shown[3], "    curfew replay 00000000000000a1 --channel 1");
    let noted = complained(&output);
    for part in [
        "0 records found, 10 records read",
        "a recording of session 00000000000000a1 on db1: block 3 is missing",
        "2 lines of terminals found; looked at 3 recordings of 2 sessions, 1 h 30 min and 83 kB of terminals",
        "not looked at: 1 session that you may not watch",
        "not looked at: 2 sessions whose recordings were deleted",
        "not looked at: the rest of 1 recording with more lines than are told",
    ] {
        assert!(noted.contains(part), "{part}: {noted}");
    }
}

#[test]
fn pages_follow_each_other_to_the_end_or_the_limit_and_are_one_search() {
    let authority = Authority::start();
    serve(&authority, answer(&[line(5, 1, "seen", "mysql> DROP")], true));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["audit", "search", "seen:drop", "since:7d", "-n", "2", "--json"]);
    let text = said(&output);
    let found: Vec<wire::search::terminal::Line> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((found.len(), found[0].found), (2, (7, 4)));
    let sent: Value = serde_json::from_slice(&authority.body()).unwrap();
    assert_eq!((&sent["entry"], &sent["limit"]), (&json!(4), &json!(1)));
    assert_eq!(sent["next"]["session"], SESSION);
    let calls = authority.calls();
    let asked = calls.iter().filter(|call| call.contains("/v1/search/terminals")).count();
    assert_eq!(asked, 2, "{calls:?}");
    assert!(!calls.iter().any(|call| call == "POST /v1/search"), "{calls:?}");
    let noted = complained(&output);
    assert!(noted.contains("not looked at: 2 sessions that you may not watch"), "{noted}");
    // As text it says that there may be more.
    let noted = complained(&person.curfew(["audit", "search", "seen:drop", "since:7d", "-n", "1"]));
    assert!(noted.contains("there may be more: --limit"), "{noted}");
}

#[test]
fn what_would_open_everything_or_find_nothing_is_refused_before_it_is_sent() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    for (query, part) in [
        ("text:drop", "say since when"),
        ("seen:drop who:ana host:db1", "say since when"),
        ("typed:drop until:2026-11-30", "say since when"),
        ("seen:a typed:b since:1d", "either seen or typed"),
        ("seen:a exec:rm since:1d", "it has no exec:"),
        ("typed:a kind:exec since:1d", "it has no kind:"),
        ("seen:\" \" since:1d", "blanks alone"),
        ("seen: since:1d", "a value is missing"),
        ("seen:\"a since:1d", "is not closed"),
        ("sene:a since:1d", "did you mean seen:"),
        ("text:a since:soon", "is no moment"),
    ] {
        let output = person.curfew(["audit", "search", query]);
        assert_eq!(output.status.code(), Some(64), "{query}");
        let said = complained(&output);
        assert!(said.contains(part), "{query}: {said}");
    }
    assert!(!authority.calls().iter().any(|call| call.contains("search")));
}

#[test]
fn text_without_a_field_is_looked_for_in_records_and_that_is_said() {
    let authority = Authority::start();
    serve(&authority, answer(&[], false));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["audit", "search", "drop"]);
    assert_eq!(output.status.code(), Some(0));
    let noted = complained(&output);
    assert!(noted.contains("with text: in front of it"), "{noted}");
    assert!(!authority.calls().iter().any(|call| call.contains("terminals")));
}
