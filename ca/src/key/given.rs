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

/// One key for each purpose: users, hosts, orders and the log, in this order, of the seeds 6 to 9.
pub(crate) fn keyring() -> super::Keyring {
    let keys = super::Purpose::ALL
        .into_iter()
        .zip(6..)
        .map(|(purpose, seed)| (purpose.first(), key(seed)));
    super::Keyring { keys: keys.collect() }
}
