//! What a role says about the session itself, and what therefore travels in the certificate: how long it may be idle, how
//! long it may last, how many there may be, what is recorded, and what it must not do.
//!
//! Shape: JSON in the extension [`EXTENSION`], at most [`MAX_EXTENSION`] bytes, in one form only: what reads back to other
//! bytes is refused. A host that cannot read it lets nobody in with it: an older agent must not pass over a limit that it
//! does not know. A certificate without the extension has no limits but the grant's end.
//!
//! Like [`crate::options::Bounds`], limits are ordered by width and only ever meet to less: absent is *no limit*, of two
//! limits the tighter one holds, of two answers to the same deed the harder one.
//!
//! Who can change this: root on the authority's machine, by `roles.toml`; whoever asks can only narrow it. Gains: a
//! session that stays open, or does more before somebody notices.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod rule;

pub use rule::{Rule, RuleFlaw};

/// What holds for a session besides its grant's end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest time without anything from the client on a terminal, in seconds; any, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_secs: Option<u64>,
    /// The same while something runs without a terminal: commands, copies; in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_idle_secs: Option<u64>,
    /// The longest session, whatever the grant's end, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_secs: Option<u64>,
    /// Sessions of one identity under one role at the same time on one host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// What is recorded, and what happens when it cannot be.
    #[serde(skip_serializing_if = "Recording::is_least")]
    pub recording: Recording,
    /// What it may do, and what happens beyond.
    #[serde(skip_serializing_if = "Thresholds::is_empty")]
    pub thresholds: Thresholds,
}

/// What is recorded of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// How much.
    pub level: Level,
    /// What happens when it cannot be recorded.
    pub need: Need,
}

/// How much is recorded, less first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every program that is started, with its arguments.
    #[default]
    Commands,
    /// Terminals too.
    Full,
}

/// What happens when a session cannot be recorded, milder first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// It goes on, and the loss is a record.
    #[default]
    BestEffort,
    /// It does not begin, or ends.
    Required,
}

/// What a session may do, and what happens beyond.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Programs started within a minute.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub execs_per_minute: Steps,
    /// Different programs started, by path.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub distinct_paths: Steps,
    /// Programs started whose set-user-id bit or file capabilities took effect.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub privilege_changes: Steps,
    /// Bytes sent to the client.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub bytes_out: Steps,
    /// Different files written.
    #[serde(skip_serializing_if = "Steps::is_empty")]
    pub files_written: Steps,
    /// What must not be run, named or written, and what happens when it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub forbidden: BTreeMap<Rule, Response>,
}

/// From how many on something happens: an answer has at most one number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Steps(pub BTreeMap<Response, u64>);

/// What happens beyond a threshold, milder first. Each is a record, and an alert at the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The authority is told.
    Alert,
    /// The person is told as well.
    Warn,
    /// The session ends.
    Kill,
}

/// What thresholds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Programs started within a minute.
    ExecsPerMinute,
    /// Different programs started.
    DistinctPaths,
    /// Programs started with other rights.
    PrivilegeChanges,
    /// Bytes sent to the client.
    BytesOut,
    /// Different files written.
    FilesWritten,
    /// Something forbidden was run, named or written.
    Forbidden,
}

