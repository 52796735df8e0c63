//! Tokens and keys of issuers: whatever text is sent, nothing is believed that no key of the set has signed, and what is
//! believed is for us.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use idp::claims::{Claims, Expected};
use idp::jwk::{Algorithm, KeySet};
use idp::jws::Unverified;
use idp::provider::{DeviceCode, Granted, Provider};
use libfuzzer_sys::fuzz_target;
use wire::time::Timestamp;

fuzz_target!(|input: &[u8]| {
    let Some((token, bytes)) = curfew_fuzz::text_and_bytes(input) else { return };
    drop((DeviceCode::parse(bytes), Granted::parse(bytes), Provider::parse(bytes, "https://a")));
    let Ok(unverified) = Unverified::parse(token) else { return };
    assert!(token.matches('.').count() == 2);
    let Ok(keys) = KeySet::parse(bytes) else { return };
    let none = unverified.clone().verify(&keys, &BTreeSet::new());
    assert!(none.is_err(), "an empty list allows nothing");
    if let Ok(verified) = unverified.verify(&keys, &Algorithm::ALL.into()) {
        let expected = Expected {
            issuer: "https://a",
            audience: "b",
            others: false,
            nonce: None,
            skew: Duration::from_secs(60),
            longest: Duration::from_secs(3_600),
        };
        if let Ok(claims) = Claims::check(verified, &expected, Timestamp::from_secs(1_800_000_000))
        {
            assert!(!claims.subject.is_empty());
            assert!(claims.is("iss", "https://a"));
        }
    }
});
