//! The rules of behaviour: what is shown is what is signed, and nothing is signed that was not shown.

use serde_json::{Value, json};
use wire::behaviour::{AcceptAsk, BehaviourAsk, NAMESPACE};
use wire::log::Hash;

use crate::authority::{Authority, now};
use crate::keys::enrolled;
use crate::person::{Person, complained, said};

const TEXT: &str = "Be kind.\n\u{1b}[2JAlways.\n";

fn shown(text: &str, signed: bool) -> Value {
    let acknowledged = signed.then(now);
    let hash = Hash::of(TEXT.as_bytes());
    json!({"text": text, "hash": hash, "acknowledged": acknowledged, "now": now()})
}

#[test]
fn the_text_that_was_shown_is_signed_and_serves_as_an_acknowledgement_alone() {
    let authority = Authority::start();
    authority.answer("GET /v1/behaviour", shown(TEXT, false));
    authority.answer("POST /v1/behaviour", shown(TEXT, true));
    let person = Person::new().log_in(&authority, &["app"]);
    authority.answer("GET /v1/keys", enrolled(&[&person.public_key()]));
    let looked = said(&person.curfew(["behaviour"]));
    assert!(looked.contains("Be kind.") && looked.contains("curfew behaviour --sign"), "{looked}");
    assert!(!looked.contains('\u{1b}'), "{looked}");
    assert!(authority.calls().iter().all(|call| !call.starts_with("POST /v1/behaviour")));
    let output = person.curfew(["behaviour", "--sign", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).contains("You signed this"), "{output:?}");
    let sent: BehaviourAsk = serde_json::from_slice(&authority.body()).unwrap();
    let acknowledged = sent.signed.verify(&person.public_key()).unwrap();
    assert_eq!(acknowledged.text, Hash::of(TEXT.as_bytes()));
    assert_eq!(acknowledged.by.as_str(), "ana@example.com");
    assert_eq!(acknowledged.authority, authority.fingerprint);
    assert!(sent.signed.signature.contains("BEGIN SSH SIGNATURE"), "in the namespace {NAMESPACE}");
}

#[test]
fn who_has_no_key_accepts_by_their_login_where_they_may_and_is_told_the_way_where_not() {
    let authority = Authority::start();
    authority.answer("GET /v1/behaviour", shown(TEXT, false));
    authority.answer("GET /v1/keys", enrolled(&[]));
    let person = Person::new().log_in(&authority, &["app"]);
    let refused = person.curfew(["behaviour", "--sign", "--yes"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(complained(&refused).contains("curfew keys add KEY --reason WHY"), "{refused:?}");
    let by_login = |signed| {
        let mut shown = shown(TEXT, signed);
        shown["by_login"] = true.into();
        shown
    };
    authority.set(|state| state.answers.clear());
    authority.answer("GET /v1/behaviour", by_login(false));
    authority.answer("POST /v1/behaviour/accept", by_login(true));
    let output = person.curfew(["behaviour", "--sign", "--yes"]);
    assert!(said(&output).contains("You accepted this"), "{output:?}");
    let sent: AcceptAsk = serde_json::from_slice(&authority.body()).unwrap();
    assert_eq!(sent.text, Hash::of(TEXT.as_bytes()));
}

#[test]
fn another_text_than_is_named_is_never_signed() {
    let authority = Authority::start();
    authority.answer("GET /v1/behaviour", shown("Be cruel.\n", false));
    let person = Person::new().log_in(&authority, &["app"]);
    let output = person.curfew(["behaviour", "--sign", "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(authority.calls().iter().all(|call| !call.starts_with("POST /v1/behaviour")));
}
