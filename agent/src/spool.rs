//! Records on the host's disk, from the moment they are made until the authority has them.
//!
//! A folder of segments, each named by the number of its first record and holding one JSON record a line. Records are
//! numbered without gaps. After a crash a torn last line is cut off and said so; a segment that is acknowledged to
//! its end is removed, except the newest, which carries the numbering on.
//!
//! It takes no more of the disk than its quota. The last sixteenth of that is kept from what sessions do (programs,
//! connections, files), for what must not be lost: who came, went, was refused or ended, and what was lost.
//!
//! Who can change this: root on the host. Gains: can remove or invent records that the authority does not have yet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wire::identifier::{RecordNumber, SessionId};
use wire::record::{Event, Record};
use wire::retention::Class;
use wire::time::{Timestamp, Uptime};

use crate::clock::Now;
use crate::status::Extent;

/// The spool could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system says no.
    #[error("spool {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority has been away for too long, or takes records more slowly than they come.
    #[error("spool: what waits for the authority takes all of `records_quota`, {quota} bytes")]
    Quota {
        /// In bytes.
        quota: u64,
    },
    /// A record has no JSON form.
    #[error("spool: a record cannot be written: {0}")]
    Form(#[source] serde_json::Error),
    /// Numbers have come to their end.
    #[error("spool: there are no more record numbers")]
    Exhausted,
}

/// The open spool.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    segment: PathBuf,
    file: File,
    length: u64,
    /// Of all segments, and the most that it may become.
    bytes: u64,
    quota: u64,
    /// The number of the newest record; 0 for none.
    newest: u64,
    /// The newest record that the authority has; 0 for none.
    acknowledged: u64,
    dirty: bool,
    /// Where the last reading stopped, so that the next one goes on from there.
    place: Option<Place>,
    /// The acknowledged number from which on there is a segment to remove.
    removes_at: u64,
}

/// A [`Record`] as it is written: the same fields, of which one is another's.
#[derive(Serialize)]
struct Line<'a> {
    number: RecordNumber,
    at: Timestamp,
    uptime: Uptime,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    event: &'a Event,
}

/// Where a record begins.
#[derive(Debug, Clone)]
struct Place {
    number: u64,
    segment: PathBuf,
    offset: u64,
}

impl Spool {
    /// Opens the spool in `folder`, which exists; an empty folder is an empty spool. It takes at most `quota` bytes.
    ///
    /// # Errors
    /// When the newest segment cannot be read or mended.
    pub fn open(folder: &Path, quota: u64) -> Result<Self, SpoolError> {
        let mut all = segments(folder)?;
        let segment = match all.pop() {
            Some((_, path)) => path,
            None => segment_path(folder, 1),
        };
        let mut bytes: u64 = 0;
        for (_, path) in all {
            bytes = bytes.saturating_add(size(&path)?);
        }
        let first = first_number(&segment).unwrap_or(1);
        let failed = |source| SpoolError::Io { path: segment.clone(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&segment)
            .map_err(failed)?;
        let (records, length) = measure(&mut file).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > length {
            tracing::warn!(segment = %segment.display(), length, "cut off a torn record");
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let newest = first.saturating_sub(1).saturating_add(records);
        Ok(Self {
            folder: folder.into(),
            segment,
            file,
            length,
            bytes: bytes.saturating_add(length),
            quota,
            newest,
            acknowledged: 0,
            dirty: true,
            place: None,
            removes_at: 0,
        })
    }

    /// The number of the newest record; 0 for none.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// The number of the oldest record that is still here; the next one's when there is none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn oldest(&self) -> Result<u64, SpoolError> {
        let all = segments(&self.folder)?;
        Ok(all.first().map_or(self.newest.saturating_add(1), |(first, _)| *first))
    }

    /// How many records the authority does not have yet, as far as it has said.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.newest.saturating_sub(self.acknowledged)
    }

