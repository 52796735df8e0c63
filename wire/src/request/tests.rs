use ssh_key::private::{Ed25519Keypair, PrivateKey};
use ssh_key::{HashAlg, LineEnding};

use super::*;
use crate::identifier::HostName;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) fn asked() -> Asked {
    Asked {
        version: VERSION,
        authority: Fingerprint::of(b"root"),
        request: RequestId::try_new(42).unwrap(),
        identity: "ana@example.com".parse().unwrap(),
        role: "dba".parse().unwrap(),
        logins: BTreeSet::from(["postgres".parse().unwrap()]),
        hosts: BTreeSet::from(["db1".parse().unwrap()]),
        duration_secs: 3_600,
        start: None,
        use_within_secs: 900,
        extends: None,
        reason: "the primary is stuck".parse().unwrap(),
        expected: None,
        ticket: Some("OPS-1".parse().unwrap()),
        urgent: false,
        breakglass: false,
        at: NOW,
        expires: NOW.after(std::time::Duration::from_secs(3_600)),
    }
}

fn approval() -> Approval {
    Approval {
        version: VERSION,
        authority: Fingerprint::of(b"root"),
        request: RequestId::try_new(42).unwrap(),
        hash: Hash::of(asked().text().unwrap().as_bytes()),
        by: "bob@example.com".parse().unwrap(),
        duration_secs: 3_600,
        policy: Hash::of(b"rules"),
        at: NOW,
        until: asked().latest_start(),
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn signed(text: &str, namespace: &str, seed: u8) -> SignedApproval {
    let signature = key(seed).sign(namespace, HashAlg::Sha512, text.as_bytes()).unwrap();
    SignedApproval {
        approval: text.to_owned(),
        signature: signature.to_pem(LineEnding::LF).unwrap(),
    }
}

#[test]
fn a_request_and_an_approval_read_back_as_the_same_bytes() {
    let text = asked().text().unwrap();
    assert_eq!(Asked::parse(&text).unwrap(), asked());
    let text = approval().text().unwrap();
    let signed = signed(&text, NAMESPACE, 1);
    let (read, presence) = signed.verify(key(1).public_key()).unwrap();
    assert_eq!((read, presence), (approval(), None));
}

#[test]
fn another_way_to_write_the_same_request_is_refused() {
    let text = asked().text().unwrap();
    let spaced = text.replacen(':', ": ", 1);
    let twice = text.replacen("{\"version\":1,", "{\"version\":1,\"version\":1,", 1);
    let more = text.replacen("{\"version\":1,", "{\"version\":1,\"note\":\"\",", 1);
    let null = text.replacen("\"use_within", "\"start\":null,\"use_within", 1);
    let number = text.replacen("3600", "3.6e3", 1);
    for wrong in [spaced, twice, more, null, number, format!("{text}\n"), String::new()] {
        assert_eq!(Asked::parse(&wrong), Err(RequestFlaw::Form), "{wrong}");
    }
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_eq!(Asked::parse(&newer), Err(RequestFlaw::Version(2)));
    assert_eq!(Asked::parse(&"x".repeat(MAX_TEXT + 1)), Err(RequestFlaw::Length(MAX_TEXT + 1)));
}

#[test]
fn a_signature_for_anything_else_approves_nothing() {
    let text = approval().text().unwrap();
    for namespace in ["login@curfew.internal", "order@curfew.internal", "file", "approval"] {
        let flaw = signed(&text, namespace, 1).verify(key(1).public_key()).unwrap_err();
        assert_eq!(flaw, RequestFlaw::Seal(SealFlaw::Namespace), "{namespace}");
    }
    let flaw = signed(&text, NAMESPACE, 1).verify(key(2).public_key()).unwrap_err();
    assert_eq!(flaw, RequestFlaw::Seal(SealFlaw::Key));
    let mut changed = signed(&text, NAMESPACE, 1);
    changed.approval = text.replacen("\"duration_secs\":3600", "\"duration_secs\":7200", 1);
    assert!(matches!(changed.verify(key(1).public_key()), Err(RequestFlaw::Seal(_))));
    // What is signed and is no approval.
    let request = signed(&asked().text().unwrap(), NAMESPACE, 1);
    assert_eq!(request.verify(key(1).public_key()), Err(RequestFlaw::Form));
}

#[test]
fn every_change_of_a_request_changes_its_hash() {
    let hash = |asked: &Asked| Hash::of(asked.text().unwrap().as_bytes());
    let one = asked();
    let host: HostName = "db2".parse().unwrap();
    let others = [
        Asked { duration_secs: 3_601, ..one.clone() },
        Asked { hosts: one.hosts.iter().cloned().chain([host]).collect(), ..one.clone() },
        Asked { role: "root".parse().unwrap(), ..one.clone() },
        Asked { identity: "eve@example.com".parse().unwrap(), ..one.clone() },
        Asked { reason: "the primary is stuck.".parse().unwrap(), ..one.clone() },
        Asked { start: Some(NOW), ..one.clone() },
        Asked { extends: Some(GrantId::try_new(7).unwrap()), ..one.clone() },
        Asked { urgent: true, ..one.clone() },
        Asked { breakglass: true, ..one.clone() },
        Asked { ticket: None, ..one.clone() },
        Asked { authority: Fingerprint::of(b"another"), ..one.clone() },
        Asked { request: RequestId::try_new(43).unwrap(), ..one.clone() },
    ];
    for other in others {
        assert_ne!(hash(&other), hash(&one), "{other:?}");
    }
}

#[test]
fn the_largest_request_fits() {
    let name = |number: usize| format!("{number:0>64}");
    let largest = Asked {
        hosts: (0..MAX_HOSTS).map(|number| name(number).parse().unwrap()).collect(),
        logins: (0..64).map(|number| format!("l{number:0>31}").parse().unwrap()).collect(),
        reason: "r".repeat(MAX_SENTENCE).parse().unwrap(),
        expected: Some("\\".repeat(MAX_SENTENCE).parse().unwrap()),
        ..asked()
    };
    assert_eq!(Asked::parse(&largest.text().unwrap()).unwrap(), largest);
}