/// Why limits are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsFlaw {
    /// Longer than anything we write.
    #[error("they are {0} bytes long; at most {MAX_EXTENSION} are allowed")]
    Length(usize),
    /// Not the JSON of this version.
    #[error("they cannot be read: {0}")]
    Form(String),
    /// The same in other bytes.
    #[error("they are not in the one form in which they are written")]
    Uncanonical,
    /// A number outside its range.
    #[error("{what} is {given}; it can be {} to {}", .range.start(), .range.end())]
    Range {
        /// Which.
        what: &'static str,
        /// What stands there.
        given: u64,
        /// What can stand there.
        range: RangeInclusive<u64>,
    },
    /// A milder answer comes after a harder one.
    #[error("{what}: \"{milder}\" at {at} never comes, because \"{harder}\" comes first")]
    Order {
        /// Which.
        what: &'static str,
        /// The answer that would come too late.
        milder: Response,
        /// Where.
        at: u64,
        /// The one before it.
        harder: Response,
    },
    /// Too many rules.
    #[error("{0} things are forbidden; at most {MAX_RULES} can be")]
    Rules(usize),
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The widest that is within both.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        Self {
            idle_secs: least(self.idle_secs, other.idle_secs),
            transfer_idle_secs: least(self.transfer_idle_secs, other.transfer_idle_secs),
            longest_secs: least(self.longest_secs, other.longest_secs),
            concurrency: least(self.concurrency, other.concurrency),
            recording: self.recording.meet(other.recording),
            thresholds: self.thresholds.meet(&other.thresholds),
        }
    }

    /// Whether nothing in them goes beyond `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.meet(other) == *self
    }

    /// Checks every number, and that no answer hides another.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), LimitsFlaw> {
        in_range("idle_secs", self.idle_secs, &IDLE_SECS)?;
        in_range("transfer_idle_secs", self.transfer_idle_secs, &IDLE_SECS)?;
        in_range("longest_secs", self.longest_secs, &LONGEST_SECS)?;
        in_range("concurrency", self.concurrency.map(u64::from), &CONCURRENCY)?;
        for (measure, steps) in self.thresholds.counted() {
            steps.check(measure)?;
        }
        let rules = self.thresholds.forbidden.len();
        if rules > MAX_RULES { Err(LimitsFlaw::Rules(rules)) } else { Ok(()) }
    }

    /// The extension's text; empty limits have none.
    ///
    /// # Errors
    /// When a number is out of range, or they are too long.
    pub fn to_extension(&self) -> Result<Option<String>, LimitsFlaw> {
        if self.is_empty() {
            return Ok(None);
        }
        self.check()?;
        let text = self.text()?;
        if text.len() > MAX_EXTENSION {
            Err(LimitsFlaw::Length(text.len()))
        } else {
            Ok(Some(text))
        }
    }

    /// Reads the extension's text.
    ///
    /// # Errors
    /// When it is too long, cannot be read, is out of range, or is written in another way than we write it.
    pub fn from_extension(text: &str) -> Result<Self, LimitsFlaw> {
        if text.len() > MAX_EXTENSION {
            return Err(LimitsFlaw::Length(text.len()));
        }
        let limits: Self =
            serde_json::from_str(text).map_err(|error| LimitsFlaw::Form(error.to_string()))?;
        limits.check()?;
        if limits.is_empty() || limits.text()? != text {
            Err(LimitsFlaw::Uncanonical)
        } else {
            Ok(limits)
        }
    }

    fn text(&self) -> Result<String, LimitsFlaw> {
        serde_json::to_string(self).map_err(|error| LimitsFlaw::Form(error.to_string()))
    }
}

impl Recording {
    /// Whether it is what is recorded anyway.
    #[must_use]
    pub fn is_least(&self) -> bool {
        *self == Self::default()
    }

    fn meet(self, other: Self) -> Self {
        Self { level: self.level.max(other.level), need: self.need.max(other.need) }
    }
}

impl Thresholds {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each measure that is a count, with its steps.
    #[must_use]
    pub const fn counted(&self) -> [(Measure, &Steps); 5] {
        [
            (Measure::ExecsPerMinute, &self.execs_per_minute),
            (Measure::DistinctPaths, &self.distinct_paths),
            (Measure::PrivilegeChanges, &self.privilege_changes),
            (Measure::BytesOut, &self.bytes_out),
            (Measure::FilesWritten, &self.files_written),
        ]
    }

    /// The steps of a measure; none for what is not a count.
    #[must_use]
    pub const fn steps(&self, measure: Measure) -> Option<&Steps> {
        match measure {
            Measure::ExecsPerMinute => Some(&self.execs_per_minute),
            Measure::DistinctPaths => Some(&self.distinct_paths),
            Measure::PrivilegeChanges => Some(&self.privilege_changes),
            Measure::BytesOut => Some(&self.bytes_out),
            Measure::FilesWritten => Some(&self.files_written),
            Measure::Forbidden => None,
        }
    }

    fn meet(&self, other: &Self) -> Self {
        let mut forbidden = self.forbidden.clone();
        for (rule, response) in &other.forbidden {
            let held = forbidden.entry(rule.clone()).or_insert(*response);
            *held = (*held).max(*response);
        }
        Self {
            execs_per_minute: self.execs_per_minute.meet(&other.execs_per_minute),
            distinct_paths: self.distinct_paths.meet(&other.distinct_paths),
            privilege_changes: self.privilege_changes.meet(&other.privilege_changes),
            bytes_out: self.bytes_out.meet(&other.bytes_out),
            files_written: self.files_written.meet(&other.files_written),
            forbidden,
        }
    }
}

impl Steps {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hardest answer whose number has been reached.
    #[must_use]
    pub fn reached(&self, count: u64) -> Option<(Response, u64)> {
        let mut reached = self.0.iter().rev().filter(|(_, limit)| **limit <= count);
        reached.next().map(|(response, limit)| (*response, *limit))
    }

