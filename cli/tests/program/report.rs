//! The report of an incident: one document that nothing in it can drive or rewrite.

use serde_json::json;

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

fn incident() -> serde_json::Value {
    json!({"number": 17, "host": "db1", "first": now(), "last": now(), "count": 2,
        "cause": {"reviewed": {"session": "00000000000000a1", "by": "ops", "note": "it read <b>|all|</b>\u{1b}[2J"}},
        "settled": {"by": "ops", "at": now(), "reason": "talked\n# to her"}})
}

fn hash() -> String {
    "A".repeat(43) + "="
}

fn report() -> serde_json::Value {
    let fingerprint = format!("SHA256:{}", "A".repeat(43));
    let session = json!({"session": "00000000000000a1", "identity": "ana@example.com", "host": "db1", "login": "app",
        "role": "deploy", "grant": 17, "serial": 7, "remote": "10.0.0.9", "began": now(), "until": now(),
        "ended": {"at": now(), "reason": {"locked": {"order": 4, "reason": "left"}}, "killed": 9, "survivors": 0, "took_micros": 41_000},
        "execs": 101, "lost": 3});
    let named = json!([{"what": "/bin/cat |\n# x \u{202e}`$(id)`", "times": 2, "first": now()}]);
    let odd = json!({"weight": 20, "as_of": now(), "reasons": [{"oddity": "new-program", "weight": 20, "says": "ran [nc](//x)"}]});
    let receipt = json!({"order": 4, "sessions": 1, "killed": 9, "survivors": 0, "took_micros": 38_000, "done": true});
    json!({"version": 1, "made": now(), "by": "ops", "reading": 91, "authority": fingerprint,
        "tree": {"size": 91, "root": hash()}, "incident": incident(), "relation": "subject",
        "sessions": [{"session": session, "odd": odd, "deeds": [{"kind": "ran", "total": 101, "named": named, "more": 99}]}],
        "more_sessions": 2, "requests": [],
        "orders": [{"order": 4, "at": now(), "by": "ops", "reason": "left", "target": {"identity": "ana@example.com"}, "lifted": false, "hosts": 7, "done": 6, "more": 0,
            "progress": {"order": 4, "at": now(), "hosts": [{"host": "db1", "connected": true, "receipt": receipt}],
                "took_micros": 41_000, "complete": true}}],
        "more_orders": 0,
        "entries": [{"entry": 12, "at": now(), "kind": "session_begun", "hash": hash()}, {"entry": 40, "at": now(), "kind": "incident", "hash": hash()}],
        "more_entries": 1, "unsearched": false})
}

#[test]
fn a_report_is_one_document_with_the_command_that_checks_it() {
    let authority = Authority::start();
    authority.answer("POST /v1/incidents/17/report", report());
    let person = Person::new().log_in(&authority, &["app"]);
    let text = said(&person.curfew(["incidents", "report", "17"]));
    for part in [
        "# Incident 17 on db1\n",
        "it read \\<b\\>\\|all\\|\\</b\\>\\\\u\\{1b\\}\\[2J",
        ": talked\\\\n\\# to her\n",
        "### Session 00000000000000a1\n",
        "- **odd**, 20 of 100:\n  - 20: ran \\[nc\\]\\(/\\/x\\)\n",
        "Ran 101 times:\n",
        "| 2 | /bin/cat \\|\\\\n\\# x \\\\u\\{202e\\}\\`\\$\\(id\\)\\` |\n",
        "Left out: other things, 99 times.",
        "Left out: 2 sessions.",
        "- **lost**: 3 events\n",
        "  - db1: 1 session ended, 9 processes killed, 0 survivors, 38 ms\n  - done on 6 of 7 hosts, the last receipt after 41 ms\n",
        "Left out: 1 entry.",
        " | `session_begun` | `AAAA",
        "    curfew ledger verify --from incident-17.jsonl --entries 12..40 --keys KEYS\n",
        "which is entry 91 of the ledger",
        "also of other matters. A mirror",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(
        !text.chars().any(|letter| letter != '\n' && wire::octets::is_hidden(letter)),
        "{text}"
    );
    // Only what we wrote begins a line.
    let titles: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(titles.len(), 6, "{titles:?}");
    let json = said(&person.curfew(["incidents", "report", "17", "--json"]));
    assert!(!json.contains('\u{1b}') && !json.contains('\u{202e}'), "{json}");
    let parsed: wire::report::Report = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed.sessions[0].deeds[0].more, 99);
}

#[test]
fn a_report_goes_into_a_new_file_of_the_reader_s_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::start();
    authority.answer("POST /v1/incidents/17/report", report());
    authority.answer("GET /v1/incidents?all=false", json!([incident()]));
    let person = Person::new().log_in(&authority, &["app"]);
    let path = person.path("17.md");
    let arguments = ["incidents", "report", "17", "--output", path.to_str().unwrap()];
    let told = said(&person.curfew(arguments));
    assert!(told.starts_with("The report of incident 17 is in "), "{told}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("# Incident 17"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let left = folder.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".17.md")
    });
    assert_eq!(left.count(), 0);
    // What is there is not replaced, and nothing was asked for.
    drop(authority.calls());
    let again = person.curfew(arguments);
    assert_eq!(again.status.code(), Some(64));
    assert!(complained(&again).contains("is there already"), "{}", complained(&again));
    assert!(!authority.calls().iter().any(|call| call.contains("report")));
    let listed = said(&person.curfew(["incidents"]));
    assert!(listed.contains("17      db1") && listed.contains("settled by ops"), "{listed}");
    let json = said(&person.curfew(["incidents", "--json"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["number"], 17);
}

#[test]
fn a_report_that_there_is_none_of_is_said_plainly() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    for number in ["x", "-1", "1.5"] {
        let output = person.curfew(["incidents", "report", number]);
        assert_eq!(output.status.code(), Some(64), "{number}");
    }
    let output = person.curfew(["incidents", "report", "99"]);
    assert!(!output.status.success() && said(&output).is_empty(), "{output:?}");
}
