//! What a host sends of its sealed spool, held against what came before, and opened: records, and where it is not what the
//! host wrote. Pure; whoever has the recording keys is asked for a segment's.
//!
//! What cannot be opened becomes a record that says so, in its place; what follows it goes on. A gap is the sender's affair:
//! what a host does not have any more it says in so many words.

use std::fmt;

use ssh_key::public::KeyData;

use crate::identifier::{HostName, RecordNumber};
use crate::log::Hash;
use crate::record::{Event, Record};
use crate::recording::seal::OpenError;
use crate::time::{Timestamp, Uptime};

use super::cover::{Cover, SignedCover};
use super::frame::{Frame, FrameFlaw};
use super::seal::{Keys, Opener};
use super::{MAX_PLAIN, Sealed};

/// Takes what one host sends, in order.
#[derive(Debug)]
pub struct Reader {
    host: HostName,
    /// The agent's key, by which alone the host is believed; a host that enrolled before agents had keys has none.
    agent_key: Option<KeyData>,
    standing: Standing,
    segment: Option<Segment>,
}

/// How far a host's records are here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The number of the newest; 0 for none.
    pub last: u64,
    /// The hash of its frame; nothing where it is not known: it did not come sealed, or could not be opened.
    pub head: Option<Hash>,
}

#[derive(Debug)]
struct Segment {
    cover: Cover,
    /// Why nothing of it is believed, where that is so.
    opener: Result<Opener, String>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The records that are new, in order; of those that could not be opened one that says so.
    pub records: Vec<Record>,
    /// Where it is not what the host wrote.
    pub findings: Vec<Finding>,
    /// How far the host's records are now.
    pub standing: Standing,
}

/// Where a spool is not what the host wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first record that it is about.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// What is not as it should be.
    pub fault: Fault,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The segment's beginning is not the host's.
    Segment(String),
    /// It is not what was sealed.
    Changed,
    /// It was sealed, and is no record of this number.
    Foreign,
    /// It does not follow what is known to be before it.
    Order,
}

