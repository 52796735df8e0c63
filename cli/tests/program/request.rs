//! Asking, looking and approving: what is shown before it is signed, and what is signed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use wire::identifier::{Fingerprint, RequestId};
use wire::log::Hash;
use wire::request::{ApprovalAsk, Asked, RequestAsk};

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

fn asked(authority: &Fingerprint, number: u64) -> Asked {
    let at = now();
    Asked {
        version: wire::VERSION,
        authority: authority.clone(),
        request: RequestId::try_new(number).unwrap(),
        identity: "cleo@example.com".parse().unwrap(),
        role: "dba".parse().unwrap(),
        logins: BTreeSet::from(["postgres".parse().unwrap()]),
        hosts: BTreeSet::from(["db1".parse().unwrap(), "db2".parse().unwrap()]),
        duration_secs: 3_600,
        start: None,
        use_within_secs: 900,
        extends: None,
        reason: "the primary is stuck".parse().unwrap(),
        expected: Some("it answers again".parse().unwrap()),
        ticket: Some("OPS-1".parse().unwrap()),
        urgent: true,
        breakglass: false,
        at,
        expires: at.after(Duration::from_secs(3_600)),
    }
}

fn detail(asked: &Asked, number: u64, state: &Value) -> Value {
    json!({
        "view": {"request": number, "identity": "cleo@example.com", "role": "dba", "hosts": ["db1", "db2"],
            "duration_secs": 3600, "reason": "the primary is stuck", "urgent": true, "at": asked.at, "state": state,
            "yours_to_approve": true},
        "text": asked.text().unwrap(), "policy": Hash::of(b"rules"), "now": now(), "approvals": [],
        "missing": [{"quorum": "two", "host": "db1", "seats": [
            {"seat": 0, "words": "somebody of team\u{1b}[2J dba", "who": ["ana@example.com", "dan@example.com"]},
            {"seat": 1, "words": "somebody of team security", "who": []}]}],
        "grants": [],
    })
}

fn pending() -> Value {
    json!({"is": "pending", "until": now().after(Duration::from_secs(3_600))})
}

