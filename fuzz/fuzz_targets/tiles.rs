//! Tiles, bundles, submissions and answers of witnesses as a stranger writes them: what reads is written as the same bytes, and
//! no tile is believed that does not lead up to the root.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::ledger::Walk;
use wire::log::tile::{TileName, bundle, hashes, unbundle};
use wire::log::{Hash, Head, Submission, conflict, cosignatures};

fuzz_target!(|input: &[u8]| {
    if let Ok(leaves) = unbundle(input) {
        assert_eq!(bundle(leaves).expect("it was read"), input);
    }
    if let Ok(hashes) = hashes(input) {
        let written: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        assert_eq!(written, input);
    }
    walk(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(name) = text.parse::<TileName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(submission) = text.parse::<Submission>() {
        assert_eq!(submission.to_string(), text);
    }
    if let Ok(lines) = cosignatures(text) {
        let written: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(written, text);
    }
    if let Ok(size) = conflict(text) {
        assert_eq!(size.to_string(), text.trim_end());
    }
});

/// Eight octets for a size, then the tiles one after the other: the walk never comes to its end, for nobody knows what hashes
/// to the root.
fn walk(input: &[u8]) {
    let Some((size, mut rest)) = input.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_be_bytes(*size) >> 1;
    let old = Head { size: size / 2, root: Hash([1; 32]) };
    let mut walk = Walk::new(Head { size, root: Hash([0; 32]) }, 0..size).continuing(old);
    for tile in walk.order().take(64) {
        let length = usize::try_from(tile.width.saturating_mul(32)).expect("at most 8,192");
        let (bytes, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        if walk.take(tile, bytes).is_err() {
            break;
        }
    }
    assert!(walk.finish().is_err(), "nothing hashes to zeros");
}
