//! A line that a person wrote and other people rely on: what it looks like is what it says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::octets::is_hidden;

/// One line of text: not empty, bounded, without characters that drive a terminal or change how others are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sentence(String);

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SentenceError {
    /// It says nothing.
    #[error("is empty")]
    Empty,
    /// It is too long.
    #[error("is {0} bytes long; at most {MAX_SENTENCE} are kept")]
    TooLong(usize),
    /// It holds what cannot be seen, or what turns the rest around.
    #[error("holds the character U+{:04X}, which cannot be seen or changes how the rest is shown", u32::from(*.0))]
    Character(char),
}

impl Sentence {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn try_new(text: impl Into<String>) -> Result<Self, SentenceError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Whether `text` would be one.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(text: &str) -> Result<(), SentenceError> {
        if text.len() > MAX_SENTENCE {
            return Err(SentenceError::TooLong(text.len()));
        }
        if let Some(odd) = text.chars().find(|character| is_hidden(*character)) {
            return Err(SentenceError::Character(odd));
        }
        if text.trim().is_empty() { Err(SentenceError::Empty) } else { Ok(()) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Sentence {
    type Err = SentenceError;
    fn from_str(text: &str) -> Result<Self, SentenceError> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for Sentence {
    type Error = SentenceError;
    fn try_from(text: String) -> Result<Self, SentenceError> {
        Self::try_new(text)
    }
}

impl From<Sentence> for String {
    fn from(sentence: Sentence) -> Self {
        sentence.0
    }
}

/// Longest line, in bytes: it must fit into the one line of a terminal's notice.
pub const MAX_SENTENCE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_kept() {
        for text in ["restart the primary", "größe Ω 日本語 🙂", &"x".repeat(MAX_SENTENCE)]
        {
            assert_eq!(Sentence::try_new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_cannot_be_seen_or_deceives_is_refused() {
        for (text, why) in [
            ("", "is empty"),
            (" \u{3000}", "is empty"),
            ("two\nlines", "U+000A"),
            ("bell\u{7}", "U+0007"),
            ("\u{1b}[2J", "U+001B"),
            ("nel\u{85}", "U+0085"),
            ("evil\u{202e}gpj", "U+202E"),
            ("zero\u{200b}width", "U+200B"),
            ("join\u{200d}er", "U+200D"),
            ("line\u{2028}", "U+2028"),
            ("isolate\u{2066}", "U+2066"),
            ("bom\u{feff}", "U+FEFF"),
            ("tag\u{e0041}", "U+E0041"),
            ("variation\u{fe0f}", "U+FE0F"),
            ("joiner\u{34f}", "U+034F"),
            ("blank\u{2800}", "U+2800"),
            ("music\u{1d173}", "U+1D173"),
            ("private\u{e000}", "U+E000"),
            ("none\u{fdd0}", "U+FDD0"),
            ("last\u{1ffff}", "U+1FFFF"),
            ("not\u{ffff}", "U+FFFF"),
        ] {
            let error = Sentence::try_new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let long = Sentence::try_new("x".repeat(MAX_SENTENCE + 1)).unwrap_err();
        assert_eq!(long, SentenceError::TooLong(401));
        assert!(serde_json::from_str::<Sentence>("\"a\\u202eb\"").is_err());
    }
}
