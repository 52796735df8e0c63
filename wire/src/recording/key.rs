//! The public half of the authority's recording key, to which hosts encrypt: X25519 (RFC 7748), used by HPKE alone.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::log::Hash;

/// Whom recordings are encrypted to; as text, `x25519:` and standard base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordingKey([u8; 32]);

/// The text is no recording key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a recording key is `x25519:` and 32 bytes in base64")]
pub struct RecordingKeyFlaw;

impl RecordingKey {
    /// The key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a block calls it.
    #[must_use]
    pub fn name(&self) -> Hash {
        Hash::of(&self.0)
    }
}

impl fmt::Display for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordingKey {
    type Err = RecordingKeyFlaw;

    fn from_str(text: &str) -> Result<Self, RecordingKeyFlaw> {
        let bytes = text.strip_prefix(PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(RecordingKeyFlaw)
    }
}

impl TryFrom<String> for RecordingKey {
    type Error = RecordingKeyFlaw;

    fn try_from(text: String) -> Result<Self, RecordingKeyFlaw> {
        text.parse()
    }
}

impl From<RecordingKey> for String {
    fn from(key: RecordingKey) -> Self {
        key.to_string()
    }
}

const PREFIX: &str = "x25519:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() {
        let key = RecordingKey::new([7; 32]);
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        let odd = [
            text.replacen("x25519", "25519", 1),
            text.replace("BwcH", ""),
            "x25519:".into(),
            format!("{text}\n"),
            String::new(),
            text.replace('=', ""),
        ];
        for odd in odd {
            assert_eq!(odd.parse::<RecordingKey>(), Err(RecordingKeyFlaw), "{odd:?}");
        }
    }
}
