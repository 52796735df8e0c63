//! The README as a reader follows it: its own blocks of commands.

use std::{fs, io, path::Path};

use crate::FleetError;

/// The README, with what a reader puts in place of its examples.
#[derive(Debug)]
pub struct Readme(String);

impl Readme {
    /// Reads the one of this tree.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open() -> Result<Self, FleetError> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
        let text = fs::read_to_string(tree.join("README.md"));
        text.map(Self).map_err(FleetError::io("read README.md"))
    }

    /// The same with what is real in place of an example.
    ///
    /// # Panics
    /// When it has no such example.
    #[must_use]
    pub fn with(&self, example: &str, real: &str) -> Self {
        assert!(self.0.contains(example), "the README says {example}");
        Self(self.0.replace(example, real))
    }

    /// The first block of commands after `mark`.
    ///
    /// # Errors
    /// When there is none.
    pub fn block(&self, mark: &str) -> Result<String, FleetError> {
        let after = self.0.split_once(mark).and_then(|(_, after)| after.split_once("```sh\n"));
        let block = after.and_then(|(_, block)| block.split_once("```"));
        let missing = || FleetError::Io {
            doing: format!("find the block after {mark} in README.md"),
            source: io::ErrorKind::NotFound.into(),
        };
        block.map(|(block, _)| block.to_owned()).ok_or_else(missing)
    }
}
