//! Public keys as a stranger sends them, in binary and as a line: one that is taken has one form, and one fingerprint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_key::public::KeyData;
use wire::key::{self, KeyKind, MAX_RSA_BITS, MIN_RSA_BITS};

fuzz_target!(|input: &[u8]| {
    if let Ok(read) = key::from_bytes(input) {
        assert_eq!(key::to_bytes(&read).expect("bytes"), input, "another form of the same key");
        judge(&read);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(read) = key::from_openssh(text)
    {
        let line = read.to_openssh().expect("a line");
        let again = key::from_openssh(&line).expect("what was written can be read");
        assert_eq!(again.key_data(), read.key_data());
        judge(read.key_data());
    }
});

fn judge(read: &KeyData) {
    let kind = KeyKind::of(read).expect("a kind that is used");
    assert_eq!(read.algorithm().as_str(), kind.name());
    assert_eq!(key::check(read), Ok(()));
    if let Some(rsa) = read.rsa() {
        assert!((MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key::rsa_bits(rsa)));
    }
    // Signed by nobody, so nothing verifies; and nothing panics over it either.
    let mut blob = Vec::new();
    for part in [kind.name().as_bytes(), &[1; 64]] {
        blob.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
        blob.extend(part);
    }
    if let Ok(signature) = wire::signature::from_bytes(&blob) {
        assert!(wire::signature::verify(read, b"", &signature).is_err());
    }
}
