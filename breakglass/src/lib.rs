//! The key for when everything else is down: custodians hold shares of it, some of them sign together, and no machine ever
//! holds it whole. FROST over Ed25519 (RFC 9591), so that what comes out is an ordinary OpenSSH certificate.
//!
//! Pure: no I/O and no clock, and randomness is an argument. A ceremony is a state machine whose steps consume themselves.
//! What must not be used twice (the nonces of a signature, the polynomial of a key generation) has no form in which it could be
//! stored, so a ceremony that is interrupted is begun anew, and nothing of it is left.
//!
//! Custodians exchange [`letter::Letter`]s: text that may be copied, read aloud, printed or put in a QR code.

mod bytes;
pub mod group;
pub mod keygen;
pub mod letter;
pub mod receipt;
pub mod request;
pub mod share;
pub mod sign;
pub mod terms;

pub use bytes::Malformed;
