//! Bytes from a host: unaltered through JSON, and harmless on a terminal.
#![no_main]

use curfew_fuzz::survives_json;
use libfuzzer_sys::fuzz_target;
use wire::octets::Octets;

fuzz_target!(|input: &[u8]| {
    let octets = Octets::new(input);
    let json = serde_json::to_string(&octets).expect("bytes have a JSON form");
    assert_eq!(serde_json::from_str::<Octets>(&json).expect("it reads back"), octets);
    survives_json::<Octets>(input);

    let shown = octets.display();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(!shown.contains(['\u{2028}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{200b}']));
    let again = Octets::new(shown.as_bytes()).display();
    assert!(shown.contains('\\') || again == shown, "what needs no escape is shown as it is");
});
