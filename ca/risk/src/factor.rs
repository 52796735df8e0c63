//! What a score is made of.

use serde::{Deserialize, Serialize};

/// One thing that makes an access more of a risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// How strictly the strictest of the hosts is guarded.
    Tier,
    /// How many hosts at once.
    Hosts,
    /// Whether it opens root.
    Root,
    /// Whether ports, agents or displays can be forwarded.
    Forwarding,
    /// How much longer than usual.
    Duration,
    /// A host that is not usual for them.
    NewHost,
    /// A login that is not usual for them.
    NewLogin,
    /// An hour of the week that is not usual for them.
    NewHour,
    /// A network that is not usual for them.
    NewSource,
    /// Requests within an hour.
    Pace,
    /// Requests within a day.
    Requests,
    /// What they were refused within a day.
    Refusals,
    /// What they hold already.
    Concurrent,
    /// How long ago a second factor was shown.
    SecondFactor,
    /// Whether the key can be copied.
    PlainKey,
    /// How lately they came.
    Newcomer,
    /// Whether they are of a team of outsiders.
    Outsider,
    /// Whether it is a program.
    Program,
    /// What reviewers found in their sessions.
    Outcomes,
    /// What reviewers found in sessions of their teams.
    TeamOutcomes,
    /// Incidents of late on the host that had most.
    Incidents,
}

impl Factor {
    /// Every one there is.
    pub const ALL: [Self; 21] = [
        Self::Tier,
        Self::Hosts,
        Self::Root,
        Self::Forwarding,
        Self::Duration,
        Self::NewHost,
        Self::NewLogin,
        Self::NewHour,
        Self::NewSource,
        Self::Pace,
        Self::Requests,
        Self::Refusals,
        Self::Concurrent,
        Self::SecondFactor,
        Self::PlainKey,
        Self::Newcomer,
        Self::Outsider,
        Self::Program,
        Self::Outcomes,
        Self::TeamOutcomes,
        Self::Incidents,
    ];

    /// As files of weights name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Hosts => "hosts",
            Self::Root => "root",
            Self::Forwarding => "forwarding",
            Self::Duration => "duration",
            Self::NewHost => "new-host",
            Self::NewLogin => "new-login",
            Self::NewHour => "new-hour",
            Self::NewSource => "new-source",
            Self::Pace => "pace",
            Self::Requests => "requests",
            Self::Refusals => "refusals",
            Self::Concurrent => "concurrent",
            Self::SecondFactor => "second-factor",
            Self::PlainKey => "plain-key",
            Self::Newcomer => "newcomer",
            Self::Outsider => "outsider",
            Self::Program => "program",
            Self::Outcomes => "outcomes",
            Self::TeamOutcomes => "team-outcomes",
            Self::Incidents => "incidents",
        }
    }

    /// What counts in full, where that is a number that a file of weights can set, and what the number is of.
    #[must_use]
    pub const fn full(self) -> Option<(u64, &'static str)> {
        match self {
            Self::Hosts => Some((10, "hosts")),
            Self::Duration => Some((4, "times as long as usual")),
            Self::Pace => Some((5, "requests within an hour")),
            Self::Requests => Some((20, "requests within a day")),
            Self::Refusals => Some((5, "refusals within a day")),
            Self::Concurrent => Some((5, "grants at once")),
            Self::SecondFactor => Some((28_800, "seconds since it was shown")),
            Self::Incidents => Some((3, "incidents within 90 days")),
            Self::Newcomer => Some((2_592_000, "seconds since they were added")),
            _ => None,
        }
    }

    /// What would be otherwise if it counted for nothing.
    #[must_use]
    pub const fn without(self) -> &'static str {
        match self {
            Self::Tier => "on hosts of tier 3 or above",
            Self::Hosts => "for one host alone",
            Self::Root => "with a login other than root",
            Self::Forwarding => "under a role that forwards nothing",
            Self::Duration => "for as long as usual",
            Self::NewHost => "on a host that they use",
            Self::NewLogin => "as a login that they use",
            Self::NewHour => "at an hour that is usual for them",
            Self::NewSource => "from a network that they use",
            Self::Pace => "after an hour without another request",
            Self::Requests => "after a day without another request",
            Self::Refusals => "after a day without a refusal",
            Self::Concurrent => "once what they hold is given back",
            Self::SecondFactor => "with a second factor shown just now",
            Self::PlainKey => "logged in with a security key",
            Self::Newcomer => "once they have been here for longer",
            Self::Outsider => "by somebody of no team of outsiders",
            Self::Program => "by a person",
            Self::Outcomes => "with sessions that reviewers found in order",
            Self::TeamOutcomes => "with sessions of the team that reviewers found in order",
            Self::Incidents => "on hosts without an incident within 90 days",
        }
    }
}
