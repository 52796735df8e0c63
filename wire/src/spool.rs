//! Records as they lie in a host's spool and travel to the authority: sealed to its recording key, each behind the one before.
//!
//! Shape: segments. A segment begins with a [`cover::Cover`], which brings the segment's key, encrypted to the authority's
//! recording key, and goes on with [`frame::Frame`]s, a record each: its number and the hash of what stands before it in the
//! clear, the record itself compressed and encrypted. The host signs the cover, and forgets a record's key when the record is
//! written ([`seal`]). The cover of the next segment names the last frame of this one, so that each signature holds all
//! before it.
//!
//! Nothing can be cut, put in, reordered, changed or repeated without being found, and where ([`check`]). What stays readable
//! to whoever has the disk: how many records there are, how long each is, which [generation](crate::record::Event::generation)
//! it has, and when the file was written.
//!
//! Who can change this: root on the host, what the authority does not have yet. Gains: removes it, which is found, and hides
//! what is done from then on; can neither read nor alter what was written before.

#[cfg(feature = "recording")]
pub mod check;
pub mod cover;
pub mod frame;
#[cfg(feature = "recording")]
pub mod seal;

use serde::{Deserialize, Serialize};

use crate::octets::Octets;

/// Records of one segment, as they lie in the spool, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The segment's [`cover::SignedCover`], where it is not that of the frame before on this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<Octets>,
    /// One [`frame::Frame`] after the other.
    pub frames: Octets,
}

/// Most records of one segment: who opens one in the middle goes through the keys before it.
pub const MAX_FRAMES: u64 = 65_536;
/// Most bytes of a record before it is sealed, and of all that travel together: 256 KiB of arguments, each byte a control
/// character that JSON writes with six.
pub const MAX_PLAIN: u32 = 2 * 1024 * 1024;
/// Most bytes of a sealed record. What JSON makes longer is made shorter again by packing it.
pub const MAX_BODY: u32 = 1024 * 1024;
