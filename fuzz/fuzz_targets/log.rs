//! Proofs of the ledger as a stranger writes them, in a certificate or on a link: what reads is written as the same bytes,
//! and nothing that the ledger's key did not sign is believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::log::{Checkpoint, Evidence, Hash, Leaf, LogKey, Note, Policy, Proof, WitnessKey};

fuzz_target!(|input: &[u8]| {
    if let Ok(leaf) = Leaf::from_bytes(input) {
        assert_eq!(leaf.to_bytes().expect("it was read"), input);
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let policy = Policy {
        logs: vec![LogKey::new("log".parse().expect("a name"), [7; 32])],
        witnesses: vec![WitnessKey::new("w".parse().expect("a name"), [8; 32])],
        quorum: 0,
    };
    if let Ok(note) = text.parse::<Note>() {
        assert_eq!(note.to_string(), text);
        assert!(policy.attest(note).is_err(), "nobody has these keys");
    }
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(proof) = text.parse::<Proof>() {
        assert_eq!(proof.to_string(), text);
        assert!(proof.verify(Hash::of(b""), &policy).is_err());
    }
    if let Ok(evidence) = text.parse::<Evidence>() {
        assert_eq!(evidence.to_string(), text);
        assert!(evidence.verify(Hash::of(b""), &policy).is_err());
    }
    for key in [
        text.parse::<LogKey>().map(|key| key.to_string()),
        text.parse::<WitnessKey>().map(|key| key.to_string()),
    ] {
        assert!(key.is_err() || key.is_ok_and(|written| written == text));
    }
});
