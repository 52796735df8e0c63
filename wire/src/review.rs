//! The verdict on a session after it ended: whether what was done fits what was granted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identifier::SessionId;
use crate::request::Sentence;
use crate::time::Timestamp;

/// What a reviewer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was done fits what was granted.
    Ok,
    /// More was done, or something else.
    OutOfScope,
    /// It must be looked into: an incident is opened.
    Incident,
}

/// No such verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no verdict; there are ok, out-of-scope and incident")]
pub struct NoVerdict;

/// "This is my verdict on that session."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewAsk {
    /// The session, which has ended.
    pub session: SessionId,
    /// The verdict.
    pub verdict: Verdict,
    /// Why; may be empty where everything is in order.
    #[serde(default)]
    pub note: String,
    /// What roles or policy let through and should not have; for whoever writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Sentence>,
}

/// A verdict as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The verdict.
    pub verdict: Verdict,
    /// Whose.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub note: String,
    /// What roles or policy let through and should not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Sentence>,
}

impl Verdict {
    /// The names, as JSON and people have them.
    pub const NAMES: [&str; 3] = ["ok", "out-of-scope", "incident"];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OutOfScope => "out-of-scope",
            Self::Incident => "incident",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = NoVerdict;

    fn from_str(text: &str) -> Result<Self, NoVerdict> {
        let all = [Self::Ok, Self::OutOfScope, Self::Incident];
        all.into_iter().find(|verdict| verdict.as_str() == text).ok_or(NoVerdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_have_one_name_everywhere() {
        for name in Verdict::NAMES {
            let verdict: Verdict = name.parse().unwrap();
            assert_eq!(serde_json::to_string(&verdict).unwrap(), format!("\"{name}\""));
        }
        assert!("fine".parse::<Verdict>().is_err());
    }
}
