//! Random bytes from the system, for nonces, tokens and keys.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The system gave no random bytes; nothing that needs them may go on.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoRandomness;

/// `N` fresh random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| NoRandomness)?;
    Ok(bytes)
}

/// A secret that its holder shows; only its hash is ever stored. No `Debug` or `Display` shows it.
pub(crate) struct Secret(String);

impl Secret {
    /// A new one: 32 random bytes in URL-safe base64.
    pub(crate) fn generate() -> Result<Self, NoRandomness> {
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes::<32>()?)))
    }

    /// One that a stranger showed.
    pub(crate) fn shown(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What is stored and looked up. Looking up by a hash leaks nothing useful through time.
    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&[self.0.as_bytes()])
    }

    /// The secret itself, for its holder.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = digest(&SHA256, &parts.concat());
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}
