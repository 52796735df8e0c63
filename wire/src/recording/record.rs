//! One thing that passed, or happened to, a terminal; and the bytes that it is written as.
//!
//! ```text
//! length u32 | kind u8 | flags u8, zero | number u64 | at u64, nanoseconds since boot | payload of `length` bytes
//! ```
//!
//! All numbers are big-endian. There is no checksum: records stand in blocks, which are authenticated and hashed as a whole.

use crate::channel::End;
use crate::time::{Timestamp, Uptime};

use super::MAX_PAYLOAD;

/// One record of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the recording, counted from 1 without gaps.
    pub number: u64,
    /// When, on the host's clock since boot; never before the record before it.
    pub at: Uptime,
    /// What.
    pub content: Content,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The recording begins: its first record, and no other.
    Begin(Begin),
    /// Bytes that the session wrote to its terminal.
    Output(Vec<u8>),
    /// Bytes that came from the client's terminal.
    Input(Vec<u8>),
    /// So many bytes came from the client's terminal, and are not kept: the terminal showed nothing of them.
    Hidden(u32),
    /// The terminal has this size now. Each block but the first begins with one.
    Size(Size),
    /// The channel is over: the last record, and no other.
    End(End),
    /// Something that was said about the session while it was recorded.
    Note(String),
    /// Bytes passed here and were not kept.
    Loss(Lost),
}

/// How a recording begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The host's wall clock at the moment of this record, by which all other moments are dated.
    pub at: Timestamp,
    /// The terminal's size.
    pub size: Size,
    /// What the client calls its terminal (`TERM`), by the session's own word: for showing, not for believing.
    pub term: Option<Term>,
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// The name of a kind of terminal, as `terminfo` has them: letters, digits and `+-._`, at most [`MAX_TERM`] of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term(String);

impl Term {
    /// That name; nothing when it has another form.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
        (!text.is_empty() && text.len() <= MAX_TERM && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Bytes that the session wrote.
    pub output: u64,
    /// Bytes that came from the client.
    pub input: u64,
    /// Why.
    pub why: Why,
}

/// Why something was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There was no room left for it by the host's own limits.
    Quota,
    /// The disk took it not.
    Disk,
    /// It could not be encrypted.
    Seal,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFlaw {
    /// They end within a record.
    #[error("it ends within a record")]
    Short,
    /// A record announces more than any has.
    #[error("a record announces {0} bytes; at most {MAX_PAYLOAD} are allowed")]
    Length(u32),
    /// A kind or flag that this version does not know.
    #[error("a record is of the unknown kind {kind} with flags {flags}")]
    Kind {
        /// The kind.
        kind: u8,
        /// The flags.
        flags: u8,
    },
    /// The payload is not what its kind has.
    #[error("the payload of a record of kind {0} has another form")]
    Payload(u8),
}

impl Record {
    /// Appends the record's bytes; what is longer than [`MAX_PAYLOAD`] has been parted before.
    pub fn write(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&[self.content.kind(), 0]);
        to.extend_from_slice(&self.number.to_be_bytes());
        to.extend_from_slice(&self.at.nanos().to_be_bytes());
        self.content.write(to);
        let length = to.len().saturating_sub(start).saturating_sub(FRAME_BYTES);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = to.get_mut(start..start.saturating_add(4)) {
            place.copy_from_slice(&length);
        }
    }

