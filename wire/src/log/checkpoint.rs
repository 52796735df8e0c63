//! A checkpoint (c2sp.org/tlog-checkpoint): what a log says its tree is, and who stands for it.

use std::fmt;
use std::str::FromStr;

use super::{FormError, Head, LogKey, Note, Signature, Unproved, WitnessKey, form, number};
use crate::time::Timestamp;

/// A log's name, and its tree. Whether it is true, an [`Attested`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Its tree.
    pub head: Head,
}

/// A checkpoint that a pinned log key signed, with as many witnesses as policy requires. Only [`Policy::attest`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Attested {
    checkpoint: Checkpoint,
    note: Note,
    cosigned: Vec<Cosigned>,
}

/// A pinned witness's word for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Who.
    pub witness: WitnessKey,
    /// When it saw the checkpoint, by its own clock.
    pub at: Timestamp,
}

/// Whose word a checkpoint needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Keys of the log; one must have signed.
    pub logs: Vec<LogKey>,
    /// Keys of witnesses.
    pub witnesses: Vec<WitnessKey>,
    /// How many of the witnesses must have cosigned.
    pub quorum: usize,
}

impl Checkpoint {
    /// The note's text, which the log and its witnesses sign.
    #[must_use]
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl Attested {
    /// What is attested.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its tree.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.checkpoint.head
    }

    /// The note as it was signed.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The pinned witnesses that cosigned it, each once.
    #[must_use]
    pub fn cosigned(&self) -> &[Cosigned] {
        &self.cosigned
    }
}

impl Policy {
    /// Believes the checkpoint in `note`, if those signed it whose word it needs.
    ///
    /// # Errors
    /// When it is no checkpoint, no pinned log key signed it, a signature under a pinned key's name and id does not
    /// verify, or too few witnesses cosigned.
    pub fn attest(&self, note: Note) -> Result<Attested, Unproved> {
        let checkpoint: Checkpoint = note.text().parse()?;
        self.signed(&note, &checkpoint.origin)?;
        let cosigned = self.cosigned(&note)?;
        if cosigned.len() < self.quorum {
            let (found, needed) = (cosigned.len(), self.quorum);
            return Err(Unproved::Witnesses { found, needed });
        }
        Ok(Attested { checkpoint, note, cosigned })
    }

    /// Whether one of the pinned keys of the log `origin` signed this note, which need not be a checkpoint.
    pub(super) fn signed(&self, note: &Note, origin: &str) -> Result<(), Unproved> {
        let mut is_signed = false;
        for (key, line) in of(&self.logs, note, LogKey::is_of) {
            let name = key.name().to_string();
            if !key.verify(note.text(), line) {
                return Err(Unproved::Signature { name });
            }
            if name != origin {
                return Err(Unproved::Origin { origin: origin.to_owned(), name });
            }
            is_signed = true;
        }
        if is_signed { Ok(()) } else { Err(Unproved::Unsigned { origin: origin.to_owned() }) }
    }

    /// The pinned witnesses whose cosignatures a note carries, whoever else signed it.
    ///
    /// # Errors
    /// When a signature under a pinned witness's name and id does not verify.
    pub fn cosigned(&self, note: &Note) -> Result<Vec<Cosigned>, Unproved> {
        let mut cosigned: Vec<Cosigned> = Vec::new();
        for (key, line) in of(&self.witnesses, note, WitnessKey::is_of) {
            let at = key
                .verify(note.text(), line)
                .ok_or_else(|| Unproved::Signature { name: key.name().to_string() })?;
            // Two names over one key are one witness.
            if cosigned.iter().all(|known| known.witness.public() != key.public()) {
                cosigned.push(Cosigned { witness: key.clone(), at });
            }
        }
        Ok(cosigned)
    }
}

/// Each line of the note with the pinned key that it names.
fn of<'a, K>(
    keys: &'a [K],
    note: &'a Note,
    is_of: fn(&K, &Signature) -> bool,
) -> impl Iterator<Item = (&'a K, &'a Signature)> {
    let by = move |line| keys.iter().find(|key| is_of(key, line)).map(|key| (key, line));
    note.signatures().iter().filter_map(by)
}

impl FromStr for Checkpoint {
    type Err = FormError;
    fn from_str(text: &str) -> Result<Self, FormError> {
        let lines = text.strip_suffix('\n').map(|lines| lines.split('\n').collect::<Vec<_>>());
        let Some([origin, size, root]) = lines.as_deref() else {
            // Extension lines are not recommended, and nothing could check what they say.
            return Err(form(CHECKPOINT, "is not three lines: origin, size, root"));
        };
        if origin.is_empty() {
            return Err(form(CHECKPOINT, "has no origin"));
        }
        let head = Head { size: number("checkpoint's size", size)?, root: root.parse()? };
        if head.size == 0 && head != Head::empty() {
            return Err(form(CHECKPOINT, "is of no entries with a root of some"));
        }
        Ok(Self { origin: (*origin).to_owned(), head })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.head.size, self.head.root)
    }
}

const CHECKPOINT: &str = "checkpoint";
