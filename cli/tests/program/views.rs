//! Listings, sessions and locks.

use std::time::Duration;

use serde_json::json;

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

fn session(ended: serde_json::Value) -> serde_json::Value {
    json!({"session": "00000000000000a1", "identity": "ana@example.com", "host": "db1", "login": "app",
        "role": "deploy", "grant": 17, "serial": 7, "remote": "10.0.0.9\u{1b}[2J", "began": now().before(Duration::from_millis(240_000)),
        "until": now().after(Duration::from_millis(660_000)), "ended": ended, "execs": 1, "lost": 3})
}

fn locked() -> serde_json::Value {
    json!({"at": now().before(Duration::from_millis(1_000)), "reason": {"locked": {"order": 4, "reason": "left the company"}},
        "killed": 7, "survivors": 0, "took_micros": 41_000})
}

#[test]
fn a_session_is_told_as_a_timeline() {
    let authority = Authority::start();
    let exec = json!({"exec": {"sequence": 1, "pid": 50, "parent": 1, "uid": 1000, "euid": 0, "path": "/usr/bin/sudo",
        "arguments": ["sudo", "cat", "/etc/\u{1b}[31mshadow"], "cut": 0, "terminal": "pts0"}});
    let record = |number: u64, event| json!({"number": number, "at": now(), "uptime": number.saturating_mul(1_500_000_000), "event": event});
    let records = json!([
        record(1, exec),
        record(2, json!({"exit": {"sequence": 2, "pid": 50, "status": {"code": 1}}})),
        record(3, json!({"loss": {"after": 2, "missing": 3}})),
    ]);
    authority.answer(
        "GET /v1/sessions/00000000000000a1",
        json!({"session": session(locked()), "records": records}),
    );
    let person = Person::new().log_in(&authority, &["app"]);
    let text = said(&person.curfew(["sessions", "show", "00000000000000a1"]));
    for part in [
        "ana@example.com as app@db1, session 00000000000000a1",
        "certificate 7, grant g17, role deploy, from 10.0.0.9\\u{1b}[2J",
        "locked by order 4: left the company; 7 processes killed, 0 survivors, 41 ms",
        "+0.000  exec     sudo cat \"/etc/\\u{1b}[31mshadow\"  [pid 50, pts0, uid 1000 as 0]  → exit 1 after 1.5 s",
        "+3.000  LOST     3 events lost after number 2",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour and no foreign control character in a pipe");
}

#[test]
fn what_is_odd_is_first_in_reviews_and_has_all_its_reasons_in_the_session() {
    let authority = Authority::start();
    let mut odd = session(locked());
    odd["odd"] = json!({"weight": 85, "first": "wrote what guards who gets in: /etc/sudoers\u{1b}[2J", "reasons": 3});
    let plain = session(locked());
    authority.answer("GET /v1/reviews/due", json!([odd.clone(), plain]));
    let reason =
        |says: &str, weight: u8| json!({"oddity": "new-moon", "weight": weight, "says": says});
    let all = json!({"weight": 85, "as_of": now(), "reasons": [reason("wrote\u{1b}[2J it", 40), reason("ran nc", 20)]});
    let detail = json!({"session": odd, "records": [], "odd": all});
    authority.answer("GET /v1/sessions/00000000000000a1", detail);
    let person = Person::new().log_in(&authority, &["app"]);
    let reviews = said(&person.curfew(["reviews"]));
    let lines: Vec<&str> = reviews.lines().collect();
    assert!(
        lines[1]
            .contains("  85   wrote what guards who gets in: /etc/sudoers\\u{1b}[2J (and 2 more)"),
        "{reviews}"
    );
    assert!(lines[2].trim_end().ends_with('-'), "{reviews}");
    let shown = said(&person.curfew(["sessions", "show", "00000000000000a1"]));
    let expected = "odd, 85 of 100:\n  +40 wrote\\u{1b}[2J it\n  +20 ran nc\n";
    assert!(shown.contains(expected), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&said(&person.curfew(["reviews", "--json"]))).unwrap();
    assert_eq!((&json[0]["odd"]["weight"], &json[1]["odd"]), (&json!(85), &json!(null)));
    let json = said(&person.curfew(["sessions", "show", "00000000000000a1", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["odd"]["reasons"][1]["says"], "ran nc");
}

#[test]
fn living_sessions_are_listed_and_ended_ones_on_request() {
    let authority = Authority::start();
    authority.answer("GET /v1/sessions?live=true&limit=200", json!([session(json!(null))]));
    let ended = {
        let mut ended = session(locked());
        ended["session"] = json!("00000000000000a2");
        ended
    };
    authority.answer("GET /v1/sessions?limit=200", json!([session(json!(null)), ended]));
    let person = Person::new().log_in(&authority, &["app"]);
    let living = said(&person.curfew(["sessions"]));
    assert_eq!(living.lines().count(), 2, "{living}");
    assert!(
        living.contains("ana@example.com  app@db1  deploy  4 min ago  due in 10 min"),
        "{living}"
    );
    let all = said(&person.curfew(["sessions", "--all"]));
    assert!(all.contains(" s ago, locked by order 4: left the company"), "{all}");
    let parsed: Vec<wire::api::SessionView> =
        serde_json::from_str(&said(&person.curfew(["sessions", "--all", "--json"]))).unwrap();
    assert_eq!(parsed.len(), 2);
}

#[test]
fn sessions_are_asked_for_by_who_where_and_how_they_ended() {
    let authority = Authority::start();
    let asked = "GET /v1/sessions?identity=ana@example.com&host=db1&login=app&role=deploy&how=locked&limit=3";
    authority.answer(asked, json!([session(locked())]));
    let person = Person::new().log_in(&authority, &["app"]);
    let arguments = [
        "sessions",
        "--identity",
        "ana@example.com",
        "--host",
        "db1",
        "--login",
        "app",
        "--role",
        "deploy",
        "--ended",
        "locked",
        "-n",
        "3",
    ];
    let text = said(&person.curfew(arguments));
    assert!(text.contains("00000000000000a1"), "{text}");
    let output = person.curfew(["sessions", "--ended", "bored"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_search_shows_who_where_when_and_what() {
    let authority = Authority::start();
    let exec = json!({"exec": {"sequence": 1, "pid": 50, "parent": 1, "uid": 1000, "euid": 0, "path": "/usr/bin/rm",
        "arguments": ["rm", "/etc/\u{1b}[2Jx"], "cut": 0, "terminal": "pts0"}});
    let hit = |number: u64| {
        json!({"host": "db1", "whose": {"identity": "ana@example.com", "login": "app", "role": "deploy",
        "began": now().before(Duration::from_secs(5))},
        "record": {"number": number, "at": now(), "uptime": 9, "session": "00000000000000a1", "event": exec}})
    };
    let next = json!({"entry": 4, "block": 2});
    authority.answer(
        "POST /v1/search",
        json!({"entry": 4, "hits": [hit(1)], "next": next, "read": 10, "unsearched": 3}),
    );
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["audit", "search", "exec:rm", "path:/etc", "-n", "2"]);
    let text = said(&output);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("00000000000000a1 +5."), "{text}");
    assert!(
        text.contains("ana@example.com app@db1  exec     rm \"/etc/\\u{1b}[2Jx\"  [pid 50, pts0, uid 1000 as 0]"),
        "{text}"
    );
    let noted = complained(&output);
    assert!(noted.contains("3 records are not indexed yet"), "{noted}");
    assert!(noted.contains("there may be more"), "{noted}");
    let json = said(&person.curfew(["audit", "search", "exec:rm", "-n", "1", "--json"]));
    let parsed: wire::search::Hit = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed.record.number.number(), 1);
}

#[test]
fn a_search_that_makes_no_sense_is_refused_before_it_is_sent() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["audit", "search", "exce:rm"]);
    assert_eq!(output.status.code(), Some(64));
    let said = complained(&output);
    assert!(said.contains("at column 1") && said.contains("did you mean exec:"), "{said}");
    assert!(!authority.calls().iter().any(|call| call.contains("search")));
}

#[test]
fn an_export_is_lines_of_json_as_records_or_as_ocsf() {
    let authority = Authority::start();
    let exit = json!({"exit": {"sequence": 2, "pid": 50, "status": {"code": 1}}});
    let warned = json!({"warned": {"message": "soon", "terminals": 1}});
    let record = |number: u64, event: &serde_json::Value| {
        json!({"host": "db1",
        "record": {"number": number, "at": now(), "uptime": 9, "event": event}})
    };
    authority
        .answer("POST /v1/exports", json!({"records": [record(1, &exit), record(2, &warned)]}));
    let person = Person::new().log_in(&authority, &["app"]);
    let lines = said(&person.curfew(["audit", "export"]));
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let output = person.curfew(["audit", "export", "--format", "ocsf", "--since", "1h"]);
    let events = said(&output);
    let event: serde_json::Value = serde_json::from_str(&events).unwrap();
    assert_eq!((event["class_uid"].as_u64(), event["exit_code"].as_u64()), (Some(1007), Some(1)));
    assert!(complained(&output).contains("1 record of kinds"), "{}", complained(&output));
}

fn progress(hosts: serde_json::Value, complete: bool) -> serde_json::Value {
    json!({"order": 4, "at": now(), "hosts": hosts, "took_micros": 41_000, "complete": complete})
}

fn done(host: &str) -> serde_json::Value {
    json!({"host": host, "connected": true, "receipt": {"order": 4, "sessions": 1, "killed": 7, "survivors": 0,
        "took_micros": 38_000, "done": true}})
}

#[test]
fn a_lock_is_followed_to_its_end() {
    let authority = Authority::start();
    let waiting = json!({"host": "web1", "connected": true, "receipt": null});
    authority.answer("POST /v1/locks", progress(json!([done("db1"), waiting]), false));
    authority.set(|state| {
        let last = progress(json!([done("db1"), done("web1")]), true);
        state.answers.push(("GET /v1/orders/4?wait_millis=".into(), last));
    });
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["lock", "ana@example.com", "--reason", "left the company"]);
    let expected = "Locked identity ana@example.com (order 4).\n  \
        db1: 1 session ended, 7 processes killed, 0 survivors, 38 ms\n  \
        web1: 1 session ended, 7 processes killed, 0 survivors, 38 ms\n\
        2 of 2 hosts, 2 sessions ended, 0 survivors, 41 ms\n";
    assert_eq!(said(&output), expected, "{}", complained(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_lock_that_a_connected_host_does_not_finish_is_a_failure() {
    let authority = Authority::start();
    let hosts = json!([done("db1"), {"host": "gone1", "connected": false, "receipt": null},
        {"host": "web1", "connected": true, "receipt": null}]);
    authority.answer("POST /v1/locks", progress(hosts.clone(), false));
    authority.answer("GET /v1/orders/4?wait_millis=", progress(hosts, false));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["lock", "host", "db1", "--reason", "r", "--wait", "1s"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("gone1: not connected; no new certificate is issued"), "{text}");
    assert!(text.contains("web1: has not answered yet"), "{text}");
    assert!(text.ends_with("1 of 3 hosts, 1 session ended, 0 survivors, 41 ms\n"), "{text}");
}

#[test]
fn hosts_and_status_are_for_reading_and_for_programs() {
    let authority = Authority::start();
    authority.answer("GET /v1/status", json!({"authority_version": "0.1.0", "fingerprint": format!("SHA256:{}", "A".repeat(43)), "at": now(), "hosts": 3, "connected": 2,
        "sessions": 1, "locks": 0, "concerns": ["web1 has been silent for 5 min: look at its curfew-link"]}));
    let person = Person::new().log_in(&authority, &["app"]);
    let hosts = said(&person.curfew(["hosts"]));
    assert!(
        hosts.contains("db1   app (deploy)  connected  full     env=prod  127.0.0.1"),
        "{hosts}"
    );
    let parsed: Vec<wire::api::HostView> =
        serde_json::from_str(&said(&person.curfew(["hosts", "--json"]))).unwrap();
    assert_eq!(parsed.len(), 1);
    let status = said(&person.curfew(["status"]));
    assert!(status.contains("hosts      2 of 3 connected"), "{status}");
    assert!(status.contains("1 concern:\n  web1 has been silent"), "{status}");
}
