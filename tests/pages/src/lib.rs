//! What the pages of this tree show, for tests: commands and links, to be held against what there is.
//!
//! A page is read as a reader reads it. A block of commands is meant to be typed as it stands, so that a whole command must
//! be understood; a command within a sentence can be a part of one. Programs hold the pages against their own command line
//! ([`held`]) and their tables of settings against their own ([`unlike`]); their links are held against the tree here.

#[cfg(test)]
mod link;
mod page;
mod program;
mod settings;
mod shell;
mod shown;

pub use page::{Page, all};
pub use program::{Held, held};
pub use settings::{Setting, unlike};
pub use shown::{Form, Shown};
