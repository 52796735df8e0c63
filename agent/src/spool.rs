//! Records on the host's disk, from the moment they are made until the authority has them.
//!
//! A folder of segments, each named by the number of its first record. Once the authority has said that it takes them so,
//! records are sealed to its recording key as they are written (`wire::spool`): nobody on this host reads them again, and
//! each holds the one before, so that what is done to the files is found at the authority, and where. Before that a segment
//! holds one JSON record a line, and one that is left of that time is sent as it is.
//!
//! Records are numbered without gaps. After a crash a torn last record is cut off and said so, and what is sealed goes on in
//! a new segment: the key of the one before is gone. A segment that is acknowledged to its end is removed, except the
//! newest, which carries the numbering on.
//!
//! It takes no more of the disk than its quota. The last sixteenth of that is kept from what sessions do (programs,
//! connections, files), for what must not be lost: who came, went, was refused or ended, and what was lost.
//!
//! Who can change this: root on the host. Gains: removes records that the authority does not have yet, which is found, save
//! at the end of a spool that he also rewinds beside it; reads nothing of what was sealed.

mod reading;
mod segment;
mod tail;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use ssh_key::{PrivateKey, Signature, SigningKey};
use wire::identifier::{HostName, RecordNumber, SessionId};
use wire::log::Hash;
use wire::record::Event;
use wire::recording::RecordingKey;
use wire::recording::statement::{SaidError, Signed};
use wire::retention::Class;
use wire::spool::cover::{NOTHING, SignedCover};
use wire::spool::seal::{Packed, Packer, SealError, Sealer};
use wire::time::{Timestamp, Uptime};

use crate::clock::Now;
use crate::status::Extent;

pub use reading::{Piece, SealedPiece, Wanted};
use reading::{Place, Reading};
use segment::{Form, Segment, segments};
use tail::Tail;

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
    /// A record cannot be sealed.
    #[error("spool: {0}")]
    Seal(#[from] SealError),
    /// The agent's key does not sign a segment.
    #[error("spool: a segment cannot be signed: {0}")]
    Sign(#[from] SaidError),
    /// Numbers have come to their end.
    #[error("spool: there are no more record numbers")]
    Exhausted,
}

/// The open spool.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    current: Current,
    /// Of all segments, and the most that it may become.
    bytes: u64,
    quota: u64,
    /// The number of the newest record; 0 for none. The hash of its frame, where it is sealed and known.
    newest: u64,
    head: Hash,
    /// The newest record that the authority has; 0 for none.
    acknowledged: u64,
    dirty: bool,
    /// Where the last reading stopped, so that the next one goes on from there.
    place: Option<Place>,
    /// The acknowledged number from which on there is a segment to remove.
    removes_at: u64,
    sealing: Option<Sealing>,
    tail: Option<Tail>,
    /// What is not as it was written, to be told once.
    found: Vec<String>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Current {
    segment: Segment,
    file: File,
    length: u64,
    /// Of a sealed segment that can go on, and its signed cover.
    sealer: Option<Sealer>,
    cover: Vec<u8>,
    /// Whether it must not go on: it is not on the disk as it was written.
    spoiled: bool,
}

/// To whom records are sealed, and by whom.
#[derive(Debug)]
struct Sealing {
    key: RecordingKey,
    host: HostName,
    agent_key: Option<PrivateKey>,
    packer: Packer,
}

/// A record ready to be written.
enum Entry {
    Plain(Vec<u8>),
    Sealed(Packed),
}

/// A [`wire::record::Record`] as it is written: the same fields, of which one is another's.
#[derive(Serialize)]
struct Line<'a> {
    number: RecordNumber,
    at: Timestamp,
    uptime: Uptime,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    event: &'a Event,
}