    /// How many bytes all segments have, and the most that they may.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        Extent { bytes: self.bytes, quota: self.quota }
    }

    /// Whether there is room for what sessions do: for the longest record of it, so that large ones are not lost beside
    /// small ones that are kept.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.bytes.saturating_add(MAX_LINE) <= self.limit(true)
    }

    /// The most bytes that there may be after a record of what a session does, or of anything else.
    const fn limit(&self, activity: bool) -> u64 {
        if activity { self.quota.saturating_sub(self.quota / RESERVE) } else { self.quota }
    }

    /// Writes a record; it survives the agent's death when this returns, and the host's after [`Spool::sync`].
    ///
    /// # Errors
    /// When the disk is full or fails, or the quota is used up; nothing of the record is kept then.
    pub fn append(
        &mut self,
        session: Option<SessionId>,
        event: &Event,
        now: Now,
    ) -> Result<RecordNumber, SpoolError> {
        let number = self.newest.checked_add(1).and_then(|next| RecordNumber::try_new(next).ok());
        let number = number.ok_or(SpoolError::Exhausted)?;
        let line = Line { number, at: now.at, uptime: now.up, session, event };
        let mut line = serde_json::to_vec(&line).map_err(SpoolError::Form)?;
        line.push(b'\n');
        let size = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(size) > self.limit(Class::Activity.has(event)) {
            return Err(SpoolError::Quota { quota: self.quota });
        }
        if self.length >= SEGMENT_BYTES {
            self.rotate()?;
        }
        if let Err(source) = self.file.write_all(&line) {
            let path = self.segment.clone();
            // Whatever part was written is cut off again, so that the next record does not join it.
            self.file
                .set_len(self.length)
                .map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            self.file
                .seek(SeekFrom::Start(self.length))
                .map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            return Err(SpoolError::Io { path, source });
        }
        self.length = self.length.saturating_add(size);
        self.bytes = self.bytes.saturating_add(size);
        self.newest = number.number();
        self.dirty = true;
        Ok(number)
    }

    /// Whether a record was written since the last [`Spool::sync`].
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Brings every record to the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        if self.dirty {
            let path = &self.segment;
            self.file
                .sync_data()
                .map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            self.dirty = false;
        }
        Ok(())
    }

    /// The file whose records are not on the disk yet, for somebody else to bring there: whoever waits for a slow disk must
    /// not keep a login waiting. What comes of it is told to [`Spool::was_synced`].
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn to_sync(&mut self) -> Result<File, SpoolError> {
        let file = self.file.try_clone();
        let file = file.map_err(|source| SpoolError::Io { path: self.segment.clone(), source })?;
        self.dirty = false;
        Ok(file)
    }

    /// What [`Spool::to_sync`] gave is on the disk, or is not and is tried again.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn was_synced(&mut self, synced: io::Result<()>) -> Result<(), SpoolError> {
        synced.map_err(|source| {
            self.dirty = true;
            SpoolError::Io { path: self.segment.clone(), source }
        })
    }

    /// The authority has every record up to `number`: segments that end before it are removed.
    ///
    /// # Errors
    /// When a segment cannot be removed.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), SpoolError> {
        self.acknowledged = self.acknowledged.max(number.min(self.newest));
        if self.acknowledged < self.removes_at {
            return Ok(());
        }
        let all = segments(&self.folder)?;
        let mut removes_at = u64::MAX;
        for (segment, (next, _)) in all.iter().zip(all.iter().skip(1)) {
            if *next > self.acknowledged.saturating_add(1) {
                removes_at = next.saturating_sub(1);
                break;
            }
            let path = &segment.1;
            let freed = size(path)?;
            fs::remove_file(path)
                .map_err(|source| SpoolError::Io { path: path.clone(), source })?;
            self.bytes = self.bytes.saturating_sub(freed);
        }
        self.removes_at = removes_at;
        Ok(())
    }

    /// Records after `number`, in order, up to `bytes` of them, but one at least; none when there are none.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn after(&mut self, number: u64, bytes: u64) -> Result<Vec<Record>, SpoolError> {
        let wanted = number.saturating_add(1);
        let mut records = Vec::new();
        if wanted > self.newest {
            return Ok(records);
        }
        let mut place = match self.place.take().filter(|place| place.number == wanted) {
            Some(place) => place,
            None => first_place(&self.folder, wanted)?,
        };
        let mut taken: u64 = 0;
        while taken < bytes && place.number <= self.newest {
            let before = place.number;
            read_from(&mut place, wanted, bytes, &mut taken, &mut records)?;
            if place.number == before {
                let next = segment_path(&self.folder, place.number);
                if next == place.segment || place.number > self.newest {
                    break;
                }
                place = Place { number: place.number, segment: next, offset: 0 };
            }
        }
        self.place = Some(place);
        Ok(records)
    }

    /// Goes on after `number`: the authority has records up to it that are not here, so that their numbers must not be
    /// given again (a host that came back from an older image).
    ///
    /// # Errors
    /// When a new segment cannot be made.
    pub fn go_on_after(&mut self, number: u64) -> Result<(), SpoolError> {
        if number > self.newest {
            self.newest = number;
            self.place = None;
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), SpoolError> {
        self.sync()?;
        let path = segment_path(&self.folder, self.newest.saturating_add(1));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| SpoolError::Io { path: path.clone(), source })?;
        self.file = file;
        self.segment = path;
        self.length = 0;
        self.removes_at = self.removes_at.min(self.newest);
        Ok(())
    }
}

