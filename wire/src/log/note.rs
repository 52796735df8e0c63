//! A signed note (c2sp.org/signed-note): a text, and signature lines under it. Reading it believes nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{FormError, KeyName, bounded, form};

/// A note as it was read: well formed, and not believed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A line under a note: who says to have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: KeyName,
    /// The first bytes of the hash over name and key.
    pub id: u32,
    /// What the key signed with; for a witness, the time in 8 bytes before it.
    pub bytes: Vec<u8>,
}

impl Note {
    /// A note of `text` with these signatures.
    ///
    /// # Errors
    /// When the text does not end in a newline or holds a control character, or there are no or too many signatures.
    pub fn new(text: impl Into<String>, signatures: Vec<Signature>) -> Result<Self, FormError> {
        let note = Self { text: text.into(), signatures };
        let read: Self = note.to_string().parse()?;
        if read == note { Ok(note) } else { Err(form(NOTE, "reads back as another")) }
    }

    /// What is signed: up to and including the newline before the empty line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines under it.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The note with these signatures too, each once.
    ///
    /// # Errors
    /// When they are too many.
    pub fn with(&self, more: impl IntoIterator<Item = Signature>) -> Result<Self, FormError> {
        let mut signatures = self.signatures.clone();
        for line in more {
            if !signatures.contains(&line) {
                signatures.push(line);
            }
        }
        Self::new(self.text.clone(), signatures)
    }
}

impl FromStr for Note {
    type Err = FormError;
    fn from_str(note: &str) -> Result<Self, FormError> {
        bounded(NOTE, note.len(), MAX_NOTE)?;
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(form(NOTE, "holds a control character"));
        }
        let (text, lines) = note
            .rsplit_once("\n\n")
            .ok_or(form(NOTE, "has no empty line between its text and its signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(form(NOTE, "does not end in a newline"))?;
        if lines.split('\n').count() > MAX_SIGNATURES {
            return Err(form(NOTE, "has too many signatures"));
        }
        let signatures = lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

impl FromStr for Signature {
    type Err = FormError;
    fn from_str(line: &str) -> Result<Self, FormError> {
        let odd = || form("signature line", "is not of the form `— name base64`");
        let rest = line.strip_prefix("— ").ok_or_else(odd)?;
        let (name, encoded) = rest.split_once(' ').ok_or_else(odd)?;
        let bytes = STANDARD.decode(encoded).map_err(|_odd: base64::DecodeError| odd())?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or_else(odd)?;
        if bytes.is_empty() {
            return Err(odd());
        }
        let id = u32::from_be_bytes(*id);
        Ok(Self { name: KeyName::try_new(name)?, id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.id.to_be_bytes().iter().chain(&self.bytes).copied().collect();
        write!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl TryFrom<String> for Note {
    type Error = FormError;
    fn try_from(text: String) -> Result<Self, FormError> {
        text.parse()
    }
}

impl From<Note> for String {
    fn from(note: Note) -> Self {
        note.to_string()
    }
}

const NOTE: &str = "note";
/// Longest note, in bytes: a checkpoint with sixteen post-quantum signatures of 3,300 characters, rounded up. A
/// certificate of more than 90,000 bytes does not get through sshd's command line.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signatures under a note; signed-note asks for at least 16.
pub const MAX_SIGNATURES: usize = 32;
