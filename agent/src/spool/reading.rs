//! Reads the spool back, piece by piece, for the authority: whatever became of the files, something is said of every number.
//!
//! Sealed records are not opened, for nobody here can: they are taken by the form and number of their frames. What stands
//! where a record belongs and is none, or is not there, becomes a record that says so; what follows it goes on.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use wire::identifier::RecordNumber;
use wire::record::{Event, Record};
use wire::spool::cover::{MAX_COVER, NOTHING, SignedCover};
use wire::spool::frame::{self, Frame, HEAD_BYTES};
use wire::spool::{MAX_BODY, MAX_FRAMES, MAX_PLAIN};
use wire::time::{Timestamp, Uptime};

use super::segment::{Form, Segment, count, is_renumbered, segments};
use super::{MAX_LINE, SpoolError};

/// What the spool gives at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// There is nothing after that.
    Nothing,
    /// There is a record that whoever asks cannot read.
    Beyond,
    /// Records in the clear, or those that say what cannot be read.
    Records(Vec<Record>),
    /// Sealed records of one segment.
    Sealed(SealedPiece),
}

/// Sealed records of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPiece {
    /// The number of the segment's first record.
    pub segment: u64,
    /// The segment's signed cover.
    pub cover: Vec<u8>,
    /// The frames.
    pub frames: Vec<u8>,
    /// The number of the last record in them.
    pub last: u64,
}

/// How much is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// About so many bytes, but one record at least.
    pub bytes: u64,
    /// The newest generation of records that whoever asks can read.
    pub reads: u32,
}

/// Where reading goes on.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The number of the record that is due.
    pub(super) number: u64,
    pub(super) segment: Segment,
    /// The last number that may be in the segment; no limit, for the newest.
    last: u64,
    offset: u64,
    /// Of a sealed segment whose beginning was read.
    cover: Vec<u8>,
}

/// What a segment gives.
enum Step {
    Piece(Piece),
    /// Nothing more; so many bytes at its end are no record.
    Over(u64),
}

/// What was read.
pub(super) struct Reading {
    /// The piece.
    pub(super) piece: Piece,
    /// Where to go on.
    pub(super) place: Option<Place>,
    /// Bytes in the middle that are no record and cost none, one sentence each.
    pub(super) found: Vec<String>,
}

