//! Frames of every kind, cut anywhere: a value that is read is written as a frame that reads back as the same.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::frame::{Decoder, MAX_FRAME, encode};

fuzz_target!(|input: &[u8]| {
    let [kind, cut, rest @ ..] = input else { return };
    let cut = usize::from(*cut).max(1);
    match kind % 4 {
        0 => read::<wire::hostlink::ToHost>(rest, cut),
        1 => read::<wire::hostlink::ToAuthority>(rest, cut),
        2 => read::<wire::gate::Question>(rest, cut),
        _ => read::<wire::gate::Answer>(rest, cut),
    }
});

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8], cut: usize) {
    let mut decoder = Decoder::new(64 * 1024);
    for chunk in bytes.chunks(cut) {
        decoder.push(chunk);
        loop {
            match decoder.take::<T>() {
                Ok(Some(value)) => survives(&value),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    // The same body alone, without the luck of a length that fits.
    curfew_fuzz::survives_json::<T>(bytes);
}

fn survives<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &T) {
    let mut decoder = Decoder::new(MAX_FRAME);
    decoder.push(&encode(value).expect("what was read can be written"));
    assert_eq!(decoder.take::<T>().expect("it reads back").as_ref(), Some(value));
}