#[test]
fn what_is_signed_is_what_was_shown_and_serves_as_an_approval_alone() {
    let authority = Authority::start();
    let asked = asked(&authority.fingerprint, 42);
    let approved = json!({"is": "approved", "until": now().after(Duration::from_secs(900)), "secs": 600, "fixed": false});
    authority.answer("GET /v1/requests/r42", detail(&asked, 42, &pending()));
    authority.answer("POST /v1/requests/r42/approve", detail(&asked, 42, &approved));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["approve", "r42", "--yes", "--for", "10m"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    for part in [
        "who       cleo@example.com",
        "role      dba (as postgres)",
        "hosts     db1, db2",
        "for       1 h from the first login, within 15 min",
        "expected  it answers again",
        "ticket    OPS-1",
        "urgent    yes; it skips nothing",
        "you allow 600 s of it",
        "Approved r42: approved for 10 min",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let sent: ApprovalAsk = serde_json::from_slice(&authority.body()).unwrap();
    let (approval, _) = sent.signed.verify(&person.public_key()).unwrap();
    assert_eq!(approval.hash, Hash::of(asked.text().unwrap().as_bytes()));
    assert!(text.contains(&approval.hash.to_string()), "{text}");
    assert_eq!((approval.duration_secs, approval.by.as_str()), (600, "ana@example.com"));
    assert_eq!((approval.policy, approval.until), (Hash::of(b"rules"), asked.latest_start()));
}

#[test]
fn another_request_than_was_named_is_never_signed() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let other = asked(&authority.fingerprint, 43);
    let foreign = asked(&Fingerprint::of(b"another"), 42);
    let mut spaced = detail(&asked(&authority.fingerprint, 42), 42, &pending());
    spaced["text"] = format!("{} ", spaced["text"].as_str().unwrap()).into();
    for shown in [detail(&other, 42, &pending()), detail(&foreign, 42, &pending()), spaced] {
        authority.set(|state| state.answers.clear());
        authority.answer("GET /v1/requests/r42", shown);
        let output = person.curfew(["approve", "r42", "--yes"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(authority.calls().iter().all(|call| !call.starts_with("POST")));
    }
    authority.set(|state| state.answers.clear());
    let own = asked(&authority.fingerprint, 42);
    authority.answer("GET /v1/requests/r42", detail(&own, 42, &pending()));
    let longer = person.curfew(["approve", "r42", "--yes", "--for", "2h"]);
    assert_eq!(longer.status.code(), Some(64), "{longer:?}");
    assert!(authority.calls().iter().all(|call| !call.starts_with("POST")));
}

#[test]
fn a_request_is_sent_as_it_was_typed_and_says_who_is_missing() {
    let authority = Authority::start();
    let asked = asked(&authority.fingerprint, 42);
    authority.answer("POST /v1/requests", detail(&asked, 42, &pending()));
    authority.answer("GET /v1/requests?all=false", json!([detail(&asked, 42, &pending())["view"]]));
    authority.answer("GET /v1/keys/requests", json!([]));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew([
        "request",
        "dba",
        "--host",
        "db1",
        "--host",
        "db2",
        "--for",
        "1h",
        "--reason",
        "the primary is stuck",
        "--expect",
        "it answers again",
        "--ticket",
        "OPS-1",
        "--urgent",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    assert!(text.contains("Request r42: waits for approval, until"), "{text}");
    assert!(
        text.contains(
            "two on db1 needs somebody of team\\u{1b}[2J dba (ana@example.com, dan@example.com)"
        ),
        "{text}"
    );
    assert!(text.contains("two on db1 needs somebody of team security (nobody can now)"), "{text}");
    let sent: RequestAsk = serde_json::from_slice(&authority.body()).unwrap();
    assert_eq!((sent.hosts.len(), sent.duration_secs, sent.urgent), (2, Some(3_600), true));
    let inbox = said(&person.curfew(["requests"]));
    assert!(inbox.contains("urgent: the primary is stuck"), "{inbox}");
    assert!(inbox.contains("r42 waits for you: curfew approve r42"), "{inbox}");
}

#[test]
fn what_makes_no_request_is_refused_before_anything_is_sent() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let long = "x".repeat(401);
    let code = |more: &[&str]| {
        let arguments = [&["request", "dba", "--host", "db1"][..], more].concat();
        person.curfew(arguments).status.code().unwrap()
    };
    for more in [
        &[][..],
        &["--reason", ""],
        &["--reason", "a\u{202e}b"],
        &["--reason", "a\nb"],
        &["--reason", &long],
        &["--reason", "x", "--ticket", "a b"],
        &["--reason", "x", "--for", "soon"],
        &["--reason", "x", "--start", "tomorrow"],
        &["--reason", "x", "--start", "1999-01-01T00:00:00Z"],
        &["--reason", "x", "--extend", "g1"],
    ] {
        assert_eq!(code(more), 64, "{more:?}");
    }
    assert_eq!(person.curfew(["request", "dba", "--reason", "x"]).status.code(), Some(64));
    assert_eq!(person.curfew(["approve", "42", "--yes"]).status.code(), Some(64));
    assert_eq!(person.curfew(["deny", "r42"]).status.code(), Some(64));
    assert_eq!(authority.calls(), Vec::<String>::new());
    let absent = person.curfew(["requests", "show", "r9"]);
    assert!(complained(&absent).contains("there is nothing of that name"));
}

#[test]
fn what_the_policy_demands_is_shown_with_who_can_give_it_and_how_much_of_a_risk_it_is() {
    let authority = Authority::start();
    let asked = asked(&authority.fingerprint, 42);
    let mut shown = detail(&asked, 42, &pending());
    shown["missing"] = json!([]);
    shown["demanded"] = json!([
        {"host": "db1", "rule": "two-people", "advice": "an owner\u{1b}[2J and security", "by_approval": true, "quorums": [
            {"quorum": "owner+security", "host": "db1", "seats": [{"seat": 0, "words": "somebody of team dba", "who": ["dan@example.com"]}]}]},
        {"host": "db1", "rule": "window", "advice": "wait for the window", "by_approval": false},
        {"host": "db2", "rule": "many", "advice": "two approvals", "by_approval": true, "who": ["eve@example.com"]},
    ]);
    shown["risk"] = json!({"score": 63, "reasons": ["+20 a host of tier 0\u{1b}[2J"],
        "lower": [{"by": 12, "how": "with a second factor shown just now"}]});
    authority.answer("GET /v1/requests/r42", shown);
    let person = Person::new().log_in(&authority, &["app"]);
    let text = said(&person.curfew(["requests", "show", "r42"]));
    for part in [
        "  policy two-people on db1: an owner",
        "    owner+security on db1 needs somebody of team dba (dan@example.com)",
        "  policy window on db1, at each certificate: wait for the window",
        "  policy many on db2: two approvals",
        "    anybody whom the policy lets approve (eve@example.com)",
        "  risk      63 of 100",
        "            +20 a host of tier 0",
        "            -12 with a second factor shown just now",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}