impl Spool {
    /// Opens the spool in `folder`, which exists; an empty folder is an empty spool. It takes at most `quota` bytes.
    ///
    /// # Errors
    /// When the newest segment cannot be read or mended.
    pub fn open(folder: &Path, quota: u64) -> Result<Self, SpoolError> {
        let mut all = segments(folder)?;
        let segment = all.pop().unwrap_or_else(|| Segment::new(folder, 1, Form::Plain));
        let mut bytes: u64 = 0;
        for older in all {
            bytes = bytes.saturating_add(older.size()?);
        }
        let failed = |source| SpoolError::Io { path: segment.path.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&segment.path).map_err(failed)?;
        let measure = segment.measure(&mut file).map_err(failed)?;
        let length = measure.length;
        if file.metadata().map_err(failed)?.len() > length {
            tracing::warn!(segment = %segment.path.display(), length, "cut off a torn record");
            file.set_len(length).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let found = (measure.strange > 0).then(|| {
            let (path, strange) = (segment.path.display(), measure.strange);
            format!("{strange} bytes in {path} are no records: they were changed, or put there")
        });
        Ok(Self {
            folder: folder.into(),
            current: Current {
                segment,
                file,
                length,
                sealer: None,
                cover: Vec::new(),
                spoiled: false,
            },
            bytes: bytes.saturating_add(length),
            quota,
            newest: measure.newest,
            head: measure.head,
            acknowledged: 0,
            dirty: true,
            place: None,
            removes_at: 0,
            sealing: None,
            tail: None,
            found: found.into_iter().collect(),
        })
    }

    /// Notes in the file `path`, which should not outlive the boot, how far the spool was written; and finds out by what an
    /// agent before has noted there whether its end was cut off since.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn remember_in(&mut self, path: &Path) -> Result<(), SpoolError> {
        let opened = Tail::open(path);
        let (tail, left) = opened.map_err(|source| SpoolError::Io { path: path.into(), source })?;
        self.tail = Some(tail);
        let Some((number, head)) = left.filter(|(number, _)| *number > self.newest) else {
            return Ok(());
        };
        self.found.push(format!(
            "the spool of records ended with number {number} when the agent stopped, and ends with {} now: its end was cut off",
            self.newest
        ));
        (self.newest, self.head, self.place) = (number, head, None);
        self.current.spoiled = true;
        Ok(())
    }

    /// Seals records from now on, to this key; the beginning of each segment is signed by the agent's key, where it has one.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn seal_to(
        &mut self,
        key: RecordingKey,
        (host, agent_key): (HostName, Option<PrivateKey>),
    ) -> Result<(), SpoolError> {
        self.sealing = Some(Sealing { key, host, agent_key, packer: Packer::new()? });
        self.current.sealer = None;
        Ok(())
    }

    /// Whether records are sealed.
    #[must_use]
    pub const fn seals(&self) -> bool {
        self.sealing.is_some()
    }

    /// What was found not to be as it was written, and costs no record or costs some of which nobody knows; told once.
    pub fn take_found(&mut self) -> Vec<String> {
        std::mem::take(&mut self.found)
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
        Ok(all.first().map_or(self.newest.saturating_add(1), |segment| segment.first))
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
        let entry = self.entry(&line)?;
        let is_over = self.is_over();
        let size = entry.size().saturating_add(if is_over { COVER_ROOM } else { 0 });
        if self.bytes.saturating_add(size) > self.limit(Class::Activity.has(event)) {
            return Err(SpoolError::Quota { quota: self.quota });
        }
        if is_over {
            self.rotate()?;
        }
        let (bytes, head) = self.current.close(entry)?;
        self.write(&bytes)?;
        (self.newest, self.head, self.dirty) = (number.number(), head, true);
        if let Some(tail) = &mut self.tail {
            tail.note(self.newest, head);
        }
        Ok(number)
    }

    fn entry(&mut self, line: &Line<'_>) -> Result<Entry, SpoolError> {
        let mut text = serde_json::to_vec(line).map_err(SpoolError::Form)?;
        if let Some(sealing) = &mut self.sealing {
            return Ok(Entry::Sealed(sealing.packer.pack(&text, line.event.generation())?));
        }
        text.push(b'\n');
        Ok(Entry::Plain(text))
    }

    /// Whether the next record begins a new segment.
    fn is_over(&self) -> bool {
        let Current { sealer, length, segment, .. } = &self.current;
        let goes_on = match (&self.sealing, segment.form) {
            (None, Form::Plain) => true,
            (Some(_), Form::Sealed) => sealer.as_ref().is_some_and(|sealer| !sealer.is_full()),
            _ => false,
        };
        !goes_on || *length >= SEGMENT_BYTES || !self.current.is_as_written()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let Current { file, segment, length, sealer, .. } = &mut self.current;
        if let Err(source) = file.write_all(bytes) {
            // The key of what was to be here is used up: the segment cannot go on.
            *sealer = None;
            let failed = |source| SpoolError::Io { path: segment.path.clone(), source };
            // Whatever part was written is cut off again, so that the next record does not join it.
            file.set_len(*length).map_err(failed)?;
            file.seek(SeekFrom::Start(*length)).map_err(failed)?;
            return Err(failed(source));
        }
        let written = segment::count(bytes.len());
        *length = length.saturating_add(written);
        self.bytes = self.bytes.saturating_add(written);
        Ok(())
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
            let path = &self.current.segment.path;
            let synced = self.current.file.sync_data();
            synced.map_err(|source| SpoolError::Io { path: path.clone(), source })?;
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
        let file = self.current.file.try_clone();
        let path = &self.current.segment.path;
        let file = file.map_err(|source| SpoolError::Io { path: path.clone(), source })?;
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
            SpoolError::Io { path: self.current.segment.path.clone(), source }
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
        for (segment, next) in all.iter().zip(all.iter().skip(1)) {
            if next.first > self.acknowledged.saturating_add(1) {
                removes_at = next.first.saturating_sub(1);
                break;
            }
            let freed = segment.size()?;
            fs::remove_file(&segment.path)
                .map_err(|source| SpoolError::Io { path: segment.path.clone(), source })?;
            self.bytes = self.bytes.saturating_sub(freed);
        }
        self.removes_at = removes_at;
        Ok(())
    }

    /// What follows record `number`, of one kind; nothing when there is nothing.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn after(&mut self, number: u64, wanted: Wanted) -> Result<Piece, SpoolError> {
        let due = number.saturating_add(1);
        if due > self.newest {
            return Ok(Piece::Nothing);
        }
        let own = (&self.current.segment, self.current.cover.as_slice());
        let span = (due, self.newest);
        let reading = reading::read((&self.folder, own), span, self.place.take(), wanted)?;
        let Reading { piece, place, found } = reading;
        let is_here = place.as_ref().is_none_or(|place| place.segment == self.current.segment);
        let is_strange = !found.is_empty()
            || matches!(&piece, Piece::Records(records) if has_unreadable(records));
        if is_here && is_strange {
            // What would be written behind it might be as little found as this is.
            self.current.spoiled = true;
        }
        self.place = place;
        self.found.extend(found);
        Ok(piece)
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

    /// Begins the segment of the next record, behind the newest.
    fn rotate(&mut self) -> Result<(), SpoolError> {
        self.sync()?;
        let first = self.newest.saturating_add(1);
        let form = if self.sealing.is_some() { Form::Sealed } else { Form::Plain };
        let segment = Segment::new(&self.folder, first, form);
        let begun = match &self.sealing {
            Some(sealing) => Some(sealing.begin((first, self.head))?),
            None => None,
        };
        let failed = |source| SpoolError::Io { path: segment.path.clone(), source };
        let mut options = OpenOptions::new();
        // One that is here already has no record: it was begun, and what was to be its first could not be written.
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&segment.path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?.len();
        file.set_len(0).map_err(failed)?;
        self.bytes = self.bytes.saturating_sub(before);
        let (sealer, cover) = begun.unzip();
        let cover = cover.unwrap_or_default();
        self.removes_at = self.removes_at.min(self.newest);
        self.current =
            Current { segment, file, length: 0, sealer, cover: cover.clone(), spoiled: false };
        self.write(&cover)
    }
}

