//! The keys that sign checkpoints, in the text form of `signed-note`: `name+id+key`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::note::Signature;
use super::{FormError, bounded, form};
use crate::time::Timestamp;

/// The name of a log or a witness: not empty, no space, no `+`, no control character; by custom an address without a scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// A log's key: it signs checkpoints as they are (Ed25519, signature type 1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogKey(Key<1>);

/// A witness's key: it signs checkpoints with the moment it saw them (Ed25519, signature type 4, `cosignature/v1`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WitnessKey(Key<4>);

/// A named Ed25519 key for signatures of one type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key<const TYPE: u8> {
    name: KeyName,
    public: [u8; 32],
}

impl KeyName {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn try_new(text: impl Into<String>) -> Result<Self, FormError> {
        let text = text.into();
        bounded("key name", text.len(), MAX_NAME)?;
        if text.is_empty() {
            return Err(form("key name", "is empty"));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(form("key name", "holds a space, a control character or a +"));
        }
        Ok(Self(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LogKey {
    /// The key of the log `name`, from an Ed25519 public key.
    #[must_use]
    pub const fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self(Key { name, public })
    }

    /// The log's name, which is also its checkpoints' origin.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public(&self) -> [u8; 32] {
        self.0.public
    }

    /// The signature line for `signature`, which this key made over a note's text.
    #[must_use]
    pub fn line(&self, signature: [u8; 64]) -> Signature {
        Signature { name: self.0.name.clone(), id: self.0.id(), bytes: signature.to_vec() }
    }

    pub(super) fn is_of(&self, line: &Signature) -> bool {
        self.0.is_of(line)
    }

    pub(super) fn verify(&self, text: &str, line: &Signature) -> bool {
        self.0.is_of(line) && self.0.verify(text.as_bytes(), &line.bytes)
    }
}

impl WitnessKey {
    /// The key of the witness `name`, from an Ed25519 public key.
    #[must_use]
    pub const fn new(name: KeyName, public: [u8; 32]) -> Self {
        Self(Key { name, public })
    }

    /// The witness's name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public(&self) -> [u8; 32] {
        self.0.public
    }

    /// What a witness signs who saw the note `text` at the second `at`.
    #[must_use]
    pub fn message(text: &str, at: u64) -> String {
        format!("cosignature/v1\ntime {at}\n{text}")
    }

    /// The signature line for `signature`, which this key made over [`WitnessKey::message`].
    #[must_use]
    pub fn line(&self, at: u64, signature: [u8; 64]) -> Signature {
        let bytes = at.to_be_bytes().iter().chain(&signature).copied().collect();
        Signature { name: self.0.name.clone(), id: self.0.id(), bytes }
    }

    pub(super) fn is_of(&self, line: &Signature) -> bool {
        self.0.is_of(line)
    }

    /// When the witness saw the note, if it did.
    pub(super) fn verify(&self, text: &str, line: &Signature) -> Option<Timestamp> {
        let (time, signature) = line.bytes.split_first_chunk::<8>()?;
        let at = u64::from_be_bytes(*time);
        let signed = Self::message(text, at);
        let good = at <= super::MAX_NUMBER && self.0.verify(signed.as_bytes(), signature);
        (self.0.is_of(line) && good).then(|| Timestamp::from_secs(at))
    }
}

impl<const TYPE: u8> Key<TYPE> {
    fn id(&self) -> u32 {
        let hash = Sha256::new()
            .chain_update(self.name.as_str())
            .chain_update([b'\n', TYPE])
            .chain_update(self.public)
            .finalize();
        hash.first_chunk().copied().map(u32::from_be_bytes).unwrap_or_default()
    }

    fn is_of(&self, line: &Signature) -> bool {
        line.name == self.name && line.id == self.id()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

impl<const TYPE: u8> fmt::Display for Key<TYPE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<u8> = [TYPE].iter().chain(&self.public).copied().collect();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

impl<const TYPE: u8> FromStr for Key<TYPE> {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        bounded("key", text.len(), MAX_KEY)?;
        let odd = || form("key", "is not of the form name+id+key of signed-note (c2sp.org)");
        let (name, rest) = text.split_once('+').ok_or_else(odd)?;
        let (_, encoded) = rest.split_once('+').ok_or_else(odd)?;
        let bytes = STANDARD.decode(encoded).map_err(|_odd: base64::DecodeError| odd())?;
        let (kind, public) = bytes.split_first().ok_or_else(odd)?;
        if *kind != TYPE {
            return Err(form("key", "is for signatures of another type"));
        }
        let public = public.try_into().map_err(|_odd: std::array::TryFromSliceError| odd())?;
        let key = Self { name: KeyName::try_new(name)?, public };
        if key.to_string() == text { Ok(key) } else { Err(form("key", "has a wrong id")) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for KeyName {
    type Error = FormError;
    fn try_from(text: String) -> Result<Self, FormError> {
        Self::try_new(text)
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

/// Writes what the two kinds of key share: their text form.
macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = FormError;
            fn from_str(text: &str) -> Result<Self, FormError> {
                text.parse().map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = FormError;
            fn try_from(text: String) -> Result<Self, FormError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.to_string()
            }
        }
    };
}

text!(LogKey);
text!(WitnessKey);

/// Longest name of a key, in bytes; an address without a scheme fits.
const MAX_NAME: usize = 255;
/// Longest key as text: the longest name, 8 digits, 33 bytes in base64, two `+`.
const MAX_KEY: usize = 320;