    /// Reads records to the last byte.
    ///
    /// # Errors
    /// When something else is among them.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, RecordFlaw> {
        let mut records = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, after) = Self::read(rest)?;
            records.push(record);
            rest = after;
        }
        Ok(records)
    }

    /// Takes the first record off `bytes`.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), RecordFlaw> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(RecordFlaw::Short)?;
        let length = u32::from_be_bytes(*length);
        let payload =
            usize::try_from(length).map_err(|_beyond_memory| RecordFlaw::Length(length))?;
        if payload > MAX_PAYLOAD {
            return Err(RecordFlaw::Length(length));
        }
        let (&[kind, flags], rest) = rest.split_first_chunk::<2>().ok_or(RecordFlaw::Short)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(RecordFlaw::Short)?;
        let (at, rest) = rest.split_first_chunk::<8>().ok_or(RecordFlaw::Short)?;
        let (payload, rest) = rest.split_at_checked(payload).ok_or(RecordFlaw::Short)?;
        if flags != 0 || !(BEGIN..=LOSS).contains(&kind) {
            return Err(RecordFlaw::Kind { kind, flags });
        }
        let content = Content::read(kind, payload).ok_or(RecordFlaw::Payload(kind))?;
        let number = u64::from_be_bytes(*number);
        let at = Uptime::from_nanos(u64::from_be_bytes(*at));
        Ok((Self { number, at, content }, rest))
    }
}

impl Content {
    /// Bytes that passed the terminal and that this tells of.
    pub(super) fn passed(&self) -> u64 {
        match self {
            Self::Output(bytes) | Self::Input(bytes) => {
                u64::try_from(bytes.len()).unwrap_or(u64::MAX)
            }
            Self::Hidden(count) => u64::from(*count),
            _ => 0,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Begin(_) => BEGIN,
            Self::Output(_) => OUTPUT,
            Self::Input(_) => INPUT,
            Self::Hidden(_) => HIDDEN,
            Self::Size(_) => SIZE,
            Self::End(_) => END,
            Self::Note(_) => NOTE,
            Self::Loss(_) => LOSS,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Begin(begin) => {
                to.extend_from_slice(&begin.at.millis().to_be_bytes());
                begin.size.write(to);
                to.extend_from_slice(begin.term.as_ref().map_or("", Term::as_str).as_bytes());
            }
            Self::Output(bytes) | Self::Input(bytes) => to.extend_from_slice(bytes),
            Self::Hidden(count) => to.extend_from_slice(&count.to_be_bytes()),
            Self::Size(size) => size.write(to),
            Self::End(end) => to.push(end_code(*end)),
            Self::Note(text) => to.extend_from_slice(text.as_bytes()),
            Self::Loss(lost) => {
                to.extend_from_slice(&lost.output.to_be_bytes());
                to.extend_from_slice(&lost.input.to_be_bytes());
                to.push(lost.why.code());
            }
        }
    }

    fn read(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match kind {
            BEGIN => {
                let (at, rest) = payload.split_first_chunk::<8>()?;
                let (size, term) = rest.split_first_chunk::<4>()?;
                let term = std::str::from_utf8(term).ok()?;
                let term = if term.is_empty() { None } else { Some(Term::new(term)?) };
                let at = Timestamp::from_millis(u64::from_be_bytes(*at));
                Self::Begin(Begin { at, size: Size::read(*size), term })
            }
            OUTPUT => Self::Output(payload.to_vec()),
            INPUT => Self::Input(payload.to_vec()),
            HIDDEN => Self::Hidden(u32::from_be_bytes(payload.try_into().ok()?)),
            SIZE => Self::Size(Size::read(payload.try_into().ok()?)),
            END => match payload {
                [code] => Self::End(end_of(*code)?),
                _ => return None,
            },
            NOTE if payload.len() <= MAX_NOTE => {
                Self::Note(std::str::from_utf8(payload).ok()?.to_owned())
            }
            LOSS => {
                let (output, rest) = payload.split_first_chunk::<8>()?;
                let (input, why) = rest.split_first_chunk::<8>()?;
                let [why] = why else { return None };
                Self::Loss(Lost {
                    output: u64::from_be_bytes(*output),
                    input: u64::from_be_bytes(*input),
                    why: Why::of(*why)?,
                })
            }
            _ => return None,
        })
    }
}

impl Size {
    fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.columns.to_be_bytes());
        to.extend_from_slice(&self.rows.to_be_bytes());
    }

    const fn read(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self { columns: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) }
    }
}

