//! Gathers what passes a terminal into batches of records, each of which becomes a block. Pure: the recorder brings bytes
//! and moments.

use crate::time::Uptime;

use super::record::{Begin, Content, FRAME_BYTES, Record, Size};
use super::{BLOCK_AGE, BLOCK_BYTES, MAX_PAYLOAD};

/// Records of one block to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The records, as they are written.
    pub plain: Vec<u8>,
    /// The number of the first of them.
    pub first: u64,
    /// The number of the last of them.
    pub last: u64,
    /// When the first was made.
    pub from: Uptime,
    /// When the last was made.
    pub until: Uptime,
    /// The newest record among them after which the screen holds nothing from before; 0 for none.
    pub keyframe: u64,
    /// Whether nothing follows.
    pub ends: bool,
    /// Bytes that passed the terminal and are told of in it.
    pub passed: u64,
}

/// Gathers them.
#[derive(Debug)]
pub struct Gatherer {
    batch: Option<Batch>,
    /// The number of the newest record; 0 for none.
    newest: u64,
    at: Uptime,
    size: Size,
    ended: bool,
}

impl Gatherer {
    /// Begins a recording.
    #[must_use]
    pub fn new(begin: Begin, at: Uptime) -> Self {
        let size = begin.size;
        let mut this = Self { batch: None, newest: 0, at, size, ended: false };
        this.append(at, Content::Begin(begin));
        this
    }

    /// Takes what passed or happened. After the end nothing is taken.
    pub fn push(&mut self, at: Uptime, content: Content) {
        if self.ended {
            return;
        }
        match content {
            Content::Output(bytes) if bytes.len() > MAX_PAYLOAD => {
                for part in bytes.chunks(MAX_PAYLOAD) {
                    self.push_one(at, Content::Output(part.to_vec()));
                }
            }
            Content::Input(bytes) if bytes.len() > MAX_PAYLOAD => {
                for part in bytes.chunks(MAX_PAYLOAD) {
                    self.push_one(at, Content::Input(part.to_vec()));
                }
            }
            content => self.push_one(at, content),
        }
    }

    fn push_one(&mut self, at: Uptime, content: Content) {
        // A block can be read without the one before it: it says the terminal's size first.
        if self.batch.is_none() {
            self.append(at, Content::Size(self.size));
        }
        if let Content::Size(size) = content {
            self.size = size;
        }
        self.append(at, content);
    }

    fn append(&mut self, at: Uptime, content: Content) {
        // Moments come from one clock, but what was held back is older than what passed meanwhile.
        self.at = self.at.max(at);
        self.newest = self.newest.saturating_add(1);
        let record = Record { number: self.newest, at: self.at, content };
        let batch = self.batch.get_or_insert_with(|| Batch {
            plain: Vec::new(),
            first: record.number,
            last: record.number,
            from: record.at,
            until: record.at,
            keyframe: 0,
            ends: false,
            passed: 0,
        });
        batch.passed = batch.passed.saturating_add(record.content.passed());
        match &record.content {
            Content::Output(bytes) if clears(bytes) => batch.keyframe = record.number,
            Content::Begin(_) => batch.keyframe = record.number,
            Content::End(_) => {
                batch.ends = true;
                self.ended = true;
            }
            _ => {}
        }
        record.write(&mut batch.plain);
        batch.last = record.number;
        batch.until = record.at;
    }

    /// When the batch must be closed for its age; nothing when there is none.
    #[must_use]
    pub fn due(&self) -> Option<Uptime> {
        self.batch.as_ref().map(|batch| batch.from.after(BLOCK_AGE))
    }

    /// The batch, if it is full, old enough, or the last.
    pub fn take_due(&mut self, now: Uptime) -> Option<Batch> {
        let is_due = |batch: &mut Batch| {
            batch.ends || batch.plain.len() >= BLOCK_BYTES || batch.from.after(BLOCK_AGE) <= now
        };
        self.batch.take_if(is_due)
    }

