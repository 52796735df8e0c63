use serde_json::json;

use super::*;

fn root() -> Fingerprint {
    Fingerprint::of(b"root")
}

fn noted(kind: Kind, body: Value) -> Noted {
    Noted { entry: 42, at: Timestamp::from_secs(1_800_000_000), kind, body: Some(body) }
}

fn all() -> BTreeSet<Event> {
    Event::ALL.into_iter().collect()
}

fn told(noted: &Noted, standing: &Standing, interest: &Interest<'_>) -> Option<Notice> {
    Notice::of(&root(), noted, standing, interest).unwrap()
}

fn any(noted: &Noted, standing: &Standing) -> Option<Notice> {
    told(noted, standing, &Interest { events: &all(), risk_from: 70, odd_from: 50 })
}

/// A request in this state, of this score.
fn request(state: Value, score: Option<u8>) -> Standing {
    let mut detail = json!({
        "view": {"request": 7, "identity": "ana", "role": "dba", "hosts": ["db1", "db2"], "duration_secs": 600,
            "reason": "the primary is stuck", "urgent": true, "at": 1, "state": state, "yours_to_approve": false},
        "text": "", "policy": wire::log::Hash::of(b"rules"), "now": 2, "approvals": [], "grants": [],
        "missing": [{"quorum": "two", "host": "db1", "seats": [{"seat": 0, "words": "x", "who": ["bob", "cleo"]}]}],
        "demanded": [{"host": "db2", "advice": "x", "who": ["dan"], "quorums": [
            {"quorum": "one", "host": "db2", "seats": [{"seat": 0, "words": "x", "who": ["eve"]}]}]}],
    });
    if let Some(score) = score {
        detail["risk"] = json!({"score": score, "reasons": []});
    }
    Standing { request: Some(serde_json::from_value(detail).unwrap()), ..Standing::default() }
}

fn pending() -> Value {
    json!({"is": "pending", "until": 9})
}

fn approved() -> Value {
    json!({"is": "approved", "until": 9, "secs": 600, "fixed": false})
}

fn made() -> Noted {
    noted(Kind::RequestMade, json!({"by": "ana", "asked": "{}"}))
}

fn names(notice: &Notice) -> Vec<&str> {
    notice.who.iter().map(Identity::as_str).collect()
}

#[test]
fn a_request_that_waits_says_who_can_give_what_is_missing_and_what_to_type() {
    let notice = any(&made(), &request(pending(), Some(30))).unwrap();
    assert_eq!(notice.event, Event::Request);
    assert_eq!(names(&notice), ["bob", "cleo", "dan", "eve"]);
    assert_eq!(
        notice.text,
        "URGENT: r7: ana asks for dba on db1, db2, risk 30 of 100: the primary is stuck — curfew approve r7"
    );
    let json = serde_json::to_value(&notice).unwrap();
    assert_eq!((&json["entry"], &json["event"]), (&json!(42), &json!("request")));
    assert_eq!(json["about"]["request"]["request"]["request"], 7);
    assert_eq!(json["next"], "curfew approve r7");
}

#[test]
fn what_does_not_wait_any_more_is_told_as_a_risk_or_not_at_all() {
    assert_eq!(any(&made(), &request(approved(), Some(69))), None);
    let risky = any(&made(), &request(approved(), Some(70))).unwrap();
    assert_eq!(
        (risky.event, risky.next.as_deref()),
        (Event::Risk, Some("curfew requests show r7"))
    );
    assert!(risky.who.is_empty());
    // One entry is one notice: of a risk that waits it says both.
    let both = any(&made(), &request(pending(), Some(90))).unwrap();
    assert_eq!((both.event, both.next.as_deref()), (Event::Risk, Some("curfew approve r7")));
    let only = |events: &[Event], standing: &Standing| {
        let events = events.iter().copied().collect();
        told(&made(), standing, &Interest { events: &events, risk_from: 70, odd_from: 50 })
            .map(|one| one.event)
    };
    assert_eq!(only(&[Event::Request], &request(pending(), Some(90))), Some(Event::Request));
    assert_eq!(only(&[Event::Request], &request(approved(), Some(90))), None);
    assert_eq!(only(&[Event::Risk], &request(pending(), Some(10))), None);
    assert_eq!(only(&[Event::Risk], &request(pending(), None)), None);
    assert_eq!(only(&[Event::Incident], &request(pending(), Some(90))), None);
    assert_eq!(any(&made(), &Standing::default()), None, "it is gone");
}

