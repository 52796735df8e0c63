//! Certificates against OpenSSH itself: what we write is what `ssh-keygen -s` writes, it reads ours as we do, and we read
//! its own; what it refuses we refuse.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot set itself up has failed"
)]

#[path = "certificate/desk.rs"]
mod desk;
#[path = "certificate/incumbent.rs"]
mod incumbent;
#[path = "certificate/listing.rs"]
mod listing;
#[path = "certificate/property.rs"]
mod property;
#[path = "certificate/security_key.rs"]
mod security_key;
#[path = "certificate/strict.rs"]
mod strict;
