//! The files of a spool: their names, and what is found in the newest when an agent takes it up.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use wire::log::Hash;
use wire::spool::MAX_FRAMES;
use wire::spool::cover::{NOTHING, SignedCover};
use wire::spool::frame::{self, Frame};

use super::SpoolError;

/// One file of the spool. Ordered by the number of its first record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The number of its first record.
    pub(super) first: u64,
    /// How its records are written.
    pub(super) form: Form,
    /// The file.
    pub(super) path: PathBuf,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// A JSON record a line: of a host that was told no key to seal to.
    Plain,
    /// Sealed to the authority's recording key.
    Sealed,
}

/// What a segment holds, as far as it can be seen without opening it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Measure {
    /// The number of the newest record; the one before the first where there is none.
    pub(super) newest: u64,
    /// The hash of its frame; [`NOTHING`] where it is not known.
    pub(super) head: Hash,
    /// Bytes up to the end of the last whole record: what follows is torn.
    pub(super) length: u64,
    /// Bytes among these that are no record, or behind them.
    pub(super) strange: u64,
}

impl Segment {
    /// That of `folder` whose first record has this number.
    pub(super) fn new(folder: &Path, first: u64, form: Form) -> Self {
        let suffix = form.suffix();
        Self { first, form, path: folder.join(format!("{first:020}.{suffix}")) }
    }

    fn of(path: PathBuf) -> Option<Self> {
        let (name, suffix) = path.file_name()?.to_str()?.split_once('.')?;
        let form = [Form::Plain, Form::Sealed].into_iter().find(|form| form.suffix() == suffix)?;
        let first = name.parse().ok().filter(|first| name.len() == 20 && *first > 0)?;
        Some(Self { first, form, path })
    }

    /// Its length, in bytes.
    pub(super) fn size(&self) -> Result<u64, SpoolError> {
        let about = fs::metadata(&self.path);
        let about = about.map_err(|source| SpoolError::Io { path: self.path.clone(), source })?;
        Ok(about.len())
    }

    /// Looks through it.
    pub(super) fn measure(&self, file: &mut File) -> io::Result<Measure> {
        match self.form {
            Form::Plain => self.measure_plain(file),
            Form::Sealed => self.measure_sealed(file),
        }
    }

    /// Every line that ends counts, readable or not, so that damage in the middle costs nothing behind it. What follows the
    /// last line's end is torn.
    fn measure_plain(&self, file: &mut File) -> io::Result<Measure> {
        let mut reader = BufReader::new(file);
        let (mut newest, mut length, mut line) = (self.first.saturating_sub(1), 0_u64, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(Measure { newest, head: NOTHING, length, strange: 0 });
            }
            newest = newest.saturating_add(1);
            length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
    }

    /// Every frame counts whose number rises. What follows the last one is torn where it is the beginning of a frame, or
    /// nothing but zeros.
    fn measure_sealed(&self, file: &mut File) -> io::Result<Measure> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        let mut at = match SignedCover::decode(&bytes) {
            Ok((cover, rest)) if cover.cover.first == self.first => {
                bytes.len().saturating_sub(rest.len())
            }
            Ok(_) | Err(_) => 0,
        };
        let mut found = Measure {
            newest: self.first.saturating_sub(1),
            head: NOTHING,
            length: count(at),
            strange: 0,
        };
        let last = self.first.saturating_add(MAX_FRAMES).saturating_sub(1);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let due = found.newest.saturating_add(1)..=last;
            let Some(skipped) = frame::find(rest, &due) else { break };
            let here = rest.get(skipped..).unwrap_or_default();
            let Ok((frame, left)) = Frame::read(here) else {
                // It ends too early: what seems to begin here is torn, or was changed.
                let behind = here.get(1..).and_then(|rest| frame::find(rest, &due));
                let Some(behind) = behind else { break };
                let passed = skipped.saturating_add(1).saturating_add(behind);
                found.strange = found.strange.saturating_add(count(passed));
                at = at.saturating_add(passed);
                continue;
            };
            found.strange = found.strange.saturating_add(count(skipped));
            at = at.saturating_add(skipped).saturating_add(frame.bytes().len());
            found.length = count(at);
            if is_renumbered(&frame, left, (*due.start(), found.head)) {
                found.strange = found.strange.saturating_add(count(frame.bytes().len()));
                continue;
            }
            (found.newest, found.head) = (frame.head().number, frame.hash());
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let is_torn = Frame::read(rest) == Err(frame::FrameFlaw::Short)
            || rest.iter().all(|byte| *byte == 0)
            || found.length == 0;
        if !is_torn {
            found.strange = found.strange.saturating_add(count(rest.len()));
            found.length = count(bytes.len());
        }
        Ok(found)
    }
}

impl Form {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "records",
            Self::Sealed => "sealed",
        }
    }
}

/// Whether a frame's number was changed: it follows what is before it, or what follows it does, and has another number than
/// its place.
pub(super) fn is_renumbered(frame: &Frame<'_>, left: &[u8], (due, before): (u64, Hash)) -> bool {
    let next = due.saturating_add(1);
    let follows = || Frame::read(left).is_ok_and(|(after, _)| after.head().number == next);
    frame.head().number != due && (frame.head().previous == before || follows())
}

/// Every segment, in order.
pub(super) fn segments(folder: &Path) -> Result<Vec<Segment>, SpoolError> {
    let failed = |source| SpoolError::Io { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        found.extend(Segment::of(entry.map_err(failed)?.path()));
    }
    found.sort();
    Ok(found)
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
