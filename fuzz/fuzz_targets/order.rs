//! Orders: as a link could forge them, and, behind a good signature, as a newer or a wrong authority could write them.
#![no_main]

use agent::revocation::{Revocation, Taken};
use curfew_fuzz::{key, raw};
use libfuzzer_sys::fuzz_target;
use wire::order::{NAMESPACE, SignedOrder};

fuzz_target!(|input: &[u8]| {
    let order_key = key(2);
    if let Ok(forged) = serde_json::from_slice::<SignedOrder>(input)
        && let Ok(order) = forged.verify(order_key.public_key())
    {
        assert_eq!(order.version, wire::VERSION);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let signature = order_key
        .sign(NAMESPACE, ssh_key::HashAlg::Sha512, text.as_bytes())
        .and_then(|signature| signature.to_pem(ssh_key::LineEnding::LF))
        .expect("the key signs");
    let signed = SignedOrder { order: text.to_owned(), signature };
    assert!(signed.verify(key(3).public_key()).is_err(), "another key signed it");
    let Ok(order) = signed.verify(order_key.public_key()) else { return };
    let again = order
        .sign(order_key.public_key(), |message| raw(&order_key, message))
        .expect("what was read can be written");
    assert_eq!(again.verify(order_key.public_key()).expect("it reads back"), order);

    let before = order.number.number() - 1;
    let mut revocation = Revocation::joined(before, Vec::new());
    let taken = revocation.take(&order);
    assert!(!matches!(taken, Taken::Known | Taken::Gap { .. }));
    // A restore that is declared is taken in a second step, when the host has looked at it.
    if !matches!(taken, Taken::Restored(_)) {
        assert_eq!(revocation.take(&order), Taken::Known);
    }
    assert!(revocation.locks.len() <= 1);
});
