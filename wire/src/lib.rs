//! Values that cross a boundary between Curfew's programs, and nothing else: no I/O, no clock, no randomness (save what
//! is drawn to encrypt, in `recording::seal` and `spool::seal`).
//!
//! Everything a stranger can send is checked when it is constructed or deserialised, so that past the
//! edge nobody meets a raw `String`. Every format carries [`VERSION`].

pub mod api;
pub mod attempt;
pub mod behaviour;
mod blob;
pub mod breakglass;
pub mod ceremony;
pub mod certificate;
pub mod channel;
pub mod explain;
pub mod export;
pub mod frame;
pub mod gate;
pub mod hostlink;
pub mod identifier;
pub mod identity;
pub mod incident;
pub mod key;
pub mod key_request;
pub mod kill;
pub mod krl;
pub mod ledger;
pub mod limits;
pub mod lock;
pub mod log;
pub mod login;
pub mod network;
pub mod octets;
pub mod odd;
pub mod options;
pub mod order;
pub mod problem;
pub mod reading;
pub mod record;
pub mod recording;
pub mod renewal;
pub mod report;
pub mod request;
pub mod retention;
pub mod review;
pub mod risk;
pub mod search;
pub mod signature;
pub mod spool;
pub mod sshsig;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trust;

/// The version of the wire: HTTP bodies, host frames, orders and records.
///
/// A peer that names another version is refused with both numbers in the message.
pub const VERSION: u32 = 1;
