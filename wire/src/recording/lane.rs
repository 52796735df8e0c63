//! Recordings on their way over the link: in small parts between the other frames, so that orders, receipts and records
//! never wait for more than [`WINDOW`] bytes of them.
//!
//! The host sends one block at a time, part by part, and never has more than [`WINDOW`] bytes under way that the authority
//! has not said to have taken; with a block's last part comes the host's signed word on it. When the block is durable, the
//! authority answers with its own signed word, the commit point, and the host goes on with the next block. After a new
//! connection a block begins anew.

use serde::{Deserialize, Serialize};

use crate::channel::ChannelId;
use crate::identifier::SessionId;
use crate::octets::Octets;

use super::MAX_BLOCK;
use super::statement::Signed;

/// What a host sends of its recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// A part of a block.
    Part(Part),
    /// That nothing follows the last block ([`super::statement::Said::Closed`]).
    Closed(Signed),
}

/// A part of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// The block's number.
    pub block: u64,
    /// The block's length, in bytes.
    pub whole: u32,
    /// Where this part begins in it.
    pub at: u32,
    /// The bytes, at most [`PART_BYTES`].
    pub bytes: Octets,
    /// With the last part: what the host says of the block ([`super::statement::Said::Block`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Signed>,
}

/// What the authority answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The block has arrived up to here; more may be sent.
    Taken {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        block: u64,
        /// How many of its bytes.
        upto: u32,
    },
    /// It is durable ([`super::statement::Received`]).
    Received(Signed),
    /// It is not taken.
    Refused(Refusal),
}

/// Why something of a recording was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// Why.
    pub why: String,
    /// Whether the same would be taken later: the authority's own trouble, and not the recording's.
    pub later: bool,
}

/// A block that arrives.
#[derive(Debug, Default)]
pub struct Assembly {
    under_way: Option<(SessionId, ChannelId, u64, u32)>,
    bytes: Vec<u8>,
}

/// What a part brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// More of the block.
    More {
        /// How much of it is here.
        upto: u32,
    },
    /// The block, whole; it is not checked yet.
    Whole {
        /// Its bytes.
        bytes: Vec<u8>,
        /// What the host says of it.
        said: Signed,
    },
}

/// Why a part does not belong here. The connection is of no use afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartFlaw {
    /// It announces a block longer than any, or is longer than a part.
    #[error("a part of a recording passes its limit")]
    Length,
    /// It does not continue what is here.
    #[error("a part of a recording does not continue the one before it")]
    Place,
    /// The last part brings no signed word, or another one does.
    #[error("a block's last part, and no other, brings the host's word on it")]
    Said,
}

impl Assembly {
    /// Takes the next part. A part that begins a block replaces what is there of another.
    ///
    /// # Errors
    /// When it does not belong here.
    pub fn take(&mut self, part: Part) -> Result<Arrived, PartFlaw> {
        let whole = usize::try_from(part.whole).map_err(|_beyond| PartFlaw::Length)?;
        let bytes = part.bytes.as_bytes();
        if whole == 0 || whole > MAX_BLOCK || bytes.is_empty() || bytes.len() > PART_BYTES {
            return Err(PartFlaw::Length);
        }
        let block = (part.session, part.channel, part.block, part.whole);
        if part.at == 0 {
            self.under_way = Some(block);
            self.bytes.clear();
        }
        let here = u32::try_from(self.bytes.len()).map_err(|_beyond| PartFlaw::Length)?;
        if self.under_way != Some(block) || part.at != here {
            return Err(PartFlaw::Place);
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > whole {
            return Err(PartFlaw::Length);
        }
        match (self.bytes.len() == whole, part.said) {
            (true, Some(said)) => {
                self.under_way = None;
                Ok(Arrived::Whole { bytes: std::mem::take(&mut self.bytes), said })
            }
            (false, None) => {
                let upto = u32::try_from(self.bytes.len()).map_err(|_beyond| PartFlaw::Length)?;
                Ok(Arrived::More { upto })
            }
            _ => Err(PartFlaw::Said),
        }
    }
}

/// Most bytes of one part: a frame that other frames wait for is soon over.
pub const PART_BYTES: usize = 16 * 1024;
/// Most bytes that are under way and not taken yet.
pub const WINDOW: usize = 4 * PART_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn said() -> Signed {
        Signed { text: "{}".into(), signature: "s".into() }
    }

    fn part(block: u64, at: usize, whole: usize, length: usize) -> Part {
        Part {
            session: SessionId::new(NonZeroU64::new(1).unwrap()),
            channel: ChannelId::new(2),
            block,
            whole: u32::try_from(whole).unwrap(),
            at: u32::try_from(at).unwrap(),
            bytes: Octets::new(vec![0xff; length]),
            said: (at.saturating_add(length) >= whole).then(said),
        }
    }

    #[test]
    fn a_block_arrives_part_by_part_and_begins_anew_when_it_must() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(part(1, 0, 25, 10)), Ok(Arrived::More { upto: 10 }));
        assert_eq!(assembly.take(part(1, 0, 25, 10)), Ok(Arrived::More { upto: 10 }));
        assert_eq!(assembly.take(part(1, 10, 25, 10)), Ok(Arrived::More { upto: 20 }));
        let whole = assembly.take(part(1, 20, 25, 5)).unwrap();
        assert_eq!(whole, Arrived::Whole { bytes: vec![0xff; 25], said: said() });
        assert_eq!(assembly.take(part(1, 20, 25, 5)), Err(PartFlaw::Place));
    }

    #[test]
    fn what_does_not_belong_here_is_refused() {
        let take = |next: Part| {
            let mut assembly = Assembly::default();
            assembly.take(part(1, 0, 25, 10)).unwrap();
            assembly.take(next)
        };
        assert_eq!(take(part(2, 10, 25, 5)), Err(PartFlaw::Place));
        assert_eq!(take(part(1, 11, 25, 5)), Err(PartFlaw::Place));
        assert_eq!(take(part(1, 10, 24, 5)), Err(PartFlaw::Place));
        assert_eq!(take(part(1, 10, 25, 16)), Err(PartFlaw::Length));
        assert_eq!(take(part(1, 10, 25, 0)), Err(PartFlaw::Length));
        assert_eq!(take(part(1, 0, MAX_BLOCK + 1, 5)), Err(PartFlaw::Length));
        assert_eq!(take(part(1, 0, MAX_BLOCK, PART_BYTES + 1)), Err(PartFlaw::Length));
        assert_eq!(take(Part { said: None, ..part(1, 10, 25, 15) }), Err(PartFlaw::Said));
        assert_eq!(take(Part { said: Some(said()), ..part(1, 10, 25, 5) }), Err(PartFlaw::Said));
    }
}
