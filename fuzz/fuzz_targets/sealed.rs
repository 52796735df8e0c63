//! Sealed records as a host may send them: nothing panics, what is read is written back as it was, no record comes twice or
//! out of order, and what is found is placed among them.
#![no_main]

use curfew_fuzz::NOW;
use libfuzzer_sys::fuzz_target;
use wire::octets::Octets;
use wire::recording::seal::OpeningKey;
use wire::spool::Sealed;
use wire::spool::check::{Reader, Standing};
use wire::spool::cover::SignedCover;
use wire::spool::frame::{self, Frame};

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (last, cut, bytes) = input;
    let (cover, frames) = bytes.split_at(usize::from(cut).min(bytes.len()));
    if let Ok((signed, rest)) = SignedCover::decode(cover) {
        assert_eq!([signed.encode().as_slice(), rest].concat(), cover);
    }
    let mut rest = frames;
    while let Ok((frame, left)) = Frame::read(rest) {
        let (head, body) = (frame.head().encode(), frame.body());
        assert_eq!([head.as_slice(), body, left].concat(), rest);
        rest = left;
    }
    if let Some(at) = frame::find(rest, &(1..=u64::MAX)) {
        assert!(at < rest.len());
    }
    let key = OpeningKey::new(&[9; 32]).expect("a key");
    let standing = Standing { last: last.into(), head: None };
    let mut reader = Reader::new("db1".parse().expect("a name"), None, standing);
    let mut due = standing.last;
    for cover in [Some(Octets::new(cover)), None] {
        let sealed = Sealed { cover, frames: Octets::new(frames) };
        let open = |cover: &wire::spool::cover::Cover| key.segment(cover);
        let Ok(taken) = reader.take(&sealed, open, NOW) else { return };
        for record in &taken.records {
            assert_eq!(record.number.number(), due + 1);
            due += 1;
        }
        assert_eq!(taken.standing.last, due);
        for found in &taken.findings {
            assert!(found.from <= found.to && found.to <= due);
        }
    }
});
