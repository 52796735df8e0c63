//! Key revocation lists against OpenSSH itself: what we write it reads as we mean it, what it writes we read as it
//! does, and what it refuses we refuse. The last tests log in to a real sshd on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test that cannot set itself up has failed"
)]

#[path = "krl/incumbent.rs"]
mod incumbent;
#[path = "krl/login.rs"]
mod login;
#[path = "krl/merge.rs"]
mod merge;
#[path = "krl/set.rs"]
mod set;
#[path = "krl/strict.rs"]
mod strict;
