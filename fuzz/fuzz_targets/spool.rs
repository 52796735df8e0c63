//! A spool after anything happened to its disk: it opens or says why not, numbers on, and says something of every number, in
//! order and to the end; what it takes then, sealed or not, it gives back.
#![no_main]

use std::fs;

use agent::clock::Now;
use agent::spool::{Piece, Spool, Wanted};
use curfew_fuzz::NOW;
use libfuzzer_sys::fuzz_target;
use wire::octets::Octets;
use wire::record::{Event, Loss, Record};
use wire::recording::seal::OpeningKey;
use wire::spool::Sealed;
use wire::spool::check::{Reader, Standing};
use wire::time::Uptime;

fuzz_target!(|input: (u8, u8, bool, bool, &[u8])| {
    let (cut, second, sealed, seals, bytes) = input;
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let (older, newer) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let suffix = if sealed { "sealed" } else { "records" };
    let segment = |first: u64| dir.path().join(format!("{first:020}.{suffix}"));
    fs::write(segment(1), older).expect("memory is left");
    if second > 1 {
        fs::write(segment(second.into()), newer).expect("memory is left");
    }
    let open = || {
        let mut spool = Spool::open(dir.path(), QUOTA).ok()?;
        if seals {
            let host = "db1".parse().expect("a name");
            spool.seal_to(key().public(), (host, None)).expect("memory is left");
        }
        Some(spool)
    };
    let Some(mut spool) = open() else { return };
    let before = spool.newest();
    assert_eq!(last(&mut spool, 0), before);
    let now = Now { at: NOW, up: Uptime::from_nanos(1) };
    let event = Event::Loss(Loss { after: 1, missing: 1 });
    let number = spool.append(None, &event, now).expect("memory is left").number();
    assert_eq!(number, before + 1);

    let mut again = open().expect("it opened before");
    assert_eq!(again.newest(), number);
    assert_eq!(given(&mut again, number - 1).map(|record| record.event), Some(event));
    let acknowledged = again.acknowledge(number);
    acknowledged.expect("memory lets go");
    assert_eq!(again.waiting(), 0);
});

/// Reads all after a number; the last that something is said of.
fn last(spool: &mut Spool, mut after: u64) -> u64 {
    let wanted = Wanted { bytes: 64 * 1024, reads: u32::MAX - 1 };
    loop {
        let next = match spool.after(after, wanted).expect("memory is left") {
            // Whoever wrote it said that nobody reads it.
            Piece::Beyond => return spool.newest(),
            Piece::Nothing => return after,
            Piece::Records(records) => records.last().expect("there is one").number.number(),
            Piece::Sealed(piece) => piece.last,
        };
        assert!(next > after && next <= spool.newest());
        after = next;
    }
}

/// What the authority makes of the next record.
fn given(spool: &mut Spool, after: u64) -> Option<Record> {
    match spool.after(after, Wanted { bytes: 1, reads: u32::MAX }).expect("memory is left") {
        Piece::Records(records) => records.into_iter().next(),
        Piece::Sealed(piece) => {
            let standing = Standing { last: after, head: None };
            let mut reader = Reader::new("db1".parse().expect("a name"), None, standing);
            let (cover, frames) = (Some(Octets::new(piece.cover)), Octets::new(piece.frames));
            let open = |cover: &wire::spool::cover::Cover| key().segment(cover);
            let taken = reader.take(&Sealed { cover, frames }, open, NOW).expect("it is ours");
            taken.records.into_iter().next()
        }
        Piece::Beyond | Piece::Nothing => None,
    }
}

fn key() -> OpeningKey {
    OpeningKey::new(&[9; 32]).expect("a key")
}

/// More than any input needs.
const QUOTA: u64 = 1 << 30;
