//! A recording as it lies in the authority's store, folder or bucket alike: an object a block, and one that ends it.
//!
//! ```text
//! HOST/SESSION/CHANNEL/0000000001.block    the block | u32 length | statement | u32 length | its signature
//! HOST/SESSION/CHANNEL/closed              the host's last word, a [`Signed`] as JSON
//! ```
//!
//! Objects are written once and never changed. Who can change them: root at the authority, or whoever holds the bucket.
//! Gains: can remove recordings, which `verify` finds and places; can neither make nor alter a block without the host's
//! agent key, and without the recording key reads nothing.

use std::fmt;
use std::str::FromStr;

use crate::blob::{Blob, put};
use crate::channel::ChannelId;
use crate::identifier::{HostName, SessionId};

use super::block::{Block, BlockFlaw, Header};
use super::statement::{MAX_SAID, Signed};

/// Where an object of a recording lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host, by its certificate.
    pub host: HostName,
    /// The session.
    pub session: SessionId,
    /// The channel.
    pub channel: ChannelId,
    /// Which object.
    pub piece: Piece,
}

/// Which object of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// A block, by its number, from 1.
    Block(u64),
    /// That nothing follows.
    Closed,
}

/// A block and what the host says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block.
    pub block: Block,
    /// The host's statement about it, as it came; not believed by being here.
    pub said: Signed,
}

/// Why an object is no stored block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredFlaw {
    /// The block.
    #[error(transparent)]
    Block(#[from] BlockFlaw),
    /// What follows the block.
    #[error("what follows the block is no signed statement")]
    Said,
}

/// The name is no object's of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no name of a recording's object")]
pub struct PlaceFlaw;

impl StoredBlock {
    /// The object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = self.block.bytes().to_vec();
        put(&mut to, self.said.text.as_bytes());
        put(&mut to, self.said.signature.as_bytes());
        to
    }

    /// Reads an object, to its last byte. What is said in it is not checked here.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredFlaw> {
        let header = Header::decode(bytes)?;
        let short = StoredFlaw::Block(BlockFlaw::Short(bytes.len()));
        let (block, rest) = bytes.split_at_checked(header.block_bytes()).ok_or(short)?;
        let block = Block::parse(block.to_vec())?;
        let mut rest = Blob::new(rest);
        let mut text = |most: usize| {
            let string = rest.string().map_err(|_short| StoredFlaw::Said)?;
            let text = std::str::from_utf8(string).map_err(|_odd| StoredFlaw::Said)?;
            if text.len() > most { Err(StoredFlaw::Said) } else { Ok(text.to_owned()) }
        };
        let said = Signed { text: text(MAX_SAID)?, signature: text(crate::sshsig::MAX_SEAL)? };
        if rest.is_done() { Ok(Self { block, said }) } else { Err(StoredFlaw::Said) }
    }
}

impl Place {
    /// The folder of all of a session's recordings on a host.
    #[must_use]
    pub fn session_folder(host: &HostName, session: SessionId) -> String {
        format!("{host}/{session}/")
    }
}

/// Its name in the store, with `/` between its parts. Host names hold no `/` and do not begin with a dot.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/", self.host, self.session, self.channel)?;
        match self.piece {
            Piece::Block(number) => write!(f, "{number:010}{BLOCK}"),
            Piece::Closed => f.write_str(CLOSED),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceFlaw;

    fn from_str(text: &str) -> Result<Self, PlaceFlaw> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(PlaceFlaw);
        let host = part()?.parse().map_err(|_odd| PlaceFlaw)?;
        let session = part()?.parse().map_err(|_odd| PlaceFlaw)?;
        let channel = u64::from_str_radix(part()?, 16).map_err(|_odd| PlaceFlaw)?;
        let piece = match part()? {
            CLOSED => Piece::Closed,
            name => {
                let number = name.strip_suffix(BLOCK).and_then(|number| number.parse().ok());
                Piece::Block(number.ok_or(PlaceFlaw)?)
            }
        };
        let place = Self { host, session, channel: ChannelId::new(channel), piece };
        // One spelling each.
        if place.to_string() == text { Ok(place) } else { Err(PlaceFlaw) }
    }
}

const BLOCK: &str = ".block";
const CLOSED: &str = "closed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_has_one_name() {
        for name in [
            "db1/00000000000000ff/0000000000000001/0000000012.block",
            "a.b/00000000000000ff/ffffffffffffffff/closed",
        ] {
            assert_eq!(name.parse::<Place>().unwrap().to_string(), name);
        }
        let odd = [
            "db1/00000000000000ff/0000000000000001/12.block",
            "db1/00000000000000ff/1/closed",
            "db1/00000000000000FF/0000000000000001/closed",
            "../00000000000000ff/0000000000000001/closed",
            "db1/00000000000000ff/0000000000000001/closed/",
            "db1/00000000000000ff/0000000000000001/",
            "",
        ];
        for odd in odd {
            assert_eq!(odd.parse::<Place>(), Err(PlaceFlaw), "{odd}");
        }
    }
}