/// Why nothing of it is taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The segment's beginning was never sent.
    #[error("sealed records came without their segment's beginning")]
    NoCover,
    /// They are no frames.
    #[error("sealed records are malformed: {0}")]
    Form(#[from] FrameFlaw),
    /// Records are missing before one.
    #[error("record {got} came where {expected} is due")]
    Gap {
        /// The number that is due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// They are more than may come at once.
    #[error("sealed records of more than {MAX_PLAIN} bytes came at once")]
    Length,
    /// They are sealed to a recording key that is not here; they stay on the host.
    #[error("records from {from} on are sealed to a recording key that is not here ({key})")]
    Key {
        /// The first that cannot be opened.
        from: u64,
        /// The key's name.
        key: Hash,
    },
    /// There is no memory to unpack them.
    #[error("sealed records could not be unpacked: {0}")]
    Memory(std::io::Error),
}

impl Reader {
    /// For `host`, whose records are here as far as `standing` says.
    #[must_use]
    pub const fn new(host: HostName, agent_key: Option<KeyData>, standing: Standing) -> Self {
        Self { host, agent_key, standing, segment: None }
    }

    /// Records came otherwise: `last` is the newest now.
    pub fn passed(&mut self, last: u64) {
        if last > self.standing.last {
            self.standing = Standing { last, head: None };
        }
    }

    /// Opens what came, which counts as here from then on. After an error this is of no use: whoever goes on begins anew.
    ///
    /// # Errors
    /// When it is not what an agent sends, or cannot be opened here at all.
    pub fn take(
        &mut self,
        sealed: &Sealed,
        open: impl FnOnce(&Cover) -> Result<Keys, OpenError>,
        now: Timestamp,
    ) -> Result<Taken, ReadError> {
        let frames = frames(sealed.frames.as_bytes())?;
        let mut taken = Taken { standing: self.standing, ..Taken::default() };
        let due = self.standing.last.saturating_add(1);
        if let Some(cover) = &sealed.cover {
            self.segment = None;
            let segment = Segment::begin(cover.as_bytes(), (&self.host, &self.agent_key), open);
            let segment = segment.map_err(|error| error.at(due))?;
            taken.begins(&segment.cover);
            self.segment = Some(segment);
        }
        let segment = self.segment.as_mut().ok_or(ReadError::NoCover)?;
        for frame in frames {
            let (number, expected) = (frame.head().number, taken.standing.last.saturating_add(1));
            if number > expected {
                return Err(ReadError::Gap { expected, got: number });
            }
            if number == expected {
                taken.take(segment, &frame, now);
            }
        }
        self.standing = taken.standing;
        Ok(taken)
    }
}

impl Segment {
    fn begin(
        bytes: &[u8],
        (host, agent_key): (&HostName, &Option<KeyData>),
        open: impl FnOnce(&Cover) -> Result<Keys, OpenError>,
    ) -> Result<Self, BeginError> {
        let (SignedCover { cover, said }, rest) =
            SignedCover::decode(bytes).map_err(|_flaw| BeginError::Form)?;
        if !rest.is_empty() {
            return Err(BeginError::Form);
        }
        let signed = SignedCover { cover: cover.clone(), said };
        let opener = match signed.check(host, agent_key.as_ref()) {
            Err(flaw) => Err(flaw.to_string()),
            Ok(()) => match open(&cover) {
                Ok(keys) => Ok(Opener::new(keys, cover.first).map_err(BeginError::Memory)?),
                Err(OpenError::Key(key)) => return Err(BeginError::Key(key)),
                Err(error) => Err(format!("the segment's beginning was changed: {error}")),
            },
        };
        Ok(Self { cover, opener })
    }
}

impl Taken {
    /// A segment that begins behind what is here must say so.
    fn begins(&mut self, cover: &Cover) {
        if cover.first != self.standing.last.saturating_add(1) {
            return;
        }
        if self.standing.head.is_some_and(|head| head != cover.previous) {
            self.find(cover.first, Fault::Order);
        }
        self.standing.head = Some(cover.hash());
    }

    fn take(&mut self, segment: &mut Segment, frame: &Frame<'_>, now: Timestamp) {
        let number = frame.head().number;
        self.standing.last = number;
        let opened = segment.open(frame);
        if let (Ok(_), Some(head)) = (&opened, self.standing.head)
            && head != frame.head().previous
        {
            self.find(number, Fault::Order);
        }
        self.standing.head = opened.is_ok().then(|| frame.hash());
        match opened {
            Ok(record) => self.records.push(record),
            Err(fault) => {
                self.find(number, fault);
                self.records.extend(unreadable(frame, now));
            }
        }
    }

    /// Those that follow each other and have the same fault are one.
    fn find(&mut self, number: u64, fault: Fault) {
        if let Some(last) = self.findings.last_mut()
            && last.fault == fault
            && last.to.saturating_add(1) == number
        {
            last.to = number;
            return;
        }
        self.findings.push(Finding { from: number, to: number, fault });
    }
}

impl Segment {
    fn open(&mut self, frame: &Frame<'_>) -> Result<Record, Fault> {
        let opener = self.opener.as_mut().map_err(|why| Fault::Segment(why.clone()))?;
        let plain = opener.open(frame).ok_or(Fault::Changed)?;
        let record: Record = serde_json::from_slice(&plain).map_err(|_odd| Fault::Foreign)?;
        if record.number.number() == frame.head().number { Ok(record) } else { Err(Fault::Foreign) }
    }
}

/// Why a segment cannot be begun.
enum BeginError {
    Form,
    Key(Hash),
    Memory(std::io::Error),
}

impl BeginError {
    fn at(self, from: u64) -> ReadError {
        match self {
            Self::Form => ReadError::Form(FrameFlaw::Form),
            Self::Key(key) => ReadError::Key { from, key },
            Self::Memory(error) => ReadError::Memory(error),
        }
    }
}

/// What stands for a record that cannot be opened.
fn unreadable(frame: &Frame<'_>, now: Timestamp) -> Option<Record> {
    let bytes = u64::try_from(frame.bytes().len()).unwrap_or(u64::MAX);
    Some(Record {
        number: RecordNumber::try_new(frame.head().number).ok()?,
        at: now,
        uptime: Uptime::from_nanos(0),
        session: None,
        event: Event::Unreadable { bytes, from: None },
    })
}

fn frames(bytes: &[u8]) -> Result<Vec<Frame<'_>>, ReadError> {
    let (mut rest, mut frames, mut plain) = (bytes, Vec::new(), 0_u32);
    while !rest.is_empty() {
        let (frame, left) = Frame::read(rest)?;
        plain = plain.saturating_add(frame.head().plain);
        if plain > MAX_PLAIN {
            return Err(ReadError::Length);
        }
        frames.push(frame);
        rest = left;
    }
    Ok(frames)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(why) => f.write_str(why),
            Self::Changed => f.write_str("changed on the host's disk: it is not what was sealed"),
            Self::Foreign => f.write_str("it is sealed, and is no record of this number"),
            Self::Order => f.write_str(
                "it does not continue what came before: the host went back to an older state, as after a loss of power or by an \
                 older image put back, or another spool was put in its place",
            ),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
