//! What is kept and deleted, as an operator sees it, and what they send.

use serde_json::{Value, json};
use wire::retention::DeletionView;

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

const SESSION: &str = "00000000000000a1";

fn deletion(state: &str, deleted: u64) -> Value {
    let decided = (state != "asked").then(|| json!({"by": "eve@example.com", "at": now()}));
    let mut view = json!({"deletion": 7, "class": "terminals", "reason": "its time is \u{1b}[2Jover",
        "asked_by": "ops@example.com", "asked_at": now(), "state": state, "sessions": [SESSION], "deleted": deleted});
    if let Some(decided) = decided {
        view["decided"] = decided;
    }
    view
}

fn session() -> Value {
    json!({"session": SESSION, "identity": "ana@example.com", "host": "db1", "login": "app", "role": "deploy",
        "grant": 17, "serial": 7, "remote": "10.0.0.9", "began": now(), "until": now(), "ended": null, "execs": 1, "lost": 0})
}

fn sent(authority: &Authority) -> Value {
    serde_json::from_slice(&authority.body()).unwrap()
}

#[test]
fn how_long_what_is_kept_what_is_held_and_what_is_to_be_deleted_is_shown() {
    let authority = Authority::start();
    let held = json!({"session": SESSION, "host": "db1", "by": "ops@example.com", "at": now(), "reason": "a case \u{1b}[2Jin court"});
    authority.answer(
        "GET /v1/retention",
        json!({"classes": [{"class": "terminals", "keep_secs": 7_776_000}, {"class": "activity"}],
            "holds": [held], "deletions": [deletion("asked", 0), deletion("done", 1), deletion("withdrawn", 0)]}),
    );
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["retention"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    for part in [
        "terminals  kept for 90 d",
        "activity   kept for good",
        "HELD",
        "in court",
        "asked",
        "done, 1 deleted",
        "withdrawn",
        "eve@example.com",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let view: wire::retention::RetentionView =
        serde_json::from_str(&said(&person.curfew(["retention", "--json"]))).unwrap();
    assert_eq!((view.holds.len(), view.deletions.len()), (1, 3));
}

#[test]
fn who_holds_and_releases_sends_the_session_and_why() {
    let authority = Authority::start();
    authority.answer(
        "POST /v1/retention/holds",
        json!({"session": SESSION, "host": "db1", "by": "ops@example.com", "at": now(), "reason": "a case"}),
    );
    authority.answer("POST /v1/retention/releases", Value::Null);
    let person = Person::new().log_in(&authority, &["app"]);
    for (verb, says) in [("hold", "is held."), ("release", "is held no more.")] {
        let output = person.curfew(["retention", verb, SESSION, "--reason", "a case"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(said(&output).contains(says), "{output:?}");
        assert_eq!(sent(&authority), json!({"session": SESSION, "reason": "a case"}));
    }
}

#[test]
fn a_deletion_is_asked_for_approved_and_taken_back_and_says_what_is_next() {
    let authority = Authority::start();
    authority.answer("GET /v1/retention/due?class=terminals", json!([session()]));
    authority.answer("GET /v1/retention/due?class=activity", json!([]));
    authority.answer("POST /v1/retention/deletions", deletion("asked", 0));
    authority.answer("POST /v1/retention/deletions/7/approve", deletion("approved", 0));
    authority.answer("POST /v1/retention/deletions/7/withdraw", deletion("withdrawn", 0));
    let person = Person::new().log_in(&authority, &["app"]);
    assert!(said(&person.curfew(["retention", "due", "terminals"])).contains(SESSION));
    assert!(said(&person.curfew(["retention", "due", "activity"])).contains("Nothing of this"));
    let why = ["--reason", "its time is over"];
    for which in [SESSION, "--due"] {
        let line = ["retention", "delete", "terminals", which];
        let output = person.curfew(line.iter().chain(&why));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = said(&output);
        assert!(text.contains("terminals of 1 session"), "{text}");
        assert!(text.contains("`curfew retention approve 7`"), "{text}");
        let ask =
            json!({"class": "terminals", "sessions": [SESSION], "reason": "its time is over"});
        assert_eq!(sent(&authority), ask);
    }
    for (verb, says) in [("approve", "is approved and is being done"), ("withdraw", "is withdrawn")]
    {
        let output = person.curfew(["retention", verb, "7"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(said(&output).contains(says), "{output:?}");
        let view: DeletionView =
            serde_json::from_str(&said(&person.curfew(["retention", verb, "7", "--json"])))
                .unwrap();
        assert_eq!(view.deletion, 7);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_sent() {
    let authority = Authority::start();
    authority.answer("GET /v1/retention/due?class=activity", json!([]));
    let person = Person::new().log_in(&authority, &["app"]);
    authority.calls();
    for line in [
        &["hold", SESSION][..],
        &["hold", "no-session", "--reason", "why"],
        &["delete", "terminals", "--reason", "why"],
        &["delete", "everything", SESSION, "--reason", "why"],
        &["delete", "terminals", SESSION, "--due", "--reason", "why"],
        &["delete", "terminals", SESSION],
        &["delete", "activity", "--due", "--reason", "why"],
        &["approve", "seven"],
        &["--json", "due", "terminals"],
    ] {
        let output = person.curfew(["retention"].iter().chain(line));
        assert_eq!(output.status.code(), Some(64), "{line:?}: {output:?}");
        assert!(!complained(&output).is_empty(), "{line:?}");
    }
    assert!(!authority.calls().iter().any(|call| call.starts_with("POST /v1/retention")));
}
