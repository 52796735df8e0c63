//! What a log and a witness say to one another (c2sp.org/tlog-witness): "cosign this", and the answer.

use std::fmt;
use std::str::FromStr;

use super::{
    FormError, Hash, MAX_NOTE, MAX_PATH, MAX_SIGNATURES, Note, Signature, bounded, form, number,
};

/// "Cosign this checkpoint, which continues the tree of `old` entries": the body of `POST /add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The size of the newest tree that the witness has, as the log believes; 0 for none.
    pub old: u64,
    /// That the new tree continues it.
    pub path: Vec<Hash>,
    /// The checkpoint.
    pub note: Note,
}

impl FromStr for Submission {
    type Err = FormError;
    fn from_str(body: &str) -> Result<Self, FormError> {
        bounded(SUBMISSION, body.len(), MAX_SUBMISSION)?;
        let (head, note) = body
            .split_once("\n\n")
            .ok_or(form(SUBMISSION, "has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .filter(|digits| !digits.is_empty())
            .ok_or(form(SUBMISSION, "does not begin with `old` and a size"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() >= MAX_PATH {
                return Err(form(SUBMISSION, "has more than 63 proof lines"));
            }
            path.push(line.parse()?);
        }
        Ok(Self { old: number("submission's old size", old)?, path, note: note.parse()? })
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

/// Reads the signature lines of a witness that cosigned.
///
/// # Errors
/// When there are none, too many, or one is none.
pub fn cosignatures(body: &str) -> Result<Vec<Signature>, FormError> {
    bounded(ANSWER, body.len(), MAX_NOTE)?;
    let lines = body.strip_suffix('\n').ok_or(form(ANSWER, "does not end in a newline"))?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(form(ANSWER, "has too many signatures"));
    }
    lines.split('\n').map(str::parse).collect()
}

/// Reads the size of the tree that a witness has when it is not the one that the log believed (409).
///
/// # Errors
/// When it is no number on one line.
pub fn conflict(body: &str) -> Result<u64, FormError> {
    let digits = body.strip_suffix('\n').unwrap_or(body);
    if digits.is_empty() {
        return Err(form(ANSWER, "names no size"));
    }
    number("size of the witness's tree", digits)
}

const SUBMISSION: &str = "submission";
const ANSWER: &str = "witness's answer";
/// Largest submission: the longest note and 63 hashes.
pub const MAX_SUBMISSION: usize = MAX_NOTE + 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_witnesses_are_read_strictly() {
        assert_eq!(conflict("20852163\n"), Ok(20_852_163));
        assert_eq!(conflict("0"), Ok(0));
        for odd in ["", "\n", "01\n", "1\n\n", "-1\n", "1 \n", "9999999999999999999\n"] {
            assert!(conflict(odd).is_err(), "{odd:?}");
        }
        let line = "— w.example.com AAAAAQ==\n";
        assert!(cosignatures(line).is_err(), "no signature after the id");
        let line = "— w.example.com AAAAAQI=\n";
        assert_eq!(cosignatures(line).unwrap().len(), 1);
        assert_eq!(cosignatures(&line.repeat(2)).unwrap().len(), 2);
        for odd in [String::new(), "\n".into(), format!("{line}\n"), line.repeat(33)] {
            assert!(cosignatures(&odd).is_err(), "{odd:?}");
        }
    }
}
