//! Keys: what is signed when another one is asked for, and what an approver sees before they sign.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use ssh_key::PublicKey;
use wire::certificate::fingerprint;
use wire::key_request::{KeyApprovalAsk, KeyRequestAsk, KeyWish, SignedWish};
use wire::log::Hash;

use crate::authority::{Authority, now};
use crate::person::{Person, complained, said};

/// `GET /v1/keys`
pub(crate) fn enrolled(keys: &[&PublicKey]) -> Value {
    let row = |key: &&PublicKey| json!({"key": fingerprint(key.key_data()), "public_key": key.to_openssh().unwrap(), "added": now()});
    keys.iter().map(row).collect()
}

fn keygen(path: &Path) -> PublicKey {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana@laptop", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
    PublicKey::read_openssh_file(path.with_extension("pub")).unwrap()
}

fn wish(authority: &Authority, key: &PublicKey) -> KeyWish {
    KeyWish {
        version: wire::VERSION,
        authority: authority.fingerprint.clone(),
        identity: "bob@example.com".parse().unwrap(),
        public_key: PublicKey::from(key.key_data().clone()).to_openssh().unwrap(),
        replaces: None,
        reason: "a new laptop".parse().unwrap(),
        at: now(),
    }
}

fn view(wish: &KeyWish, state: &str) -> Value {
    let key = PublicKey::from_openssh(&wish.public_key).unwrap();
    json!({"request": 42, "identity": wish.identity, "by": "bob@example.com", "key": fingerprint(key.key_data()),
        "wish": wish.text().unwrap(), "consent": fingerprint(key.key_data()), "at": now(), "until": now(), "state": state,
        "yours_to_approve": true, "now": now()})
}

#[test]
fn the_new_key_and_one_that_logs_in_both_sign_what_is_asked_for() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let (old, new) = (person.public_key(), keygen(&person.path("new")));
    authority.answer("GET /v1/keys", enrolled(&[&old]));
    authority.answer("POST /v1/keys/requests", view(&wish(&authority, &new), "waiting"));
    let path = person.path("new.pub");
    let replaces = fingerprint(old.key_data());
    let output = person.curfew([
        "keys",
        "add",
        path.to_str().unwrap(),
        "--reason",
        "a new laptop",
        "--replaces",
        replaces.as_str(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).contains("curfew keys approve 42"), "{output:?}");
    let sent: KeyRequestAsk = serde_json::from_slice(&authority.body()).unwrap();
    let (wish, key) = sent.signed.verify().unwrap();
    assert_eq!(key.key_data(), new.key_data());
    assert_eq!((wish.identity.as_str(), wish.replaces), ("ana@example.com", Some(replaces)));
    assert!(!wish.public_key.contains("laptop"), "no comment goes along");
    assert_eq!(sent.signed.verify_consent(&old, &sent.consent.unwrap()), Ok(()));
    // Without a key of hers at hand nothing is sent; somebody who has none yet sends no signature.
    authority.set(|state| state.answers.retain(|(path, _)| path != "GET /v1/keys"));
    authority.answer("GET /v1/keys", enrolled(&[&new]));
    let add = ["keys", "add", path.to_str().unwrap(), "--reason", "why"];
    authority.calls();
    let refused = person.curfew(add);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(complained(&refused).contains("log in again with --key"), "{refused:?}");
    assert!(authority.calls().iter().all(|call| !call.starts_with("POST")));
    authority.set(|state| state.answers.retain(|(path, _)| path != "GET /v1/keys"));
    authority.answer("GET /v1/keys", enrolled(&[]));
    assert_eq!(person.curfew(add).status.code(), Some(0));
    let sent: KeyRequestAsk = serde_json::from_slice(&authority.body()).unwrap();
    assert!(sent.consent.is_none() && sent.signed.verify().is_ok());
}

