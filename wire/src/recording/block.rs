//! A block: records of one recording, compressed and encrypted, behind a header in the clear; and the chain of blocks.
//!
//! ```text
//!   0  magic "CRFWREC", then the version, 1
//!   8  session u64 | channel u64 | number u64, from 1
//!  32  first u64 | last u64      the numbers of its records
//!  48  from u64 | until u64      when they were made, nanoseconds since the host's boot
//!  64  offset u64                bytes of records in the blocks before it
//!  72  keyframe u64              the newest record after which the screen holds nothing from before; 0 for none
//!  80  plain u32 | body u32      bytes of its records, and of what follows the header
//!  88  flags u32                 1: nothing follows
//!  92  key, 32 bytes             SHA-256 of the recording key that it is encrypted to
//! 124  previous, 32 bytes        the hash of the block before it
//! 156  body
//! ```
//!
//! A block's hash is the SHA-256 of all its bytes. That of no block, to which the first one refers, is made from the names
//! of session and channel, so that no block of one recording continues another.

use std::num::NonZeroU64;

use sha2::{Digest as _, Sha256};

use crate::channel::ChannelId;
use crate::identifier::SessionId;
use crate::log::Hash;
use crate::time::Uptime;

use super::{MAX_BLOCK, MAX_PLAIN};

/// What a block says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// Its place among the blocks, from 1.
    pub number: u64,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// When the first was made.
    pub from: Uptime,
    /// When the last was made.
    pub until: Uptime,
    /// Bytes of records in the blocks before it.
    pub offset: u64,
    /// The newest record among its own after which the screen holds nothing from before; 0 for none. A hint.
    pub keyframe: u64,
    /// Bytes of its records.
    pub plain: u32,
    /// Bytes of its body.
    pub body: u32,
    /// Whether nothing follows.
    pub ends: bool,
    /// The name of the recording key that it is encrypted to.
    pub key: Hash,
    /// The hash of the block before it.
    pub previous: Hash,
}

/// A block whose header is in order; what is in its body is not known before it is opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    header: Header,
    bytes: Vec<u8>,
}

/// Why bytes are no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockFlaw {
    /// They end too early.
    #[error("it ends after {0} bytes")]
    Short(usize),
    /// They go on too long.
    #[error("{0} bytes follow its end")]
    Long(usize),
    /// They begin otherwise.
    #[error("it does not begin as a block of version 1 does")]
    Magic,
    /// A number in the header is beyond what any block has, or contradicts another.
    #[error("its header says of {0} what no block has")]
    Header(&'static str),
}

/// Why a block does not continue a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFlaw {
    /// It is of another recording.
    #[error("it is of channel {channel} of session {session}")]
    Foreign {
        /// Its session.
        session: SessionId,
        /// Its channel.
        channel: ChannelId,
    },
    /// Blocks are missing before it, or it came before.
    #[error("it is block {found}, where block {expected} belongs")]
    Number {
        /// The one that belongs here.
        expected: u64,
        /// The one that is here.
        found: u64,
    },
    /// It continues another block than the one before it.
    #[error("it does not continue the block before it, or that one was changed")]
    Previous,
    /// Its records do not continue those before.
    #[error("its records begin with {found}, where {expected} belongs")]
    Records {
        /// The number that belongs here.
        expected: u64,
        /// The number that is here.
        found: u64,
    },
    /// It says that it begins elsewhere.
    #[error("it says that {found} bytes are before it, and there are {expected}")]
    Offset {
        /// How many there are.
        expected: u64,
        /// How many it says.
        found: u64,
    },
    /// It is older than the one before it.
    #[error("it is older than the block before it")]
    Time,
    /// The recording had ended.
    #[error("the recording ended before it")]
    Ended,
}

