//! Every name: what is taken is safe to show, and reads back as the same, as text and as JSON.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use curfew_fuzz::{survives_json, survives_text};
use libfuzzer_sys::fuzz_target;
use wire::identifier::{
    Address, Fingerprint, GrantId, HostName, Identity, KeyId, Label, Login, OrderNumber, Principal,
    RecordNumber, RoleName, Serial, SessionId,
};

macro_rules! each {
    ($($name:ty),*) => {
        fuzz_target!(|input: &[u8]| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let quoted = serde_json::to_vec(text).expect("text is JSON");
            $(
                survives_text::<$name>(text);
                survives_json::<$name>(&quoted);
                survives_json::<$name>(input);
            )*
            survives_text::<KeyId>(text);
            shapes(text);
        });
    };
}

each!(
    Address,
    Fingerprint,
    GrantId,
    HostName,
    Identity,
    Label,
    Login,
    OrderNumber,
    Principal,
    RecordNumber,
    RoleName,
    Serial,
    SessionId
);

fn shapes(text: &str) {
    if let Ok(principal) = text.parse::<Principal>() {
        let (login, host) = principal.as_str().split_once('@').expect("a principal has two halves");
        let (login, host) = (login.parse().expect("a login"), host.parse().expect("a host"));
        assert_eq!(Principal::of(&login, &host), Ok(principal));
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        let digest = fingerprint.as_str().strip_prefix("SHA256:").expect("a digest");
        assert_eq!(STANDARD_NO_PAD.decode(digest).expect("base64").len(), 32);
    }
}
