//! A recording as a whole: what is written is read, and whatever is done to it is found and placed.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::channel::{ChannelId, End};
use crate::identifier::SessionId;
use crate::recording::batch::Gatherer;
use crate::recording::block::{ChainFlaw, HEADER_BYTES};
use crate::recording::record::{Begin, Size};
use crate::time::Timestamp;

fn opening() -> OpeningKey {
    OpeningKey::new(&[9; 32]).unwrap()
}

fn session() -> SessionId {
    SessionId::new(NonZeroU64::new(0xabc).unwrap())
}

fn at(millis: u64) -> Uptime {
    Uptime::from_nanos(millis.saturating_mul(1_000_000))
}

/// A recording of so many blocks, each of one line of output more than it must have.
fn recording(blocks: u64) -> Vec<Block> {
    let begin =
        Begin { at: Timestamp::from_secs(9), size: Size { columns: 80, rows: 24 }, term: None };
    let mut gatherer = Gatherer::new(begin, at(0));
    let chain = Chain::new(session(), ChannelId::new(5));
    let mut sealer = Sealer::new(chain, opening().public());
    let mut made = Vec::new();
    for number in 1..=blocks {
        let (now, later) = (at(number.saturating_mul(2_000)), at(number.saturating_mul(2_500)));
        gatherer.push(now, Content::Output(format!("line {number}\r\n").into()));
        if number == blocks {
            gatherer.push(now, Content::End(End::Exited));
        }
        let batch = gatherer.take_due(later.max(now.after(crate::recording::BLOCK_AGE))).unwrap();
        made.push(sealer.seal(&batch).unwrap());
    }
    made
}

fn walk(blocks: &[Block]) -> Result<Chain, (usize, ChainFlaw)> {
    let mut chain = Chain::new(session(), ChannelId::new(5));
    for (place, block) in blocks.iter().enumerate() {
        chain.take(block).map_err(|flaw| (place, flaw))?;
    }
    Ok(chain)
}

#[test]
fn what_was_recorded_is_read_by_the_key_it_was_encrypted_to_and_by_no_other() {
    let blocks = recording(3);
    assert!(walk(&blocks).unwrap().has_ended());
    let records: Vec<Record> =
        blocks.iter().flat_map(|block| opening().open(block).unwrap()).collect();
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>());
    assert!(records.iter().any(|record| record.content == Content::Output("line 1\r\n".into())));
    assert_eq!(records.last().unwrap().content, Content::End(End::Exited));
    let other = OpeningKey::new(&[8; 32]).unwrap();
    assert!(matches!(other.open(&blocks[0]), Err(OpenError::Key(_))));
    assert!(blocks.iter().all(|block| !block.bytes().windows(4).any(|window| window == b"line")));
}

#[test]
fn two_blocks_of_the_same_records_have_nothing_in_common() {
    let (one, other) = (recording(1), recording(1));
    assert_eq!(one[0].header(), other[0].header());
    assert_ne!(one[0].body()[..32], other[0].body()[..32]);
    assert_ne!(one[0].hash(), other[0].hash());
}

#[test]
fn a_bomb_is_not_unpacked() {
    let plain = vec![0; 64 * 1024 * 1024];
    let packed = zstd::bulk::compress(&plain, 19).unwrap();
    let mut header = recording(1)[0].header().clone();
    header.body = u32::try_from(packed.len() + OVERHEAD).unwrap();
    let to = HpkePublicKey(opening().public().as_bytes().to_vec());
    let (secret, sealed) = SUITE.seal(INFO, &header.encode(), &packed, &to).unwrap();
    let block = Block::parse([header.encode(), secret.0, sealed].concat()).unwrap();
    assert!(matches!(opening().open(&block), Err(OpenError::Length)));
}

#[test]
fn a_header_that_says_otherwise_than_its_records_is_found() {
    let batch = |change: fn(&mut Batch)| {
        let begin = Begin { at: Timestamp::from_secs(9), size: Size::default(), term: None };
        let mut gatherer = Gatherer::new(begin, at(1));
        gatherer.push(at(2), Content::Output(b"x".to_vec()));
        gatherer.push(at(3), Content::End(End::HungUp));
        let mut batch = gatherer.take_due(at(3)).unwrap();
        change(&mut batch);
        let chain = Chain::new(session(), ChannelId::new(5));
        let block = Sealer::new(chain, opening().public()).seal(&batch).unwrap();
        opening().open(&block).map(drop)
    };
    assert!(batch(|_| {}).is_ok());
    assert!(matches!(batch(|batch| batch.last = 4), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.last = 2), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.from = at(2)), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.from = at(0)), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.until = at(4)), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.ends = false), Err(OpenError::Records(_))));
    assert!(matches!(batch(|batch| batch.plain.truncate(40)), Err(OpenError::Record(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is cut out, put in twice, or exchanged is found at its place.
    #[test]
    fn a_cut_a_repetition_and_another_order_are_found_and_placed(
        blocks in 3u64..8, first: prop::sample::Index, second: prop::sample::Index,
    ) {
        let blocks = recording(blocks);
        let first = first.index(blocks.len());
        let second = second.index(blocks.len());

        let mut cut = blocks.clone();
        cut.remove(first);
        let number = blocks[first].header().number;
        match blocks.get(first.saturating_add(1)) {
            None => prop_assert!(!walk(&cut).unwrap().has_ended()),
            Some(next) => {
                let flaw = ChainFlaw::Number { expected: number, found: next.header().number };
                prop_assert_eq!(walk(&cut), Err((first, flaw)));
            }
        }

        let mut twice = blocks.clone();
        let after = first.saturating_add(1);
        twice.insert(after, blocks[first].clone());
        prop_assert_eq!(walk(&twice).unwrap_err().0, after);

        if first != second {
            let mut other = blocks.clone();
            other.swap(first, second);
            prop_assert_eq!(walk(&other).unwrap_err().0, first.min(second));
        }
    }

    /// One other bit anywhere in a block: it is no block any more, or does not continue, or is not continued, or does not
    /// open; and the hash that the host signed is another in each case.
    #[test]
    fn one_other_bit_is_found_and_placed(
        which: prop::sample::Index, byte: prop::sample::Index, bit in 0u8..8,
    ) {
        let blocks = recording(3);
        let which = which.index(blocks.len());
        let mut bytes = blocks[which].bytes().to_vec();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        let Ok(changed) = Block::parse(bytes) else { return Ok(()) };
        prop_assert_ne!(changed.hash(), blocks[which].hash());
        prop_assert!(opening().open(&changed).is_err());
        let mut other = blocks.clone();
        other[which] = changed;
        match walk(&other) {
            Err((place, _)) => prop_assert!(place.saturating_sub(which) <= 1 && place >= which),
            // The last one has none after it: its end, its key and its body are held by the signature alone.
            Ok(_) => prop_assert_eq!(blocks[which].header().number, 3),
        }
    }

    #[test]
    fn no_body_makes_the_opener_panic(body in proptest::collection::vec(any::<u8>(), 1..200)) {
        let mut header = recording(1)[0].header().clone();
        header.body = u32::try_from(body.len()).unwrap();
        let block = Block::parse([header.encode(), body].concat()).unwrap();
        prop_assert_eq!(block.bytes().len(), header.block_bytes());
        prop_assert!(block.bytes().len() > HEADER_BYTES);
        prop_assert!(opening().open(&block).is_err());
    }
}
