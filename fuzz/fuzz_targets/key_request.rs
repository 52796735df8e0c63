//! Requests for keys as strangers send them: nothing is taken that the wished key did not sign, and what is taken is written in one way.
#![no_main]

use curfew_fuzz::key;
use libfuzzer_sys::fuzz_target;
use wire::key_request::{
    APPROVAL, CONSENT, KeyRequestAsk, KeyWish, POSSESSION, SignedKeyApproval, SignedWish,
};

fuzz_target!(|input: &[u8]| {
    if let Ok(ask) = serde_json::from_slice::<KeyRequestAsk>(input) {
        if let Ok((wish, public)) = ask.signed.verify() {
            assert_eq!(wish.text().expect("what was read can be written"), ask.signed.wish);
            assert_eq!(public.to_openssh().expect("it is written"), wish.public_key);
        }
        if let Some(consent) = &ask.consent {
            let nobody = key(9).public_key().clone();
            assert!(ask.signed.verify_consent(&nobody, consent).is_err(), "nobody has this key");
        }
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let seal = |seed: u8, namespace: &str| {
        let seal =
            key(seed).sign(namespace, ssh_key::HashAlg::Sha512, input).expect("the key signs");
        seal.to_pem(ssh_key::LineEnding::LF).expect("it is written")
    };
    let approval = |namespace: &str| SignedKeyApproval {
        approval: text.to_owned(),
        signature: seal(8, namespace),
    };
    if let Ok(said) = approval(APPROVAL).verify(key(8).public_key()) {
        assert_eq!(said.text().expect("what was read can be written"), text);
    }
    assert!(approval(CONSENT).verify(key(8).public_key()).is_err());
    if serde_json::from_str::<KeyWish>(text).is_ok() {
        let signed =
            |namespace| SignedWish { wish: text.to_owned(), possession: seal(9, namespace) };
        assert!(signed(CONSENT).verify().is_err(), "signed as something else");
        if let Ok((_, public)) = signed(POSSESSION).verify() {
            assert_eq!(public.key_data(), key(9).public_key().key_data());
        }
    }
});