    /// How much more may be pushed before [`Gatherer::take_due`] must be asked again, in bytes of payload: pushing within
    /// this never makes a block too long.
    #[must_use]
    pub fn room(&self) -> usize {
        let used = self.batch.as_ref().map_or(0, |batch| batch.plain.len());
        BLOCK_BYTES.saturating_add(MAX_PAYLOAD).saturating_sub(used).saturating_sub(SLACK)
    }
}

/// Whether output empties the screen: it is cleared, the terminal is reset, or another screen is begun. A hint for whoever
/// seeks: what is missed costs time, not truth.
fn clears(bytes: &[u8]) -> bool {
    let mut sequences = bytes.split(|byte| *byte == ESC).skip(1);
    sequences.any(|rest| CLEARING.iter().any(|code| rest.starts_with(code)))
}

const ESC: u8 = 0x1b;
/// What follows ESC: ED 2, RIS, and the switch to the alternate screen.
const CLEARING: &[&[u8]] = &[b"[2J", b"c", b"[?1049h"];
/// Room for the frames of a handful of small records.
const SLACK: usize = 64 * FRAME_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::End;
    use crate::recording::MAX_PLAIN;
    use crate::time::Timestamp;

    fn begin() -> Begin {
        let size = Size { columns: 80, rows: 24 };
        Begin { at: Timestamp::from_secs(9), size, term: None }
    }

    fn at(millis: u64) -> Uptime {
        Uptime::from_nanos(millis.saturating_mul(1_000_000))
    }

    fn records(batch: &Batch) -> Vec<Record> {
        let (mut rest, mut records) = (&batch.plain[..], Vec::new());
        while !rest.is_empty() {
            let (record, left) = Record::read(rest).unwrap();
            records.push(record);
            rest = left;
        }
        records
    }

    #[test]
    fn blocks_close_by_age_by_size_and_at_the_end_and_begin_with_the_size() {
        let mut gatherer = Gatherer::new(begin(), at(0));
        gatherer.push(at(10), Content::Output(b"$ ".to_vec()));
        assert_eq!((gatherer.take_due(at(999)), gatherer.due()), (None, Some(at(1_000))));
        let first = gatherer.take_due(at(1_000)).unwrap();
        assert_eq!((first.first, first.last, first.keyframe, first.ends), (1, 2, 1, false));
        assert_eq!(gatherer.due(), None);

        let size = Size { columns: 100, rows: 30 };
        gatherer.push(at(1_200), Content::Size(size));
        gatherer.push(at(1_100), Content::Output(b"\x1b[H\x1b[2Jx".to_vec()));
        let second = gatherer.take_due(at(9_000)).unwrap();
        assert_eq!((second.first, second.last, second.keyframe), (3, 5, 5));
        assert_eq!((second.from, second.until), (at(1_200), at(1_200)));
        assert_eq!(records(&second)[0].content, Content::Size(begin().size));

        gatherer.push(at(9_001), Content::End(End::Exited));
        gatherer.push(at(9_002), Content::Output(b"late".to_vec()));
        let third = gatherer.take_due(at(9_001)).unwrap();
        assert_eq!((third.first, third.last, third.ends), (6, 7, true));
        assert_eq!(records(&third)[0].content, Content::Size(size));
    }

    #[test]
    fn whoever_heeds_the_room_makes_no_block_too_long() {
        let mut gatherer = Gatherer::new(begin(), at(0));
        for _ in 0..50 {
            let room = gatherer.room();
            gatherer.push(at(1), Content::Output(vec![7; room.min(MAX_PAYLOAD)]));
            gatherer.push(at(1), Content::Hidden(1));
            if let Some(batch) = gatherer.take_due(at(1)) {
                assert!(batch.plain.len() >= BLOCK_BYTES && batch.plain.len() <= MAX_PLAIN);
            }
        }
    }
}
