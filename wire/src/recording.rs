//! What passed a terminal of a session, as it is kept: one recording a channel, written on the host and stored at the
//! authority in the same form ([docs/recording.md]).
//!
//! Shape: numbered [`record::Record`]s, gathered into blocks of up to [`BLOCK_BYTES`] or [`BLOCK_AGE`], each compressed,
//! then encrypted to the authority's recording key, with a [`block::Header`] in the clear. A header holds the hash of the
//! block before it, so that nothing can be cut, put in, reordered, changed or repeated without being found, and where.
//! The host signs each block's hash and how the recording ended ([`statement`]); the authority signs what it has.
//!
//! Who can change this: root on the host, what the authority has not acknowledged yet, and what is recorded there from
//! then on. Gains: hides what was done from then on; cannot read what was recorded before. Root at the authority: removes
//! recordings, which is found; whoever holds the recording key as well reads them.

pub mod batch;
pub mod block;
pub mod key;
pub mod lane;
pub mod record;
pub mod remains;
#[cfg(feature = "recording")]
pub mod seal;
pub mod statement;
pub mod stored;
pub mod verify;

pub use key::RecordingKey;
pub use stored::{Place, StoredBlock};

use std::time::Duration;

/// A block is closed when its records have this many bytes.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// A block is closed when its first record is this old: so much is lost at most when a host loses its power.
pub const BLOCK_AGE: Duration = Duration::from_secs(1);
/// Most bytes of a block's records: what was there when the block was about to be closed, and one record more.
pub const MAX_PLAIN: usize = 384 * 1024;
/// Most bytes of one record's payload: more are parted.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Most bytes of a block as it is stored: records that cannot be compressed grow a little.
pub const MAX_BLOCK: usize = MAX_PLAIN + 8 * 1024;
