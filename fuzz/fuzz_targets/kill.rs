//! What a host says of a kill, as whoever holds the link could send it: only what the agent's key signed is believed, and what is
//! read can be shown and counted.
#![no_main]

use curfew_fuzz::key;
use libfuzzer_sys::fuzz_target;
use wire::kill::{KillView, Kills, MAX_TEXT, Seal, SignedKill};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let bare = SignedKill { text: text.to_owned(), signature: None };
    let said = serde_json::from_str(text).unwrap_or(bare);
    let known = key(9);
    let checked = said.check(Some(known.public_key().key_data()));
    if checked == Ok(Seal::Signed) {
        let again = said.read().expect("the agent signs what it can read");
        assert_eq!(again.sign(Some(&known)).expect("it is short enough").text, said.text);
    }
    assert_eq!(said.check(None), Ok(Seal::Unsigned));
    let Ok(killed) = said.read() else { return };
    assert!(said.text.len() <= MAX_TEXT);
    let mut kills = Kills::default();
    kills.count(&KillView { killed, seal: Seal::Wrong });
    kills.add(kills);
    assert!(kills.over <= kills.sessions && kills.to_string().contains("NOT SIGNED"));
});
