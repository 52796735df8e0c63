//! Limits as a certificate carries them: what is read is written back as it was, and only ever gets narrower.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::limits::{Limits, Rule};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(rule) = text.parse::<Rule>() {
        assert_eq!(rule.to_string(), text);
        let words = text.split(' ').map(str::as_bytes);
        drop(rule.is_broken_by(&[input], words));
    }
    let Ok(limits) = Limits::from_extension(text) else { return };
    assert!(limits.check().is_ok() && !limits.is_empty());
    assert_eq!(limits.to_extension().expect("it was read").expect("it is not empty"), text);
    assert_eq!(limits.meet(&limits), limits);
    assert!(limits.is_within(&Limits::default()));
});
