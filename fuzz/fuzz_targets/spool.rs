//! A spool after anything happened to its disk: it opens or says why not, numbers on, and gives back what it took.
#![no_main]

use std::fs;

use agent::clock::Now;
use agent::spool::Spool;
use curfew_fuzz::NOW;
use libfuzzer_sys::fuzz_target;
use wire::record::{Event, Loss};
use wire::time::Uptime;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (cut, second, bytes) = input;
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let (older, newer) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let segment = |first: u64| dir.path().join(format!("{first:020}.records"));
    fs::write(segment(1), older).expect("memory is left");
    if second > 1 {
        fs::write(segment(second.into()), newer).expect("memory is left");
    }
    let Ok(mut spool) = Spool::open(dir.path(), QUOTA) else { return };
    let before = spool.newest();
    drop(spool.after(0, 64 * 1024));
    let now = Now { at: NOW, up: Uptime::from_nanos(1) };
    let event = Event::Loss(Loss { after: 1, missing: 1 });
    let number = spool.append(None, &event, now).expect("memory is left").number();
    assert_eq!(number, before + 1);

    let mut again = Spool::open(dir.path(), QUOTA).expect("it opened before");
    assert_eq!(again.newest(), number);
    let last = again.after(number - 1, u64::MAX);
    if let Ok(records) = last {
        assert_eq!(records.last().map(|record| &record.event), Some(&event));
    }
    let acknowledged = again.acknowledge(number);
    acknowledged.expect("memory lets go");
    assert_eq!(again.waiting(), 0);
});

/// More than any input needs.
const QUOTA: u64 = 1 << 30;