/// How far a recording is, block by block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    session: SessionId,
    channel: ChannelId,
    blocks: u64,
    head: Hash,
    last: u64,
    offset: u64,
    until: Uptime,
    ended: bool,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(HEADER_BYTES);
        to.extend_from_slice(MAGIC);
        let numbers = [
            self.session.tag().get(),
            self.channel.number(),
            self.number,
            self.first,
            self.last,
            self.from.nanos(),
            self.until.nanos(),
            self.offset,
            self.keyframe,
        ];
        to.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        let lengths = [self.plain, self.body, u32::from(self.ends)];
        to.extend(lengths.iter().flat_map(|length| length.to_be_bytes()));
        to.extend_from_slice(&self.key.0);
        to.extend_from_slice(&self.previous.0);
        to
    }

    /// Reads the header that `bytes` begin with.
    ///
    /// # Errors
    /// When they begin with none.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFlaw> {
        let short = BlockFlaw::Short(bytes.len());
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(short.clone())?;
        if magic != MAGIC {
            return Err(BlockFlaw::Magic);
        }
        let mut rest = rest;
        let mut number = || {
            let (number, left) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
            rest = left;
            Ok(u64::from_be_bytes(*number))
        };
        let session = NonZeroU64::new(number()?).ok_or(BlockFlaw::Header("its session"))?;
        let (channel, place) = (ChannelId::new(number()?), number()?);
        let (first, last) = (number()?, number()?);
        let (from, until) = (Uptime::from_nanos(number()?), Uptime::from_nanos(number()?));
        let (offset, keyframe) = (number()?, number()?);
        let (lengths, rest) = rest.split_first_chunk::<12>().ok_or(short.clone())?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(short.clone())?;
        let (previous, _) = rest.split_first_chunk::<32>().ok_or(short)?;
        let [a, b, c, d, e, f, g, h, flags @ ..] = *lengths;
        let ends = match u32::from_be_bytes(flags) {
            0 => false,
            ENDS => true,
            _ => return Err(BlockFlaw::Header("its flags")),
        };
        let header = Self {
            session: SessionId::new(session),
            channel,
            number: place,
            first,
            last,
            from,
            until,
            offset,
            keyframe,
            plain: u32::from_be_bytes([a, b, c, d]),
            body: u32::from_be_bytes([e, f, g, h]),
            ends,
            key: Hash(*key),
            previous: Hash(*previous),
        };
        header.check().map(|()| header)
    }

    /// What must be so whatever the body holds.
    fn check(&self) -> Result<(), BlockFlaw> {
        let within = |length: u32, most: usize| {
            usize::try_from(length).is_ok_and(|length| length > 0 && length <= most)
        };
        let rules = [
            (self.number > 0, "its number"),
            (self.first > 0 && self.first <= self.last, "its records"),
            (self.number > 1 || self.first == 1, "its first record"),
            (self.from <= self.until, "its time"),
            (self.number > 1 || self.offset == 0, "its offset"),
            (
                self.keyframe == 0 || (self.first..=self.last).contains(&self.keyframe),
                "its keyframe",
            ),
            (within(self.plain, MAX_PLAIN), "the length of its records"),
            (within(self.body, MAX_BLOCK.saturating_sub(HEADER_BYTES)), "its length"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(BlockFlaw::Header(what)),
            None => Ok(()),
        }
    }

    /// The length of the whole block, in bytes.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        usize::try_from(self.body).unwrap_or(usize::MAX).saturating_add(HEADER_BYTES)
    }
}

impl Block {
    /// Reads a block, to its last byte.
    ///
    /// # Errors
    /// When the bytes are not exactly one block.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BlockFlaw> {
        let header = Header::decode(&bytes)?;
        let whole = header.block_bytes();
        match bytes.len().checked_sub(whole) {
            Some(0) => Ok(Self { header, bytes }),
            Some(more) => Err(BlockFlaw::Long(more)),
            None => Err(BlockFlaw::Short(bytes.len())),
        }
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.bytes)
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Chain {
    /// The recording of this channel, before its first block.
    #[must_use]
    pub fn new(session: SessionId, channel: ChannelId) -> Self {
        let head = Sha256::new()
            .chain_update(BEGINNING)
            .chain_update(session.tag().get().to_be_bytes())
            .chain_update(channel.number().to_be_bytes())
            .finalize();
        let start = Uptime::from_nanos(0);
        Self {
            session,
            channel,
            blocks: 0,
            head: Hash(head.into()),
            last: 0,
            offset: 0,
            until: start,
            ended: false,
        }
    }

    /// The recording right after `block`, which is believed: for who goes on where it stopped.
    #[must_use]
    pub fn after(block: &Block) -> Self {
        let header = block.header();
        Self {
            session: header.session,
            channel: header.channel,
            blocks: header.number,
            head: block.hash(),
            last: header.last,
            offset: header.offset.saturating_add(header.plain.into()),
            until: header.until,
            ended: header.ends,
        }
    }

    /// Takes the next block, if it is the next one.
    ///
    /// # Errors
    /// The first thing that does not fit; nothing is changed then.
    pub fn take(&mut self, block: &Block) -> Result<(), ChainFlaw> {
        self.fits(block.header())?;
        *self = Self::after(block);
        Ok(())
    }

    /// Whether a block with this header could be the next one.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn fits(&self, header: &Header) -> Result<(), ChainFlaw> {
        if (header.session, header.channel) != (self.session, self.channel) {
            return Err(ChainFlaw::Foreign { session: header.session, channel: header.channel });
        }
        let expected = self.blocks.saturating_add(1);
        if header.number != expected {
            return Err(ChainFlaw::Number { expected, found: header.number });
        }
        if header.previous != self.head {
            return Err(ChainFlaw::Previous);
        }
        if self.ended {
            return Err(ChainFlaw::Ended);
        }
        let expected = self.last.saturating_add(1);
        if header.first != expected {
            return Err(ChainFlaw::Records { expected, found: header.first });
        }
        if header.offset != self.offset {
            return Err(ChainFlaw::Offset { expected: self.offset, found: header.offset });
        }
        if header.from < self.until { Err(ChainFlaw::Time) } else { Ok(()) }
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> ChannelId {
        self.channel
    }

    /// How many blocks there are.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The hash of the last block.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.head
    }

    /// The number of the last record; 0 for none.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of records so far.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the last block said that nothing follows.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Length of a header, in bytes.