#[test]
fn what_became_of_a_request_is_told_once_and_its_use_is_not() {
    let moved = |by: &str, state: Value, reason: Option<&str>| {
        let body = json!({"by": by, "request": 7, "state": state, "reason": reason});
        any(&noted(Kind::RequestMoved, body), &request(pending(), None)).map(|notice| notice.text)
    };
    let asked = "r7: ana asks for dba on db1, db2 — curfew requests show r7";
    assert_eq!(moved("bob", approved(), None), Some(format!("approved by bob — {asked}")));
    let denied = json!({"is": "ended", "how": "denied", "at": 3});
    assert_eq!(
        moved("cleo", denied, Some("not today")),
        Some(format!("denied by cleo: not today — {asked}"))
    );
    let late = json!({"is": "ended", "how": "timed_out", "at": 3});
    assert_eq!(moved("local:time", late, None), Some(format!("timed out — {asked}")));
    assert_eq!(moved("ana", json!({"is": "active", "until": 9}), None), None);
}

#[test]
fn a_key_is_told_of_while_it_waits() {
    let key = |state: &str, by: &str| {
        let view = json!({"request": 42, "identity": "ana", "by": by, "key": Fingerprint::of(b"key"), "wish": "{}",
            "at": 1, "until": 9, "state": state, "yours_to_approve": false, "now": 2});
        let key = Some(serde_json::from_value(view).unwrap());
        let standing = Standing { key, ..Standing::default() };
        any(&noted(Kind::KeyRequested, json!({})), &standing)
    };
    let own = key("waiting", "ana").unwrap();
    assert_eq!((own.event, own.next.as_deref()), (Event::Key, Some("curfew keys approve 42")));
    assert!(key("waiting", "ops").unwrap().text.contains("(brought by ops)"));
    for over in ["approved", "denied", "withdrawn", "lapsed"] {
        assert_eq!(key(over, "ana"), None, "{over}");
    }
    assert_eq!(look_up(&noted(Kind::KeyRequested, json!({}))).unwrap(), LookUp::Key(42));
}

#[test]
fn incidents_deletions_locks_rules_and_refusals_are_told_in_words() {
    let session = "4f0c9a1be2d37781";
    let order = json!({"version": 1, "number": 3, "at": 1, "by": "ops",
        "instruction": {"lock": {"target": {"identity": "ana"}, "reason": "left"}}});
    let table = [
        (
            Kind::Incident,
            json!({"host": "db1", "cause": {"gone": {"from": 1, "to": 2}}}),
            "incident",
            "INCIDENT 42 on db1: records 1 to 2 are lost",
        ),
        (
            Kind::DeletionAsked,
            json!({"by": "ops", "class": "terminals", "reason": "due", "sessions": [{"session": session, "host": "db1"}]}),
            "deletion",
            "ops asks to delete terminals of 1 sessions: due — curfew retention approve 42",
        ),
        (
            Kind::Lock,
            json!({"by": "ops", "order": 3, "reason": "left", "signed": {"order": order.to_string(), "signature": ""}}),
            "lock",
            "identity ana is locked by ops: left",
        ),
        (
            Kind::PolicyRefused,
            json!({"reason": "no such role", "kept": "x", "files": []}),
            "rules",
            "a change of the policy is refused, and what held before stays in force: no such role",
        ),
        (Kind::RolesChanged, json!({"role": {}}), "rules", "the roles changed"),
        (
            Kind::Denial,
            json!({"identity": "ana", "reason": "it is locked"}),
            "refusal",
            "refused to ana: it is locked",
        ),
        (Kind::ActRefused, json!({"by": "bob", "reason": "no"}), "refusal", "refused to bob: no"),
    ];
    for (kind, body, event, start) in table {
        let noted = noted(kind, body);
        let notice = any(&noted, &Standing::default()).unwrap();
        assert!(notice.text.starts_with(start), "{}", notice.text);
        assert_eq!(notice.event.as_str(), event);
        let events = BTreeSet::from([Event::Key]);
        let other = Interest { events: &events, risk_from: 0, odd_from: 30 };
        assert_eq!(told(&noted, &Standing::default(), &other), None, "{event} is not theirs");
    }
}

