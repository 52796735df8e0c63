//! Certificates as a stranger offers them, in binary and as text: nothing but the one that the authority signed opens.
#![no_main]

use std::sync::LazyLock;

use curfew_fuzz::{NOW, certificate, key};
use libfuzzer_sys::fuzz_target;
use wire::certificate::{Certificate, Malformed};

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| certificate().to_bytes());

fuzz_target!(|input: &[u8]| {
    judge(Certificate::from_bytes(input));
    if let Ok(text) = std::str::from_utf8(input) {
        judge(text.parse());
    }
    // The good one with the input over one place of it.
    if let [at, with @ ..] = input {
        let mut altered = GOOD.clone();
        let from = usize::from(*at) * 2 % altered.len();
        for (place, byte) in altered.iter_mut().skip(from).zip(with) {
            *place = *byte;
        }
        judge(Certificate::from_bytes(&altered));
    }
});

fn judge(read: Result<Certificate, Malformed>) {
    let Ok(offered) = read else { return };
    let trusted = [key(1).public_key().clone()];
    let (login, host) = ("app".parse().expect("login"), "db1".parse().expect("host"));
    if wire::certificate::verify(&offered, &trusted, &login, &host, NOW).is_ok() {
        // All that the signature covers is as it was signed.
        assert_eq!(offered.to_bytes(), *GOOD);
    }
}
