//! Taking records elsewhere: all of them, or those of a time, host by host and each host's in its own order.
//!
//! Shape: pages; the first is an entry in the ledger, and further ones name it. The same records come out in the same order
//! whenever they are asked for.

use serde::{Deserialize, Serialize};

use crate::search::Hit;
use crate::time::Timestamp;

/// "Give me records."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportAsk {
    /// Only those from this moment on, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// Where the page before ended; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// Where a page ended, and which export it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// The entry that the export is in the ledger.
    pub entry: u64,
    /// The enrolment of the host whose records are next.
    pub enrolment: u64,
    /// The last of its records that was looked at.
    pub number: u64,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportAnswer {
    /// The records, each with its host and whose it is.
    pub records: Vec<Hit>,
    /// Where to go on; absent when that was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}