pub const HEADER_BYTES: usize = 156;
const MAGIC: &[u8; 8] = b"CRFWREC\x01";
const ENDS: u32 = 1;
/// Before the names of session and channel, in the hash of no block.
const BEGINNING: &[u8] = b"curfew recording v1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        let session = SessionId::new(NonZeroU64::new(7).unwrap());
        let channel = ChannelId::new(8);
        Header {
            session,
            channel,
            number: 1,
            first: 1,
            last: 4,
            from: Uptime::from_nanos(10),
            until: Uptime::from_nanos(20),
            offset: 0,
            keyframe: 1,
            plain: 90,
            body: 3,
            ends: false,
            key: Hash([3; 32]),
            previous: Chain::new(session, channel).head(),
        }
    }

    fn block(header: &Header) -> Result<Block, BlockFlaw> {
        Block::parse([header.encode(), vec![1, 2, 3]].concat())
    }

    #[test]
    fn a_header_reads_back_and_a_block_is_exactly_its_length() {
        let whole = block(&header()).unwrap();
        assert_eq!(header().encode().len(), HEADER_BYTES);
        assert_eq!((whole.header(), whole.body()), (&header(), &[1, 2, 3][..]));
        for cut in 0..whole.bytes().len() {
            let cut = whole.bytes()[..cut].to_vec();
            assert_eq!(Block::parse(cut.clone()), Err(BlockFlaw::Short(cut.len())));
        }
        let long = [whole.bytes(), b"x"].concat();
        assert_eq!(Block::parse(long), Err(BlockFlaw::Long(1)));
    }

    #[test]
    fn a_header_that_no_block_has_is_refused() {
        type Change = fn(&mut Header);
        let wrong: [(&str, Change); 9] = [
            ("its number", |header| header.number = 0),
            ("its records", |header| header.last = 0),
            ("its records", |header| header.first = 0),
            ("its first record", |header| header.first = 2),
            ("its time", |header| header.until = Uptime::from_nanos(9)),
            ("its offset", |header| header.offset = 1),
            ("its keyframe", |header| header.keyframe = 5),
            ("the length of its records", |header| {
                header.plain = u32::try_from(MAX_PLAIN).unwrap() + 1;
            }),
            ("its length", |header| header.body = u32::MAX),
        ];
        for (what, change) in wrong {
            let mut header = header();
            change(&mut header);
            assert_eq!(block(&header), Err(BlockFlaw::Header(what)));
        }
        let mut bytes = block(&header()).unwrap().bytes;
        bytes[91] = 2;
        assert_eq!(Block::parse(bytes.clone()), Err(BlockFlaw::Header("its flags")));
        bytes[7] = 2;
        assert_eq!(Block::parse(bytes), Err(BlockFlaw::Magic));
    }

    #[test]
    fn only_the_next_block_continues_a_recording() {
        let first = block(&header()).unwrap();
        let mut chain = Chain::new(header().session, header().channel);
        chain.take(&first).unwrap();
        assert_eq!(chain, Chain::after(&first));
        assert_eq!(chain.take(&first), Err(ChainFlaw::Number { expected: 2, found: 1 }));
        let second = Header {
            number: 2,
            first: 5,
            last: 5,
            from: Uptime::from_nanos(20),
            offset: 90,
            keyframe: 0,
            previous: first.hash(),
            ends: true,
            ..header()
        };
        let channel = ChannelId::new(9);
        let wrong = [
            (
                Header { channel, ..second.clone() },
                ChainFlaw::Foreign { session: second.session, channel },
            ),
            (Header { number: 3, ..second.clone() }, ChainFlaw::Number { expected: 2, found: 3 }),
            (Header { previous: Hash([0; 32]), ..second.clone() }, ChainFlaw::Previous),
            (Header { first: 4, ..second.clone() }, ChainFlaw::Records { expected: 5, found: 4 }),
            (
                Header { offset: 91, ..second.clone() },
                ChainFlaw::Offset { expected: 90, found: 91 },
            ),
            (Header { from: Uptime::from_nanos(19), ..second.clone() }, ChainFlaw::Time),
        ];
        for (header, flaw) in wrong {
            assert_eq!(chain.fits(&header), Err(flaw));
        }
        chain.take(&block(&second).unwrap()).unwrap();
        assert!(chain.has_ended());
        let third = Header { number: 3, first: 6, last: 6, previous: chain.head(), ..second };
        assert_eq!(chain.fits(&third), Err(ChainFlaw::Ended));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_what_is_read_is_written_alike(
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [&MAGIC[..], &rest].concat();
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), &bytes[..HEADER_BYTES]);
            }
        }
    }
}