    /// The largest number that matters; nothing needs to be counted beyond it.
    #[must_use]
    pub fn largest(&self) -> Option<u64> {
        self.0.values().max().copied()
    }

    /// Of each answer the smaller number. A milder one that would come after a harder one stays out.
    fn meet(&self, other: &Self) -> Self {
        let mut steps = self.0.clone();
        for (response, limit) in &other.0 {
            let held = steps.entry(*response).or_insert(*limit);
            *held = (*held).min(*limit);
        }
        let mut kept = BTreeMap::new();
        let mut hardest = u64::MAX;
        for (response, limit) in steps.into_iter().rev() {
            if limit < hardest {
                kept.insert(response, limit);
                hardest = limit;
            }
        }
        Self(kept)
    }

    /// Checks every number, and that no answer hides another.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self, measure: Measure) -> Result<(), LimitsFlaw> {
        let mut after: Option<(Response, u64)> = None;
        for (response, limit) in self.0.iter().rev() {
            in_range(measure.name(), Some(*limit), measure.range())?;
            if let Some((harder, _)) = after.filter(|(_, at)| at <= limit) {
                let (what, milder, at) = (measure.name(), *response, *limit);
                return Err(LimitsFlaw::Order { what, milder, at, harder });
            }
            after = Some((*response, *limit));
        }
        Ok(())
    }
}

impl Measure {
    /// Its name in `roles.toml` and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExecsPerMinute => "execs_per_minute",
            Self::DistinctPaths => "distinct_paths",
            Self::PrivilegeChanges => "privilege_changes",
            Self::BytesOut => "bytes_out",
            Self::FilesWritten => "files_written",
            Self::Forbidden => "forbidden",
        }
    }

    /// What a person reads of so many.
    #[must_use]
    pub fn described(self, count: u64) -> String {
        match self {
            Self::ExecsPerMinute => format!("{count} programs started within a minute"),
            Self::DistinctPaths => format!("{count} different programs started"),
            Self::PrivilegeChanges => format!("{count} programs started with other rights"),
            Self::BytesOut => format!("{count} bytes sent to the client"),
            Self::FilesWritten => format!("{count} different files written"),
            Self::Forbidden => "something forbidden was started or touched".into(),
        }
    }

    /// What its steps can be.
    #[must_use]
    pub const fn range(self) -> &'static RangeInclusive<u64> {
        match self {
            Self::ExecsPerMinute | Self::PrivilegeChanges | Self::Forbidden => &COUNTS,
            Self::DistinctPaths | Self::FilesWritten => &PATHS,
            Self::BytesOut => &BYTES,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Response {
    /// Every answer, milder first.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Warn, Self::Kill];

    /// Its name in `roles.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Warn => "warn",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Response {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|response| response.name() == text);
        found.ok_or_else(|| format!("there is no answer {text:?}; there are alert, warn, kill"))
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn in_range(
    what: &'static str,
    given: Option<u64>,
    range: &RangeInclusive<u64>,
) -> Result<(), LimitsFlaw> {
    match given {
        Some(given) if !range.contains(&given) => {
            Err(LimitsFlaw::Range { what, given, range: range.clone() })
        }
        _ => Ok(()),
    }
}

/// The extension that carries the limits.
pub const EXTENSION: &str = "limits@curfew.internal";
/// Longest text of them: sshd hands the certificate on as one argument, and the proof needs room too.
pub const MAX_EXTENSION: usize = 8 * 1024;
/// Most things that can be forbidden: each is held against each program that is started.
pub const MAX_RULES: usize = 64;
/// Idle limits: 5 seconds, below which nobody could read the warning, to a week.
pub const IDLE_SECS: RangeInclusive<u64> = 5..=7 * 86_400;
/// Session lengths: 5 seconds to two weeks, as the longest grant.
pub const LONGEST_SECS: RangeInclusive<u64> = 5..=14 * 86_400;
/// Sessions at a time.
pub const CONCURRENCY: RangeInclusive<u64> = 1..=1_000;
const COUNTS: RangeInclusive<u64> = 1..=1_000_000;
/// Paths are remembered one by one, 8 bytes each.
const PATHS: RangeInclusive<u64> = 1..=10_000;
/// Bytes: from 64 KiB, since sshd's own frames are among what is counted, to 1 PiB.
const BYTES: RangeInclusive<u64> = 65_536..=1 << 50;

#[cfg(test)]
pub(crate) mod tests;
