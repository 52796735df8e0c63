//! What is known of an access at one moment: all that a score rests on, so that it can be reckoned again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One access, as of the moment at which it was asked for. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// When.
    pub at: u64,
    /// Who.
    pub who: Who,
    /// Where: each host with its tier, where it has one.
    pub hosts: BTreeMap<String, Option<u8>>,
    /// As whom.
    pub logins: BTreeSet<String>,
    /// Whether ports, agents or displays can be forwarded.
    pub forwarding: bool,
    /// For how long, in seconds.
    pub seconds: u64,
    /// How long the role lasts when nobody says otherwise, in seconds.
    pub role_seconds: u64,
    /// The hour of the week at which it is to begin, from 0 to 167.
    pub hour: u8,
    /// The network that it was asked from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Seconds since a second factor was shown; absent when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_age: Option<u64>,
    /// Whether the key of the login lies in a security key; absent when there is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_key: Option<bool>,
    /// Whether who asks is on call.
    #[serde(default)]
    pub on_call: bool,
    /// What was before.
    pub past: Past,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// Their name.
    pub name: String,
    /// Whether it is a program.
    #[serde(default)]
    pub program: bool,
    /// Their teams.
    #[serde(default)]
    pub teams: BTreeSet<String>,
    /// For how many seconds they have been known; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_secs: Option<u64>,
}

/// What was before, as far as a score rests on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// What they use to do.
    pub own: Habits,
    /// What others of their teams use to do.
    pub team: Habits,
    /// For how long they usually ask, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_seconds: Option<u64>,
    /// Their other requests within the hour before.
    pub requests_hour: u32,
    /// Their other requests within the day before.
    pub requests_day: u32,
    /// What they were refused within the day before.
    pub refusals: u32,
    /// The grants that they hold.
    pub concurrent: u32,
    /// What reviewers found in their sessions.
    pub outcomes: Outcomes,
    /// What reviewers found in sessions of others of their teams.
    pub team_outcomes: Outcomes,
    /// Incidents within 90 days on the host that had most; absent in a case of before they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incidents: Option<u32>,
}

/// What somebody uses to do, seen from what is asked for now. Weights are thousandths of a session of today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habits {
    /// The weight of all sessions that count.
    pub weight: u64,
    /// The hosts.
    pub host: Habit,
    /// The logins.
    pub login: Habit,
    /// The hours of the week.
    pub hour: Habit,
    /// The networks.
    pub source: Habit,
}

/// One kind of habit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habit {
    /// The weight of all of which this is known.
    pub weight: u64,
    /// The weight of what is asked for now: of the least usual, where it is several.
    pub seen: u64,
    /// How many different ones there were.
    pub kinds: u64,
    /// How surprising the most surprising of what is usual is, in thousandths of a bit.
    pub common: u64,
}

/// What reviewers found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    /// Sessions in order.
    pub ok: u64,
    /// Sessions out of scope, incidents, and those that were ended for what was done in them.
    pub bad: u64,
}

/// The hour of the week of a moment, from 0 to 167, in UTC.
#[must_use]
pub const fn hour_of_week(at: u64) -> u8 {
    // Fits: a remainder of 168 is below 168.
    ((at / 3_600) % 168).to_le_bytes()[0]
}
