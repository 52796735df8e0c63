//! Searching what hosts recorded: the language, the question and the answer.
//!
//! Shape: a question is one line of [`query::Query`]; its first answer is an entry in the ledger, and further pages name
//! that entry. Hits come in the order in which the authority got their records, the newest first. What terminals showed is
//! asked for apart: [`terminal`].

use serde::{Deserialize, Serialize};

use crate::identifier::{HostName, Identity, Login, RoleName};
use crate::record::Record;
use crate::time::Timestamp;

pub mod query;
pub mod terminal;

/// "Search the records."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchAsk {
    /// What for, as it was typed: [`query::Query`].
    pub query: String,
    /// At most so many hits, up to [`MAX_HITS`].
    pub limit: u64,
    /// Where the page before ended; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// Where a page ends, and which search it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// The entry that the search is in the ledger.
    pub entry: u64,
    /// The block of records that is next, or in which the last hit was.
    pub block: u64,
    /// The last hit in it; absent when nothing of the block was looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
}

/// A record's place within a block: by its time, and by its host where times are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// The enrolment of its host.
    pub enrolment: u64,
    /// Its number there.
    pub number: u64,
}

/// One page of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// The entry that the search is in the ledger.
    pub entry: u64,
    /// What was found.
    pub hits: Vec<Hit>,
    /// Where to go on; absent when everything was searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// How many records were read for this page; the index ruled out the others.
    pub read: u64,
    /// How many records wait for the index and were not searched.
    pub unsearched: u64,
}

/// One record that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Where.
    pub host: HostName,
    /// Whose session, as the ledger knows it; absent for what belongs to no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whose: Option<Whose>,
    /// The record.
    pub record: Record,
}

/// Whose session a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// The person.
    pub identity: Identity,
    /// As whom.
    pub login: Login,
    /// Under which role.
    pub role: RoleName,
    /// When the session began.
    pub began: Timestamp,
}

/// Most hits of one page.
pub const MAX_HITS: u64 = 500;
