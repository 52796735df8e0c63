//! Login signatures as a stranger sends them: only the one that the key made over this message is believed.
#![no_main]

use std::sync::LazyLock;

use curfew_fuzz::{MESSAGE, key, seal};
use libfuzzer_sys::fuzz_target;
use ssh_key::SshSig;
use wire::{login, sshsig};

static GOOD: LazyLock<SshSig> = LazyLock::new(|| sshsig::parse(&seal()).expect("a seal"));

fuzz_target!(|input: &[u8]| {
    drop(wire::signature::from_bytes(input));
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(read) = sshsig::parse(text) else { return };
    let known = key(9);
    if sshsig::verify(&read, known.public_key().key_data(), login::NAMESPACE, MESSAGE).is_ok() {
        assert_eq!(read.signature(), GOOD.signature());
    }
    // Whoever sends his own key is believed for no more than that.
    let own = read.public_key().clone();
    if own != *known.public_key().key_data() {
        let known = known.public_key().key_data();
        assert!(sshsig::verify(&read, known, login::NAMESPACE, MESSAGE).is_err());
    }
    drop(sshsig::verify(&read, &own, read.namespace(), MESSAGE));
});