#[test]
fn an_odd_session_is_told_from_a_weight_on_with_what_is_known_of_it_now() {
    let body =
        json!({"session": "4f0c9a1be2d37781", "host": "db1", "weight": 60, "why": ["new-program"]});
    let noted = noted(Kind::SessionOdd, body);
    let view = json!({"session": "4f0c9a1be2d37781", "identity": "ana", "host": "db1", "login": "app", "role": "dba", "grant": 1,
        "serial": 1, "remote": "10.0.0.9", "began": 1, "until": 9, "execs": 1, "lost": 0,
        "odd": {"weight": 60, "first": "ran /usr/bin/nc\u{1b}[2J", "reasons": 2}});
    let standing =
        Standing { session: Some(serde_json::from_value(view).unwrap()), ..Standing::default() };
    assert!(matches!(look_up(&noted).unwrap(), LookUp::Session(_)));
    let notice = any(&noted, &standing).unwrap();
    assert_eq!(
        notice.text,
        "odd (60 of 100): session 4f0c9a1be2d37781 of ana as app@db1 under role dba: ran /usr/bin/nc\\u{1b}[2J \
         — curfew sessions show 4f0c9a1be2d37781"
    );
    assert_eq!(notice.event, Event::Odd);
    let patient = Interest { events: &all(), risk_from: 70, odd_from: 61 };
    assert_eq!(told(&noted, &standing, &patient), None, "it does not weigh enough for them");
    assert_eq!(any(&noted, &Standing::default()), None, "it is gone");
}

#[test]
fn what_a_stranger_wrote_drives_no_terminal_and_is_bounded() {
    let reason = format!("\u{1b}[2J\u{202e}{}", "x".repeat(10_000));
    let notice =
        any(&noted(Kind::ActRefused, json!({"by": "bob", "reason": reason})), &Standing::default());
    let text = notice.unwrap().text;
    assert!(
        text.chars().count() == MAX_TEXT && !text.chars().any(wire::octets::is_hidden),
        "{text}"
    );
}

#[test]
fn what_was_erased_or_cannot_be_read_is_told_to_nobody() {
    let gone = Noted { body: None, ..noted(Kind::Incident, json!({})) };
    assert_eq!(any(&gone, &Standing::default()), None);
    assert_eq!(look_up(&gone).unwrap(), LookUp::Nothing);
    let interest = Interest { events: &all(), risk_from: 70, odd_from: 50 };
    let odd =
        Notice::of(&root(), &noted(Kind::Incident, json!({})), &Standing::default(), &interest);
    assert!(odd.unwrap_err().to_string().starts_with("entry 42 cannot be told of"));
    assert!(look_up(&noted(Kind::RequestMoved, json!({"request": 0}))).is_err());
}

#[test]
fn every_event_has_a_name_and_what_it_follows_from() {
    for event in Event::ALL {
        assert_eq!(Event::of(event.as_str()), Some(event));
        assert!(!event.kinds().is_empty(), "{event:?}");
        assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
    }
    assert_eq!(Event::of("test"), None);
    let test = Notice::test(&root(), Timestamp::from_secs(1));
    assert_eq!((test.entry(), test.event()), (0, Event::Test));
}
