//! The README and the pages beside it as a reader follows them: their own blocks of commands.

use std::{fs, io, path::Path};

use crate::FleetError;

/// The README or a page of `docs/`, with what a reader puts in place of its examples.
#[derive(Debug)]
pub struct Readme {
    name: String,
    text: String,
}

impl Readme {
    /// Reads the one of this tree.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open() -> Result<Self, FleetError> {
        Self::page("README.md")
    }

    /// Reads another page of this tree.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn page(name: &str) -> Result<Self, FleetError> {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
        let text = fs::read_to_string(tree.join(name));
        let text = text.map_err(FleetError::io("read a page of the tree"))?;
        Ok(Self { name: name.to_owned(), text })
    }

    /// The same with what is real in place of an example.
    ///
    /// # Panics
    /// When it has no such example.
    #[must_use]
    pub fn with(&self, example: &str, real: &str) -> Self {
        assert!(self.text.contains(example), "{} says {example}", self.name);
        Self { name: self.name.clone(), text: self.text.replace(example, real) }
    }

    /// The first block of commands after `mark`.
    ///
    /// # Errors
    /// When there is none.
    pub fn block(&self, mark: &str) -> Result<String, FleetError> {
        let after = self.text.split_once(mark).and_then(|(_, after)| after.split_once("```sh\n"));
        let block = after.and_then(|(_, block)| block.split_once("```"));
        let missing = || FleetError::Io {
            doing: format!("find the block after {mark} in {}", self.name),
            source: io::ErrorKind::NotFound.into(),
        };
        block.map(|(block, _)| block.to_owned()).ok_or_else(missing)
    }
}
