//! What the authority will want to know when somebody comes back, given to them to keep: sealed, so that they can neither
//! read nor change it, and no memory is held for whoever never comes back. Nodes that share a ledger share the key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::random::{NoRandomness, sha256};

/// Seals and opens, for one purpose.
pub(crate) struct Sealer {
    key: RandomizedNonceKey,
    purpose: &'static str,
}

impl Sealer {
    /// With a key made of this one, for this purpose alone.
    pub(crate) fn new(key: [u8; 32], purpose: &'static str) -> Result<Self, NoRandomness> {
        let key = sha256(&[b"curfew sealed v1\n", purpose.as_bytes(), b"\n", &key]);
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_unspecified| NoRandomness)?;
        Ok(Self { key, purpose })
    }

    /// A text that only [`Self::open`] reads.
    pub(crate) fn seal<T: Serialize>(&self, value: &T) -> Result<String, SealError> {
        let mut bytes = serde_json::to_vec(value)?;
        let aad = Aad::from(self.purpose.as_bytes());
        let nonce = self.key.seal_in_place_append_tag(aad, &mut bytes);
        let nonce = nonce.map_err(|_unspecified| NoRandomness)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &bytes].concat()))
    }

    /// What was sealed; nothing when it was not sealed here, for this, or was altered.
    pub(crate) fn open<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| text.len() <= MAX_SEALED)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(self.purpose.as_bytes());
        let opened = self.key.open_in_place(Nonce::from(nonce), aad, &mut sealed).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// It has no JSON form.
    #[error("what is to be sealed cannot be written: {0}")]
    Form(#[from] serde_json::Error),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Longest sealed text: a device code of 2 KiB and what belongs to it.
const MAX_SEALED: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_here_for_its_purpose_and_nowhere_else() {
        let sealer = Sealer::new([1; 32], "a").unwrap();
        let text = sealer.seal(&"secret").unwrap();
        assert_eq!(sealer.open::<String>(&text).as_deref(), Some("secret"));
        assert_ne!(text, sealer.seal(&"secret").unwrap());
        for other in [Sealer::new([1; 32], "b"), Sealer::new([2; 32], "a")] {
            assert_eq!(other.unwrap().open::<String>(&text), None);
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(sealer.open::<String>(&altered), None, "{at}");
        }
        for odd in ["", "AAAA", "====", &"A".repeat(10_000)] {
            assert_eq!(sealer.open::<String>(odd), None);
        }
    }
}
