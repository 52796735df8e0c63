//! What a refused or failed call says to its caller: a stable code and a sentence.

use serde::{Deserialize, Serialize};

/// The one error body of the HTTP interface and of the host connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Stable, for programs.
    pub code: Code,
    /// What failed, why, and what to do; for people.
    pub message: String,
}

impl Problem {
    /// A problem with this code and sentence.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The kinds of problem. New kinds may come; a reader treats one it does not know as [`Code::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be read or breaks a limit.
    Malformed,
    /// Nobody is logged in, or the login has ended.
    Unauthenticated,
    /// Policy says no.
    Denied,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or was used already.
    Conflict,
    /// A token's time is over.
    Expired,
    /// The peer speaks another version.
    Version,
    /// Too many calls, or too much at once.
    Busy,
    /// The authority could not do its work; its log says why.
    Internal,
    /// A code this program does not know.
    #[serde(other)]
    Other,
}