impl Why {
    const fn code(self) -> u8 {
        match self {
            Self::Quota => 1,
            Self::Disk => 2,
            Self::Seal => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Quota),
            2 => Some(Self::Disk),
            3 => Some(Self::Seal),
            _ => None,
        }
    }
}

const fn end_code(end: End) -> u8 {
    match end {
        End::Exited => 1,
        End::HungUp => 2,
        End::Deserted => 3,
        End::Failed => 4,
        End::Lost => 5,
        End::Unkept => 6,
    }
}

const fn end_of(code: u8) -> Option<End> {
    match code {
        1 => Some(End::Exited),
        2 => Some(End::HungUp),
        3 => Some(End::Deserted),
        4 => Some(End::Failed),
        5 => Some(End::Lost),
        6 => Some(End::Unkept),
        _ => None,
    }
}

/// Bytes of a record before its payload.
pub const FRAME_BYTES: usize = 4 + 1 + 1 + 8 + 8;
/// Longest name of a terminal; those of `terminfo` are shorter.
pub const MAX_TERM: usize = 64;
/// Longest note, in bytes.
pub const MAX_NOTE: usize = 1024;

const BEGIN: u8 = 1;
const OUTPUT: u8 = 2;
const INPUT: u8 = 3;
const HIDDEN: u8 = 4;
const SIZE: u8 = 5;
const END: u8 = 6;
const NOTE: u8 = 7;
const LOSS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(record: &Record) {
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!(Record::read(&bytes), Ok((record.clone(), &[][..])));
        for cut in 0..bytes.len() {
            assert_eq!(Record::read(&bytes[..cut]), Err(RecordFlaw::Short));
        }
    }

    #[test]
    fn each_kind_reads_back() {
        let size = Size { columns: 80, rows: 24 };
        let lost = Lost { output: 9, input: u64::MAX, why: Why::Disk };
        let contents = [
            Content::Begin(Begin { at: Timestamp::from_millis(5), size, term: Term::new("xterm") }),
            Content::Begin(Begin { at: Timestamp::from_millis(0), size, term: None }),
            Content::Output(b"\xff\0x".to_vec()),
            Content::Input(Vec::new()),
            Content::Hidden(8),
            Content::Size(size),
            Content::End(End::Unkept),
            Content::Note("watched by ops@example.com".into()),
            Content::Loss(lost),
        ];
        for (number, content) in (1..).zip(contents) {
            read_back(&Record { number, at: Uptime::from_nanos(number), content });
        }
    }

    #[test]
    fn what_is_not_exactly_a_record_is_refused() {
        let mut bytes = Vec::new();
        Record { number: 1, at: Uptime::from_nanos(1), content: Content::Hidden(3) }
            .write(&mut bytes);
        let with = |place: usize, byte: u8| {
            let mut other = bytes.clone();
            other[place] = byte;
            Record::read(&other).unwrap_err()
        };
        assert_eq!(with(0, 1), RecordFlaw::Length(0x0100_0004));
        assert_eq!(with(4, 0), RecordFlaw::Kind { kind: 0, flags: 0 });
        assert_eq!(with(4, 9), RecordFlaw::Kind { kind: 9, flags: 0 });
        assert_eq!(with(5, 1), RecordFlaw::Kind { kind: HIDDEN, flags: 1 });
        assert_eq!(with(4, BEGIN), RecordFlaw::Payload(BEGIN));
        assert_eq!(with(4, END), RecordFlaw::Payload(END));
        assert_eq!(with(4, LOSS), RecordFlaw::Payload(LOSS));
        assert!(Term::new("x\u{1b}").is_none() && Term::new("").is_none());
        assert!(Term::new(&"x".repeat(MAX_TERM + 1)).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_what_is_read_is_written_alike(bytes: Vec<u8>) {
            if let Ok((record, rest)) = Record::read(&bytes) {
                let mut again = Vec::new();
                record.write(&mut again);
                prop_assert_eq!([&again, rest].concat(), bytes);
            }
        }
    }
}
