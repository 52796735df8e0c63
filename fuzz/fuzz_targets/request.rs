//! Requests and approvals as strangers send them: what reads is written again as the same bytes, and only the key that signed is
//! believed.
#![no_main]

use curfew_fuzz::key;
use libfuzzer_sys::fuzz_target;
use wire::request::{ApprovalAsk, Asked, NAMESPACE, NoAsk, RequestAsk, Sentence, SignedApproval};

fuzz_target!(|input: &[u8]| {
    drop((serde_json::from_slice::<RequestAsk>(input), serde_json::from_slice::<NoAsk>(input)));
    if let Ok(ask) = serde_json::from_slice::<ApprovalAsk>(input) {
        assert!(ask.signed.verify(key(9).public_key()).is_err(), "nobody has this key");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(sentence) = Sentence::try_new(text) {
        assert!(!sentence.as_str().chars().any(char::is_control));
        assert_eq!(sentence.as_str(), text);
    }
    if let Ok(asked) = Asked::parse(text) {
        assert_eq!(asked.text().expect("what was read can be written"), text);
    }
    let known = key(9);
    let signature = known
        .sign(NAMESPACE, ssh_key::HashAlg::Sha512, input)
        .and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF))
        .expect("the key signs");
    let signed = SignedApproval { approval: text.to_owned(), signature };
    assert!(signed.verify(key(8).public_key()).is_err(), "another key signed it");
    if let Ok((approval, _)) = signed.verify(known.public_key()) {
        assert_eq!(approval.text().expect("what was read can be written"), text);
    }
});
