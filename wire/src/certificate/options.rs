//! The options of a certificate: names with data, in the order and number in which they came.
//!
//! OpenSSH reads options that are unsorted, unknown or there twice, and judges them only when it needs them; so nothing is
//! lost here, and each question about an option says what is wrong with it.

use std::fmt;

use crate::blob::{self, Blob};
use crate::octets::Octets;

use super::Malformed;

/// Names and data as received. The data of a flag is empty, that of a text is a string within the string.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Options(Vec<(Octets, Octets)>);

/// What is wrong with an option that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionFlaw {
    /// Two of one name: which counts?
    #[error("is there twice")]
    Twice,
    /// A flag that carries something.
    #[error("carries data, but is only on or off")]
    NotFlag,
    /// Not one string within the string, or one with a NUL.
    #[error("does not carry exactly one text")]
    NotText,
}

impl Options {
    /// Reads a section of options.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Blob::new(bytes);
        let mut options = Vec::new();
        while !from.is_done() {
            let name = super::reader::text("option's name", from.string()?)?;
            options.push((name, Octets::new(from.string()?)));
        }
        Ok(Self(options))
    }

    /// Their names and data as received, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Octets, &Octets)> {
        self.0.iter().map(|(name, data)| (name, data))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the flag `name` is set.
    ///
    /// # Errors
    /// When it is there twice or carries data.
    pub fn flag(&self, name: &str) -> Result<bool, OptionFlaw> {
        match self.data(name)? {
            None => Ok(false),
            Some([]) => Ok(true),
            Some(_) => Err(OptionFlaw::NotFlag),
        }
    }

    /// The text that the option `name` carries, if it is there.
    ///
    /// # Errors
    /// When it is there twice or carries anything but one text.
    pub fn text(&self, name: &str) -> Result<Option<&[u8]>, OptionFlaw> {
        let Some(data) = self.data(name)? else {
            return Ok(None);
        };
        let mut from = Blob::new(data);
        match from.string() {
            Ok(text) if from.is_done() && !text.contains(&0) => Ok(Some(text)),
            _ => Err(OptionFlaw::NotText),
        }
    }

    /// The data of the option `name` as received, if it is there.
    ///
    /// # Errors
    /// When it is there twice.
    pub fn data(&self, name: &str) -> Result<Option<&[u8]>, OptionFlaw> {
        let mut found = self.0.iter().filter(|(other, _)| other.as_bytes() == name.as_bytes());
        match (found.next(), found.next()) {
            (one, None) => Ok(one.map(|(_, data)| data.as_bytes())),
            _ => Err(OptionFlaw::Twice),
        }
    }

    /// The section without the option `name`; nothing when there is not exactly one.
    pub(super) fn encoded_without(&self, name: &str) -> Option<Vec<u8>> {
        self.data(name).ok().flatten()?;
        let mut bytes = Vec::new();
        for (other, data) in self.0.iter().filter(|(other, _)| other.as_bytes() != name.as_bytes())
        {
            blob::put(&mut bytes, other.as_bytes());
            blob::put(&mut bytes, data.as_bytes());
        }
        Some(bytes)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
