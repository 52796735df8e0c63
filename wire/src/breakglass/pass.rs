//! Break-glass while the authority is up: what a certificate says that nobody approved, and what a host tells of its use.
//!
//! Shape: JSON in the extension [`EXTENSION`], in one form only: what reads back to other bytes is refused, and lets nobody in.
//! A host whose agent does not know it passes over it: such a host records and ends the session as the certificate's limits say,
//! and raises no alarm of its own.
//!
//! Who can change this: whoever has the authority's keys and its ledger. Gains: a use that is not told of on the host; the
//! authority told of it before there was a certificate.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Alarm;
use crate::identifier::{RequestId, SessionId};
use crate::limits::{Level, Limits, Need, Recording};
use crate::lock::Subject;
use crate::request::Sentence;
use crate::time::Timestamp;

/// Under which request for break-glass a certificate was issued, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The request.
    pub request: RequestId,
    /// Why, in the words of who asked.
    pub reason: Sentence,
}

/// A use of a pass as a host reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassUse {
    /// What the certificate said.
    pub pass: Pass,
    /// Who, as whom, by which certificate.
    pub subject: Subject,
    /// The client's address, as sshd gave it.
    pub remote: String,
    /// When it began, by the host's clock.
    pub at: Timestamp,
    /// Its session.
    pub session: SessionId,
    /// What became of each alarm of the host.
    pub alarms: Vec<Alarm>,
}

/// Why an extension is no pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassFlaw {
    /// Longer than any.
    #[error("it is {0} bytes long; at most {MAX_EXTENSION} are read")]
    Length(usize),
    /// Not in its one form.
    #[error("it is not in the one form in which it is written")]
    Form,
}

impl Pass {
    /// The extension's text.
    ///
    /// # Errors
    /// Never for a checked reason.
    pub fn to_extension(&self) -> Result<String, PassFlaw> {
        let text = serde_json::to_string(self).map_err(|_unwritable| PassFlaw::Form)?;
        if text.len() > MAX_EXTENSION { Err(PassFlaw::Length(text.len())) } else { Ok(text) }
    }

    /// Reads the extension's text.
    ///
    /// # Errors
    /// When it is too long, or not what [`Pass::to_extension`] writes.
    pub fn from_extension(text: &str) -> Result<Self, PassFlaw> {
        if text.len() > MAX_EXTENSION {
            return Err(PassFlaw::Length(text.len()));
        }
        let pass: Self = serde_json::from_str(text).map_err(|_unreadable| PassFlaw::Form)?;
        if pass.to_extension()? == text { Ok(pass) } else { Err(PassFlaw::Form) }
    }
}

impl fmt::Display for PassUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { identity, login, serial, .. } = &self.subject;
        let from = if self.remote.is_empty() { "the host itself" } else { &self.remote };
        let Pass { request, reason } = &self.pass;
        write!(
            f,
            "BREAK-GLASS by {identity} without approval: {login} from {from}, request {request} (serial {serial}): {reason}"
        )
    }
}

/// What holds for each session under a pass, whatever its role says: all of it is recorded, or it does not begin.
#[must_use]
pub fn limits() -> Limits {
    let recording = Recording { level: Level::Full, need: Need::Required };
    Limits { recording, ..Limits::default() }
}

/// The extension that carries a [`Pass`].
pub const EXTENSION: &str = "breakglass@curfew.internal";
/// How long ago the second factor of who asks may have been shown.
pub const FACTOR_AGE: Duration = Duration::from_secs(600);
/// How long a request can wait for its first certificate: it is for somebody who stands at the door.
pub const FIRST_USE: Duration = Duration::from_secs(900);
/// The longest reason, each byte of it escaped.
const MAX_EXTENSION: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pass() -> Pass {
        let reason = "the primary is down: \"pg\" größe".parse().unwrap();
        Pass { request: RequestId::try_new(42).unwrap(), reason }
    }

    #[test]
    fn a_pass_reads_as_it_was_written_and_in_no_other_way() {
        let text = pass().to_extension().unwrap();
        assert_eq!(Pass::from_extension(&text).unwrap(), pass());
        for wrong in [
            String::new(),
            text.replace(':', ": "),
            text.replace("42", "0"),
            text.replace('{', "{\"more\":1,"),
            text.replace("größe", "gr\\u00f6ße"),
            text.replace("the primary", "\\u202ethe"),
            format!("{text} "),
        ] {
            assert_eq!(Pass::from_extension(&wrong), Err(PassFlaw::Form), "{wrong}");
        }
        let long = "x".repeat(MAX_EXTENSION + 1);
        assert_eq!(Pass::from_extension(&long), Err(PassFlaw::Length(MAX_EXTENSION + 1)));
    }

    #[test]
    fn what_holds_under_a_pass_is_the_most_that_a_role_can_say() {
        let role = Limits { idle_secs: Some(60), ..Limits::default() };
        let both = role.meet(&limits());
        assert_eq!((both.idle_secs, both.recording), (Some(60), limits().recording));
    }
}
