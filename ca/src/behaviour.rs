//! The rules of behaviour: the text in force, read from its file.
//!
//! Who can change this: root on the authority's machine. Gains: everybody reads and signs another text before their next
//! certificate. A change is an entry in the ledger, with the text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::behaviour::MAX_TEXT;
use wire::log::Hash;

/// A text that people sign, and what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behaviour {
    text: Arc<str>,
    hash: Hash,
}

/// Why there are no rules where the settings name a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BehaviourError {
    /// The file cannot be read, or is no text.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what people can be shown.
    #[error("{path}: {why}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
}

impl Behaviour {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, BehaviourError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BehaviourError::Read { path: path.into(), source })?;
        match flaw(&text) {
            Some(why) => Err(BehaviourError::Wrong { path: path.into(), why }),
            None => Ok(Self { hash: Hash::of(text.as_bytes()), text: text.into() }),
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What names it.
    pub(crate) const fn hash(&self) -> Hash {
        self.hash
    }
}

/// It is shown on terminals: it drives none.
fn flaw(text: &str) -> Option<&'static str> {
    if text.trim().is_empty() {
        return Some("there are no rules in it; leave [behaviour] out to ask for nothing");
    }
    if text.len() > MAX_TEXT {
        return Some("it is longer than 65536 bytes, which nobody reads");
    }
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().any(is_odd).then_some("it holds a control character other than tabs and line ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_that_people_can_be_shown_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("behaviour.txt");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Behaviour::read(&path)
        };
        let good = read("Be kind.\n\tAlways.\n").unwrap();
        assert_eq!(good.hash(), Hash::of(good.text().as_bytes()));
        assert_ne!(read("Be kinder.").unwrap().hash(), good.hash());
        for bad in [" \n", "Be \u{1b}[31mred", "Be\rgone", &"x".repeat(MAX_TEXT + 1)] {
            assert!(matches!(read(bad), Err(BehaviourError::Wrong { .. })), "{bad:?}");
        }
        std::fs::write(&path, b"Be \xff").unwrap();
        assert!(matches!(Behaviour::read(&path), Err(BehaviourError::Read { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Behaviour::read(&path), Err(BehaviourError::Read { .. })));
    }
}
