//! Keys for tests.

use std::sync::Arc;

use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

use super::Sign;
use super::software::SoftwareKey;

/// The Ed25519 key of this seed, as one that signs.
pub(crate) fn key(seed: u8) -> Arc<dyn Sign> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
    Arc::new(SoftwareKey::new(&key).unwrap())
}
