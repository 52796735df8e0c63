//! A recording as a host may send it, or a store may give it back: nothing panics, what is read is written back as it
//! was, and what opens is exactly what its header says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::recording::block::{Block, Chain, Header};
use wire::recording::lane::{Assembly, Part};
use wire::recording::record::Record;
use wire::recording::seal::OpeningKey;
use wire::recording::stored::{Place, StoredBlock};

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok((record, left)) = Record::read(rest) {
        let mut again = Vec::new();
        record.write(&mut again);
        assert_eq!(again, &rest[..rest.len() - left.len()]);
        rest = left;
    }
    if let Ok(header) = Header::decode(input) {
        assert_eq!(header.encode(), &input[..header.encode().len()]);
    }
    if let Ok(stored) = StoredBlock::decode(input) {
        assert_eq!(stored.encode(), input);
        look_into(&stored.block);
    }
    if let Ok(block) = Block::parse(input.to_vec()) {
        look_into(&block);
    }
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(place) = text.parse::<Place>() {
            assert_eq!(place.to_string(), text);
        }
        if let Ok(parts) = serde_json::from_str::<Vec<Part>>(text) {
            let mut assembly = Assembly::default();
            for part in parts {
                drop(assembly.take(part));
            }
        }
    }
});

fn look_into(block: &Block) {
    let key = OpeningKey::new(&[9; 32]).expect("a key");
    if let Ok(records) = key.open(block) {
        let header = block.header();
        assert_eq!(records.first().map(|record| record.number), Some(header.first));
        assert_eq!(records.last().map(|record| record.number), Some(header.last));
    }
    let header = block.header();
    let mut chain = Chain::new(header.session, header.channel);
    if chain.take(block).is_ok() {
        assert!(chain.take(block).is_err());
    }
}
