//! Searching what terminals showed and what was typed into them: recordings are opened for it, one after the other, within
//! the sessions that the search names or the time that it states.
//!
//! Shape: it is part of a search, whose entry it names. Sessions are looked at from the newest back, their recordings to the end,
//! a page at a time; before a page goes out, an entry names the sessions whose recordings were opened for it. Lines were
//! written by whoever sat at the terminal: they hold letters and nothing that drives one.

use serde::{Deserialize, Serialize};

use super::Whose;
use crate::channel::ChannelId;
use crate::identifier::{HostName, SessionId};
use crate::time::Timestamp;

/// "Look at what terminals showed."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalAsk {
    /// What for, as it was typed: [`super::query::Query`].
    pub query: String,
    /// A page ends with the block of a recording in which so many lines are found, up to [`super::MAX_HITS`].
    pub limit: u64,
    /// The entry that the search is in the ledger, when it has one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// Where the page before ended; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TerminalNext>,
}

/// The session that is next, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalNext {
    /// When it began.
    pub began: Timestamp,
    /// Its name.
    pub session: SessionId,
    /// Its host.
    pub host: HostName,
    /// The recording, and the block in it; absent when the session was looked at to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
}

/// A place in a recording that was looked at in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// The recording.
    pub channel: ChannelId,
    /// The block that is next.
    pub block: u64,
    /// How many of its lines were told.
    pub told: u64,
}

/// One page of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalAnswer {
    /// The entry that the search is in the ledger.
    pub entry: u64,
    /// What was found.
    pub lines: Vec<Line>,
    /// Where to go on; absent when everything was looked at that the search reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TerminalNext>,
    /// What was looked at for this page.
    pub looked: Looked,
    /// What was not, and why.
    pub passed: Passed,
    /// Recordings that have holes.
    pub flaws: Vec<Flaw>,
}

/// A line that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where.
    pub host: HostName,
    /// In which session.
    pub session: SessionId,
    /// In which of its recordings.
    pub channel: ChannelId,
    /// How many recordings the session has.
    pub recordings: u64,
    /// Whose session.
    pub whose: Whose,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// How long after the recording's beginning, in milliseconds: where to look at it.
    pub into_millis: u64,
    /// Whether it was shown or typed.
    pub how: How,
    /// The line, or the part of it around what was found.
    pub text: String,
    /// Where in the text it was found, and how long that is; in characters.
    pub found: (u64, u64),
}

/// How a line came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The terminal showed it.
    Seen,
    /// It was typed.
    Typed,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Sessions with recordings that were opened.
    pub sessions: u64,
    /// Recordings that were looked at to the end of what the authority has.
    pub recordings: u64,
    /// Bytes of what passed.
    pub bytes: u64,
    /// For how long these terminals were open, in milliseconds.
    pub millis: u64,
}

/// What was passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Sessions that whoever asks may not watch.
    pub closed: u64,
    /// Sessions whose recordings were deleted.
    pub deleted: u64,
    /// Recordings that were left after [`MAX_LINES`] lines of them.
    pub crowded: u64,
}

/// A recording in which something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flaw {
    /// Its host.
    pub host: HostName,
    /// Its session.
    pub session: SessionId,
    /// Its channel.
    pub channel: ChannelId,
    /// What.
    pub what: String,
}

impl Looked {
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(other.sessions),
            recordings: self.recordings.saturating_add(other.recordings),
            bytes: self.bytes.saturating_add(other.bytes),
            millis: self.millis.saturating_add(other.millis),
        }
    }
}

impl Passed {
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            closed: self.closed.saturating_add(other.closed),
            deleted: self.deleted.saturating_add(other.deleted),
            crowded: self.crowded.saturating_add(other.crowded),
        }
    }
}

/// Most lines that are told of one recording, unless the search names its session: whoever wants more reads it.
pub const MAX_LINES: u64 = 20;
