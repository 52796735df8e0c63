//! Acknowledgements of the rules of behaviour as strangers send them: only the key that signed is believed, and what it signed is
//! written in one way.
#![no_main]

use curfew_fuzz::key;
use libfuzzer_sys::fuzz_target;
use wire::behaviour::{BehaviourAsk, NAMESPACE, SignedAcknowledgement};

fuzz_target!(|input: &[u8]| {
    if let Ok(ask) = serde_json::from_slice::<BehaviourAsk>(input) {
        assert!(ask.signed.verify(key(9).public_key()).is_err(), "nobody has this key");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let known = key(9);
    let signature = known
        .sign(NAMESPACE, ssh_key::HashAlg::Sha512, input)
        .and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF))
        .expect("the key signs");
    let signed = SignedAcknowledgement { acknowledgement: text.to_owned(), signature };
    assert!(signed.verify(key(8).public_key()).is_err(), "another key signed it");
    if let Ok(said) = signed.verify(known.public_key()) {
        assert_eq!(said.text().expect("what was read can be written"), text);
    }
});