#[test]
fn an_offer_is_brought_only_for_whom_it_is() {
    let authority = Authority::start();
    let stranger = Person::new();
    let new = keygen(&stranger.path("new"));
    let path = stranger.path("new");
    let offer = ["keys", "offer", path.to_str().unwrap(), "--reason", "I lost my laptop"];
    assert_eq!(stranger.curfew(offer).status.code(), Some(78), "nobody knows which authority");
    let named = ["--identity", "bob@example.com", "--fingerprint", authority.fingerprint.as_str()];
    let output = stranger.curfew([&offer[..], &named].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let offered: SignedWish = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!(offered.verify().unwrap().1.key_data(), new.key_data());
    let ops = Person::new().log_in(&authority, &["app"]);
    authority.answer("GET /v1/keys", enrolled(&[&ops.public_key()]));
    authority.answer("POST /v1/keys/requests", view(&wish(&authority, &new), "waiting"));
    std::fs::write(ops.path("offer"), said(&output)).unwrap();
    std::fs::write(ops.path("altered"), said(&output).replace("bob", "eve")).unwrap();
    std::fs::write(ops.path("odd"), "{}").unwrap();
    let bring = |file: &str, who: &str| {
        let path = ops.path(file);
        ops.curfew(["keys", "bring", path.to_str().unwrap(), "--identity", who])
    };
    authority.calls();
    assert_eq!(bring("odd", "bob@example.com").status.code(), Some(64));
    for (file, who) in [("altered", "eve@example.com"), ("offer", "eve@example.com")] {
        let refused = bring(file, who);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    assert!(authority.calls().iter().all(|call| !call.starts_with("POST")));
    let brought = bring("offer", "bob@example.com");
    assert_eq!(brought.status.code(), Some(0), "{brought:?}");
    let sent: KeyRequestAsk = serde_json::from_slice(&authority.body()).unwrap();
    assert_eq!(sent.signed, offered);
    assert_eq!(offered.verify_consent(&ops.public_key(), &sent.consent.unwrap()), Ok(()));
}

#[test]
fn the_inbox_shows_keys_that_wait_and_what_to_type_next() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let (new, other) = (keygen(&person.path("new")), keygen(&person.path("other")));
    let mut waits = view(&wish(&authority, &new), "waiting");
    let mut over = view(&wish(&authority, &other), "denied");
    over["yours_to_approve"] = false.into();
    authority.answer("GET /v1/requests?all=false", json!([]));
    authority.answer("GET /v1/requests?all=true", json!([]));
    let answer = |views: Value| {
        authority.set(|state| state.answers.retain(|(path, _)| path != "GET /v1/keys/requests"));
        authority.answer("GET /v1/keys/requests", views);
    };
    answer(json!([waits, over]));
    let inbox = said(&person.curfew(["requests"]));
    let print = |key: &PublicKey| fingerprint(key.key_data()).to_string();
    for part in [
        "bob@example.com",
        &print(&new),
        "the request 42 for a key waits for you: curfew keys approve 42",
    ] {
        assert!(inbox.contains(part), "{part}: {inbox}");
    }
    assert!(!inbox.contains(&print(&other)), "what is over is not in it: {inbox}");
    let json: Value = serde_json::from_str(&said(&person.curfew(["requests", "--json"]))).unwrap();
    assert_eq!((&json["requests"], json["keys"].as_array().unwrap().len()), (&json!([]), 1));
    let next = json!([{"what": "the request 42 for a key", "command": "curfew keys approve 42"}]);
    assert_eq!(json["next"], next);
    let all = said(&person.curfew(["requests", "--all"]));
    assert!(all.contains(&print(&other)), "{all}");
    // One's own waits, and not for oneself.
    waits["yours_to_approve"] = false.into();
    answer(json!([waits]));
    let own = said(&person.curfew(["requests"]));
    assert!(own.contains(&print(&new)) && !own.contains("waits for you"), "{own}");
    answer(json!([]));
    assert_eq!(said(&person.curfew(["requests"])), "No request is under way.\n");
}

#[test]
fn an_approver_signs_the_key_that_was_shown_and_no_other() {
    let authority = Authority::start();
    let person = Person::new().log_in(&authority, &["app"]);
    let (new, other) = (keygen(&person.path("new")), keygen(&person.path("other")));
    let wished = wish(&authority, &new);
    authority.answer("GET /v1/keys", enrolled(&[&person.public_key()]));
    authority.answer("GET /v1/keys/requests", json!([view(&wished, "waiting")]));
    authority.answer("POST /v1/keys/requests/42/approve", view(&wished, "approved"));
    let listed = said(&person.curfew(["keys", "requests"]));
    assert!(listed.contains("42 waits for you: curfew keys approve 42"), "{listed}");
    let output = person.curfew(["keys", "approve", "42", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    let print = fingerprint(new.key_data());
    for part in ["bob@example.com", print.as_str(), "a new laptop", "ssh-ed25519", "Approved: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let sent: KeyApprovalAsk = serde_json::from_slice(&authority.body()).unwrap();
    let said = sent.signed.verify(&person.public_key()).unwrap();
    assert_eq!(said.hash, Hash::of(wished.text().unwrap().as_bytes()));
    assert_eq!((said.request, said.by.as_str()), (42, "ana@example.com"));
    assert!(text.contains(&said.hash.to_string()), "{text}");
    // Shown under another fingerprint than the text has, or for another authority.
    let mut swapped = view(&wished, "waiting");
    swapped["key"] = json!(fingerprint(other.key_data()));
    let root = wire::identifier::Fingerprint::of(b"another");
    let elsewhere = view(&KeyWish { authority: root, ..wished }, "waiting");
    for shown in [swapped, elsewhere] {
        authority.set(|state| state.answers.retain(|(path, _)| path != "GET /v1/keys/requests"));
        authority.answer("GET /v1/keys/requests", json!([shown]));
        authority.calls();
        let refused = person.curfew(["keys", "approve", "42", "--yes"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(authority.calls().iter().all(|call| !call.starts_with("POST")));
    }
    let absent = person.curfew(["keys", "approve", "7", "--yes"]);
    assert!(complained(&absent).contains("no request 7"), "{absent:?}");
}