/// Reads on from `place`, or looks for record `due`; the newest is `newest`. The segment that is written to has this cover,
/// whatever stands in its file.
pub(super) fn read(
    (folder, own): (&Path, (&Segment, &[u8])),
    (due, newest): (u64, u64),
    place: Option<Place>,
    wanted: Wanted,
) -> Result<Reading, SpoolError> {
    let mut reading = Reading { piece: Piece::Nothing, place: None, found: Vec::new() };
    let mut all = None;
    let mut place = match place.filter(|place| place.number == due) {
        Some(place) => Some(place),
        None => seek(all.insert(segments(folder)?), due),
    };
    loop {
        let Some(mut at) = place else {
            // No segment holds it: it is gone, up to the next segment, or with all that followed.
            let next = all.as_ref().and_then(|all| all.iter().find(|it| it.first > due));
            let last = next.map_or(newest, |next| next.first.saturating_sub(1).min(newest));
            reading.piece = gone(due, (last, 0), wanted);
            return Ok(reading);
        };
        let step = match at.segment.form {
            Form::Plain => read_plain(&mut at, (due, newest), wanted),
            Form::Sealed => read_sealed(&mut at, (due, newest, own), wanted, &mut reading.found),
        };
        let strange = match step {
            Ok(Step::Piece(piece)) => {
                (reading.piece, reading.place) = (piece, Some(at));
                return Ok(reading);
            }
            Ok(Step::Over(strange)) => strange,
            // Acknowledged and removed since, or taken away.
            Err(SpoolError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let all: &Vec<Segment> = match &mut all {
            Some(all) => all,
            none => none.insert(segments(folder)?),
        };
        let next = all.iter().find(|it| **it > at.segment);
        let end = next.map_or(newest, |next| next.first.saturating_sub(1).min(newest));
        if at.number <= end {
            reading.piece = gone(at.number, (end, strange), wanted);
            at.number = end.saturating_add(1);
            at.offset = u64::MAX;
            reading.place = Some(at);
            return Ok(reading);
        }
        let Some(next) = next else { return Ok(reading) };
        place = Some(Place::begin(next.clone(), all, at.number));
    }
}

/// The segment that holds record `due`.
fn seek(all: &[Segment], due: u64) -> Option<Place> {
    let holding = all.iter().rev().find(|segment| segment.first <= due)?;
    Some(Place::begin(holding.clone(), all, holding.first))
}

impl Place {
    fn begin(segment: Segment, all: &[Segment], number: u64) -> Self {
        let next = all.iter().find(|it| **it > segment);
        let last = next.map_or(u64::MAX, |next| next.first.saturating_sub(1));
        let number = match segment.form {
            Form::Plain => segment.first,
            Form::Sealed => number,
        };
        Self { number, segment, last, offset: 0, cover: Vec::new() }
    }

    fn open(&self) -> Result<File, SpoolError> {
        let mut file = File::open(&self.segment.path).map_err(|source| self.failed(source))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(|source| self.failed(source))?;
        Ok(file)
    }

    fn failed(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { path: self.segment.path.clone(), source }
    }
}

/// Lines from `due` on.
fn read_plain(
    place: &mut Place,
    (due, newest): (u64, u64),
    wanted: Wanted,
) -> Result<Step, SpoolError> {
    if place.offset == u64::MAX {
        return Ok(Step::Over(0));
    }
    let mut reader = BufReader::new(place.open()?);
    let (mut records, mut taken, mut line) = (Vec::new(), 0_u64, Vec::new());
    while place.number <= place.last.min(newest) && taken < wanted.bytes {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let read = count(read.map_err(|source| place.failed(source))?);
        if line.last() != Some(&b'\n') {
            break;
        }
        if place.number >= due {
            if !records.is_empty() && taken.saturating_add(read) > wanted.bytes {
                // The next one to begin with: a large record behind many small ones would pass what a frame may hold.
                break;
            }
            let record = readable(&line, place.number);
            let record =
                record.or_else(|| unreadable(place.number, place.number, count(line.len())));
            if record.as_ref().is_some_and(|it| it.event.generation() > wanted.reads) {
                return Ok(Step::Piece(if records.is_empty() {
                    Piece::Beyond
                } else {
                    Piece::Records(records)
                }));
            }
            records.extend(record);
            taken = taken.saturating_add(read);
        }
        place.number = place.number.saturating_add(1);
        place.offset = place.offset.saturating_add(read);
    }
    Ok(if records.is_empty() { Step::Over(0) } else { Step::Piece(Piece::Records(records)) })
}

/// Frames from the one that is due on.
fn read_sealed(
    place: &mut Place,
    (due, newest, own): (u64, u64, (&Segment, &[u8])),
    wanted: Wanted,
    found: &mut Vec<String>,
) -> Result<Step, SpoolError> {
    place.number = place.number.max(due);
    let most = place.segment.first.saturating_add(MAX_FRAMES).saturating_sub(1);
    let last = place.last.min(newest).min(most);
    if place.offset == u64::MAX || (place.offset == 0 && !read_cover(place, own, found)?) {
        return Ok(Step::Over(0));
    }
    let mut strange: u64 = 0;
    loop {
        let (buffer, is_end) = fill(place, wanted)?;
        let mut gathering = Gathering::new(place, last, wanted);
        gathering.go(&buffer);
        let Gathering { at, number, frames, stop, .. } = gathering;
        place.offset = place.offset.saturating_add(count(at));
        if !frames.is_empty() {
            place.number = number;
            let (segment, cover) = (place.segment.first, place.cover.clone());
            let last = number.saturating_sub(1);
            if strange > 0 {
                found.push(format!(
                    "{strange} bytes in {} that are no record stood before record {}",
                    place.segment.path.display(),
                    due.max(place.segment.first)
                ));
            }
            return Ok(Step::Piece(Piece::Sealed(SealedPiece { segment, cover, frames, last })));
        }
        let rest = buffer.get(at..).unwrap_or_default();
        match stop {
            Stop::Beyond => return Ok(Step::Piece(Piece::Beyond)),
            Stop::Gap(next) => {
                let piece = gone(place.number, (next.saturating_sub(1), strange), wanted);
                place.number = next;
                return Ok(Step::Piece(piece));
            }
            Stop::Enough if at > 0 => {}
            Stop::Enough | Stop::Strange => {
                if rest.is_empty() || place.number > last {
                    return Ok(Step::Over(strange));
                }
                // The next frame that may be one of those that are due, behind what is none.
                let next = rest.get(1..).and_then(|rest| frame::find(rest, &(place.number..=last)));
                let skipped = match next {
                    Some(next) => next.saturating_add(1),
                    None if is_end => {
                        return Ok(Step::Over(strange.saturating_add(count(rest.len()))));
                    }
                    None => rest.len().saturating_sub(HEAD_BYTES).max(1),
                };
                strange = strange.saturating_add(count(skipped));
                place.offset = place.offset.saturating_add(count(skipped));
            }
        }
    }
}

/// Why gathering ended.
enum Stop {
    /// There is enough, or nothing more.
    Enough,
    /// The next is for newer authorities.
    Beyond,
    /// The next frame has this number, and another is due.
    Gap(u64),
    /// What stands there is no whole frame.
    Strange,
}

/// Frames that follow each other.
struct Gathering {
    at: usize,
    number: u64,
    last: u64,
    wanted: Wanted,
    plain: u32,
    frames: Vec<u8>,
    stop: Stop,
}

impl Gathering {
    const fn new(place: &Place, last: u64, wanted: Wanted) -> Self {
        let frames = Vec::new();
        Self { at: 0, number: place.number, last, wanted, plain: 0, frames, stop: Stop::Enough }
    }

    fn go(&mut self, buffer: &[u8]) {
        while self.number <= self.last {
            let rest = buffer.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            let Ok((frame, left)) = Frame::read(rest) else {
                self.stop = Stop::Strange;
                return;
            };
            let number = frame.head().number;
            let is_strange = (number == self.number && hides_next(&frame, left))
                || (number > self.number && is_renumbered(&frame, left, (self.number, NOTHING)));
            if is_strange {
                self.stop = Stop::Strange;
                return;
            }
            if !self.take(&frame) {
                return;
            }
            self.at = self.at.saturating_add(frame.bytes().len());
        }
    }

    /// Whether to go on behind this frame.
    fn take(&mut self, frame: &Frame<'_>) -> bool {
        let head = frame.head();
        if head.number < self.number {
            // Sent before, or a copy of one.
            return self.frames.is_empty();
        }
        if head.number > self.last {
            self.stop = Stop::Strange;
            return false;
        }
        if head.number > self.number {
            self.stop = Stop::Gap(head.number);
            return false;
        }
        if head.generation > self.wanted.reads {
            self.stop = Stop::Beyond;
            return false;
        }
        let bytes = count(self.frames.len().saturating_add(frame.bytes().len()));
        let plain = self.plain.saturating_add(head.plain);
        if !self.frames.is_empty() && (bytes > self.wanted.bytes || plain > MAX_PLAIN) {
            return false;
        }
        self.frames.extend_from_slice(frame.bytes());
        (self.plain, self.number) = (plain, self.number.saturating_add(1));
        true
    }
}

/// Whether the next record begins within this one, whose length was changed: what follows it does not hold its hash, and what
/// is in it begins as the next one does.
fn hides_next(frame: &Frame<'_>, left: &[u8]) -> bool {
    let follows = Frame::read(left).is_ok_and(|(next, _)| next.head().previous == frame.hash());
    let next = frame.head().number.saturating_add(1);
    let inside =
        || frame.body().len() > HEAD_BYTES && frame::find(frame.body(), &(next..=next)).is_some();
    !follows && inside()
}

/// Reads the segment's beginning; whether it is one.
fn read_cover(
    place: &mut Place,
    (segment, own): (&Segment, &[u8]),
    found: &mut Vec<String>,
) -> Result<bool, SpoolError> {
    let mut bytes = Vec::new();
    let limit = count(MAX_COVER);
    place.open()?.take(limit).read_to_end(&mut bytes).map_err(|source| place.failed(source))?;
    if place.segment == *segment && !own.is_empty() {
        if !bytes.starts_with(own) {
            found.push(format!("the beginning of {} was changed", segment.path.display()));
        }
        (place.cover, place.offset) = (own.to_vec(), count(own.len()));
        return Ok(true);
    }
    let length = match SignedCover::decode(&bytes) {
        Ok((cover, rest)) if cover.cover.first == place.segment.first => {
            bytes.len().saturating_sub(rest.len())
        }
        Ok(_) | Err(_) => {
            tracing::error!(segment = %place.segment.path.display(), "a segment of the spool does not begin as one: nothing in it can be read");
            return Ok(false);
        }
    };
    bytes.truncate(length);
    (place.cover, place.offset) = (bytes, count(length));
    Ok(true)
}

/// What follows, at least one whole frame of it; whether it is all.
fn fill(place: &Place, wanted: Wanted) -> Result<(Vec<u8>, bool), SpoolError> {
    let mut file = place.open()?;
    let size = file.metadata().map_err(|source| place.failed(source))?.len();
    let left = size.saturating_sub(place.offset);
    let most = u64::from(MAX_BODY).saturating_add(count(HEAD_BYTES));
    let most = most.saturating_add(wanted.bytes.min(u64::from(MAX_BODY)));
    let mut buffer = Vec::new();
    file.by_ref()
        .take(left.min(most))
        .read_to_end(&mut buffer)
        .map_err(|source| place.failed(source))?;
    Ok((buffer, left <= most))
}

/// That records `from` to `last` are not here any more.
fn gone(from: u64, (last, bytes): (u64, u64), wanted: Wanted) -> Piece {
    match unreadable(from, last, bytes) {
        Some(record) if record.event.generation() <= wanted.reads => Piece::Records(vec![record]),
        Some(_) => Piece::Beyond,
        None => Piece::Nothing,
    }
}

/// The record on a line, if it is the one that belongs there.
fn readable(line: &[u8], number: u64) -> Option<Record> {
    let record: Record = serde_json::from_slice(line).ok()?;
    (record.number.number() == number).then_some(record)
}

/// What stands for records that cannot be read, so that those behind them can go on.
fn unreadable(from: u64, last: u64, bytes: u64) -> Option<Record> {
    tracing::error!(from, last, "records cannot be read any more");
    let from = RecordNumber::try_new(from).ok().filter(|from| from.number() < last);
    Some(Record {
        number: RecordNumber::try_new(last).ok()?,
        at: Timestamp::from_millis(0),
        uptime: Uptime::from_nanos(0),
        session: None,
        event: Event::Unreadable { bytes, from },
    })
}