impl Current {
    /// Whether what was written is still where it is read again, as far as can be seen at once: whoever cut the file, or
    /// put another in its place, loses what was in it and not what comes.
    fn is_as_written(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let about = self.file.metadata();
        !self.spoiled && about.is_ok_and(|it| it.len() == self.length && it.nlink() == 1)
    }

    /// The bytes of a record, and the hash of its frame.
    fn close(&mut self, entry: Entry) -> Result<(Vec<u8>, Hash), SpoolError> {
        match (entry, &mut self.sealer) {
            (Entry::Plain(line), _) => Ok((line, NOTHING)),
            (Entry::Sealed(packed), Some(sealer)) => {
                let frame = sealer.seal(packed)?;
                Ok((frame, sealer.head()))
            }
            (Entry::Sealed(_), None) => Err(SealError::Full.into()),
        }
    }
}

impl Entry {
    fn size(&self) -> u64 {
        segment::count(match self {
            Self::Plain(line) => line.len(),
            Self::Sealed(packed) => packed.frame_bytes(),
        })
    }
}

impl Sealing {
    /// A segment's sealer and its signed cover.
    fn begin(&self, place: (u64, Hash)) -> Result<(Sealer, Vec<u8>), SpoolError> {
        let (sealer, cover) = Sealer::begin(place, &self.key)?;
        let sign = |key: &PrivateKey| {
            let begun = cover.said_by(&self.host);
            Signed::make(&begun, key.public_key(), |message| sign(key, message))
        };
        let said = self.agent_key.as_ref().map(sign).transpose()?;
        Ok((sealer, SignedCover { cover, said }.encode()))
    }
}

fn sign(key: &impl SigningKey, message: &[u8]) -> Result<Signature, ssh_key::Error> {
    Ok(key.try_sign(message)?)
}

fn has_unreadable(records: &[wire::record::Record]) -> bool {
    records.iter().any(|record| matches!(record.event, Event::Unreadable { .. }))
}

/// A segment is closed when it has grown past this many bytes.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Which part of the quota is kept from what sessions do.
const RESERVE: u64 = 16;
/// Longest record, in bytes: 256 KiB of arguments, each byte a control character that JSON writes with six.
const MAX_LINE: u64 = 2 * 1024 * 1024;
/// More than the beginning of a segment has, in bytes.
const COVER_ROOM: u64 = 2 * 1024;

#[cfg(test)]
mod tests;