fn size(path: &Path) -> Result<u64, SpoolError> {
    let about = fs::metadata(path);
    let about = about.map_err(|source| SpoolError::Io { path: path.into(), source })?;
    Ok(about.len())
}

/// How many records a segment has, and the bytes that they take: every line that ends counts, readable or not, so that
/// damage in the middle costs nothing behind it. What follows the last line's end is torn.
fn measure(file: &mut File) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::new(file);
    let (mut records, mut length, mut line) = (0u64, 0u64, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok((records, length));
        }
        records = records.saturating_add(1);
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

/// The beginning of the segment that holds record `wanted`, or of the oldest one left.
fn first_place(folder: &Path, wanted: u64) -> Result<Place, SpoolError> {
    let all = segments(folder)?;
    let holding = all.iter().rev().find(|(first, _)| *first <= wanted).or_else(|| all.first());
    let (number, segment) = holding.cloned().ok_or_else(|| SpoolError::Io {
        path: folder.into(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    Ok(Place { number, segment, offset: 0 })
}

/// Reads on in one segment, keeping records from `wanted` on.
fn read_from(
    place: &mut Place,
    wanted: u64,
    bytes: u64,
    taken: &mut u64,
    records: &mut Vec<Record>,
) -> Result<(), SpoolError> {
    let failed = |source| SpoolError::Io { path: place.segment.clone(), source };
    let mut file = File::open(&place.segment).map_err(failed)?;
    file.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while *taken < bytes {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        if !records.is_empty() && taken.saturating_add(read) > bytes {
            // The next one to begin with: a large record behind many small ones would pass what a frame may hold.
            *taken = bytes;
            break;
        }
        if place.number >= wanted {
            let record = readable(&line, place.number).or_else(|| unreadable(&line, place.number));
            records.extend(record);
            *taken = taken.saturating_add(read);
        }
        place.number = place.number.saturating_add(1);
        place.offset = place.offset.saturating_add(read);
    }
    Ok(())
}

/// The record on a line, if it is the one that belongs there.
fn readable(line: &[u8], number: u64) -> Option<Record> {
    let record: Record = serde_json::from_slice(line).ok()?;
    (record.number.number() == number).then_some(record)
}

/// What stands for a record that cannot be read, so that those behind it can go on.
fn unreadable(line: &[u8], number: u64) -> Option<Record> {
    tracing::error!(number, "a record cannot be read any more");
    let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
    Some(Record {
        number: RecordNumber::try_new(number).ok()?,
        at: Timestamp::from_millis(0),
        uptime: Uptime::from_nanos(0),
        session: None,
        event: Event::Unreadable { bytes, from: None },
    })
}

/// Every segment with the number of its first record, in order.
fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, SpoolError> {
    let failed = |source| SpoolError::Io { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(first) = first_number(&path) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

fn first_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".records")?;
    name.parse().ok().filter(|_| name.len() == 20)
}

fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.records"))
}

/// A segment is closed when it has grown past this many bytes.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Which part of the quota is kept from what sessions do.
const RESERVE: u64 = 16;
/// Longest record, in bytes: 256 KiB of arguments, each byte a control character that JSON writes with six.
const MAX_LINE: u64 = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::record::{Exit, ExitStatus, Loss};

    const QUOTA: u64 = 1 << 30;
    const NOW: Now = Now { at: Timestamp::from_secs(1), up: Uptime::from_nanos(1) };

    fn event(after: u64) -> Event {
        Event::Loss(Loss { after, missing: 1 })
    }

    fn exit(sequence: u64) -> Event {
        Event::Exit(Exit { sequence, pid: 1, status: ExitStatus::Code(0), ran_micros: None })
    }

    fn fill(spool: &mut Spool, count: u64) {
        for index in 0..count {
            spool.append(None, &event(index), NOW).unwrap();
        }
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.number.number()).collect()
    }

    #[test]
    fn records_are_numbered_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut Spool::open(folder.path(), QUOTA).unwrap(), 3);
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        assert_eq!(spool.append(None, &event(9), NOW).unwrap().number(), 4);
        assert_eq!(numbers(&spool.after(1, u64::MAX).unwrap()), [2, 3, 4]);
        assert!(spool.after(4, u64::MAX).unwrap().is_empty());
    }

    #[test]
    fn what_is_written_is_a_record_as_it_travels() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        spool.append(None, &event(7), NOW).unwrap();
        let session = std::num::NonZeroU64::new(9).map(SessionId::new);
        spool.append(session, &event(8), NOW).unwrap();
        for record in spool.after(0, u64::MAX).unwrap() {
            let line = Line {
                number: record.number,
                at: record.at,
                uptime: record.uptime,
                session: record.session,
                event: &record.event,
            };
            assert_eq!(
                serde_json::to_string(&line).unwrap(),
                serde_json::to_string(&record).unwrap()
            );
        }
    }

    #[test]
    fn a_torn_record_is_cut_off_and_its_number_given_again() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut Spool::open(folder.path(), QUOTA).unwrap(), 3);
        let path = segment_path(folder.path(), 1);
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() / 3 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
            assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 3);
            assert_eq!(numbers(&spool.after(0, u64::MAX).unwrap()), [1, 2, 3]);
        }
    }

    #[test]
    fn damage_in_the_middle_costs_nothing_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        fill(&mut Spool::open(folder.path(), QUOTA).unwrap(), 3);
        let path = segment_path(folder.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap().saturating_add(5);
        bytes[second] = 0xff;
        fs::write(&path, &bytes).unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 4);
        let records = spool.after(0, u64::MAX).unwrap();
        assert_eq!(numbers(&records), [1, 2, 3, 4]);
        assert!(matches!(records[1].event, Event::Unreadable { bytes, .. } if bytes > 10));
        assert_eq!(records[2].event, event(2));
    }

    #[test]
    fn numbers_that_the_authority_knows_are_not_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        fill(&mut spool, 2);
        spool.go_on_after(1).unwrap();
        assert_eq!(spool.newest(), 2);
        spool.go_on_after(40).unwrap();
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 41);
        assert_eq!(numbers(&spool.after(40, u64::MAX).unwrap()), [41]);
        drop(spool);
        assert_eq!(Spool::open(folder.path(), QUOTA).unwrap().newest(), 41);
    }

    #[test]
    fn the_quota_is_kept_and_its_last_part_is_for_what_must_not_be_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 16_000).unwrap();
        let what_runs = exit(1);
        let mut programs = 0;
        while spool.append(None, &what_runs, NOW).is_ok() {
            programs += 1;
            assert!(programs < 1_000, "there is an end");
        }
        let Extent { bytes, quota } = spool.extent();
        assert!(bytes <= 15_000 && bytes > 14_000 && quota == 16_000, "{bytes}");
        // Opened again it knows as much.
        drop(spool);
        let mut spool = Spool::open(folder.path(), 16_000).unwrap();
        assert_eq!(spool.extent(), Extent { bytes, quota });
        let refused = spool.append(None, &what_runs, NOW).unwrap_err().to_string();
        assert!(refused.contains("takes all of `records_quota`, 16000 bytes"), "{refused}");
        let mut others = 0;
        while spool.append(None, &event(7), NOW).is_ok() {
            others += 1;
            assert!(others < 1_000, "there is an end");
        }
        assert!(others > 3 && spool.extent().bytes <= 16_000);
        assert_eq!(spool.newest(), programs + others, "what is refused takes no number");
        // What the authority has makes room, once its segment is closed.
        spool.rotate().unwrap();
        fill(&mut Spool::open(folder.path(), QUOTA).unwrap(), 1);
        let mut spool = Spool::open(folder.path(), 16_000).unwrap();
        assert!(spool.append(None, &what_runs, NOW).is_err());
        spool.acknowledge(programs + others).unwrap();
        assert!(spool.extent().bytes < 500);
        spool.append(None, &what_runs, NOW).unwrap();
    }

    #[test]
    fn there_is_room_as_long_as_the_longest_record_fits() {
        let folder = tempfile::tempdir().unwrap();
        let quota = 2 * MAX_LINE;
        let mut spool = Spool::open(folder.path(), quota).unwrap();
        assert!(spool.has_room());
        let long = Event::Warned { message: "m".repeat(200_000), terminals: 1 };
        let mut count = 0;
        while spool.has_room() {
            spool.append(None, &long, NOW).unwrap();
            count += 1;
            assert!(count < 100, "there is an end");
        }
        let Extent { bytes, .. } = spool.extent();
        assert!(bytes + MAX_LINE > quota - quota / RESERVE && bytes < quota - MAX_LINE / 2);
    }

    #[test]
    fn acknowledged_segments_go_and_numbering_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        fill(&mut spool, 2);
        spool.rotate().unwrap();
        fill(&mut spool, 2);
        spool.acknowledge(1).unwrap();
        assert_eq!(segments(folder.path()).unwrap().len(), 2);
        assert_eq!(numbers(&spool.after(1, u64::MAX).unwrap()), [2, 3, 4]);
        spool.acknowledge(4).unwrap();
        assert_eq!(segments(folder.path()).unwrap().len(), 1);
        assert_eq!(spool.waiting(), 0);
        drop(spool);
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        assert_eq!(spool.append(None, &event(7), NOW).unwrap().number(), 5);
        assert_eq!(numbers(&spool.after(4, u64::MAX).unwrap()), [5]);
    }

    #[test]
    fn a_reader_takes_about_as_much_as_it_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        fill(&mut spool, 100);
        let mut all = Vec::new();
        while all.len() < 100 {
            let last = all.last().copied().unwrap_or(0);
            all.extend(numbers(&spool.after(last, 300).unwrap()));
            if all.len() == 50 {
                spool.rotate().unwrap();
            }
        }
        assert_eq!(all, (1..=100).collect::<Vec<_>>());
        let some = spool.after(10, 200).unwrap();
        assert!(!some.is_empty() && some.len() < 10);
        assert_eq!(some[0].number.number(), 11);
    }

    #[test]
    fn a_large_record_goes_alone_behind_small_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), QUOTA).unwrap();
        fill(&mut spool, 3);
        let large = Event::Warned { message: "\u{1}".repeat(4_000), terminals: 1 };
        spool.append(None, &large, NOW).unwrap();
        fill(&mut spool, 1);
        assert_eq!(numbers(&spool.after(0, 1_000).unwrap()), [1, 2, 3]);
        assert_eq!(numbers(&spool.after(3, 1_000).unwrap()), [4]);
        assert_eq!(numbers(&spool.after(4, 1_000).unwrap()), [5]);
    }
}
