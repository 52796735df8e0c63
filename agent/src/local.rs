//! Locks of this host alone: a file in `/etc/curfew/locks.d`, in force with no authority and no link. Pure.
//!
//! One file holds one lock: the name of its kind, a reason, and an end if it has one.
//! ```toml
//! identity = "ana@example.com"
//! reason = "her laptop was stolen"
//! until = 2026-05-01T08:00:00Z
//! ```
//! A file that is no lock is refused, and what was in force from it stays; a file that is removed lifts its lock.
//!
//! Who can change this: root on the host; a file or folder that others can write is refused. Gains: can shut people out of
//! this host and end their sessions, or lift such locks; cannot lift one of the authority's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use wire::identifier::Serial;
use wire::lock::{Lock, MAX_REASON, Target};
use wire::time::Timestamp;

use crate::revocation::LocalLock;

pub mod account;
pub mod arrivals;
pub mod logins;
pub mod order;
mod programs;
pub mod shelf;
pub mod watch;

/// Every local lock of a host, by what put it in force.
///
/// Who can change this: root on the host. Gains: as by the folder itself. It is kept so that a file which is broken while
/// the agent restarts lifts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locals {
    locks: BTreeMap<String, Lock>,
    /// What was refused, and why, so that it is said once.
    #[serde(skip)]
    refused: BTreeMap<String, String>,
}

/// What stands in one place now.
pub type Found = BTreeMap<String, Result<Lock, String>>;

/// What a reading changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A lock is in force that was not, or not so.
    InForce(LocalLock),
    /// A lock is no more.
    Lifted {
        /// What had put it in force.
        source: String,
        /// What it was on.
        target: Target,
    },
    /// What stands there is no lock. Nothing of it changes.
    Refused {
        /// Where.
        source: String,
        /// Why.
        reason: String,
    },
}

impl Locals {
    /// Takes what was found: what is news comes back, and is in force.
    #[must_use]
    pub fn take(&mut self, found: Found) -> Vec<Change> {
        let mut changes = Vec::new();
        self.refused.retain(|source, _| found.get(source).is_some_and(Result::is_err));
        let gone: Vec<String> =
            self.locks.keys().filter(|source| !found.contains_key(*source)).cloned().collect();
        for source in gone {
            if let Some(lock) = self.locks.remove(&source) {
                changes.push(Change::Lifted { source, target: lock.target });
            }
        }
        for (source, found) in found {
            match found {
                Ok(lock) if self.locks.get(&source) == Some(&lock) => {}
                Ok(lock) => {
                    self.locks.insert(source.clone(), lock.clone());
                    changes.push(Change::InForce(LocalLock { source, lock }));
                }
                Err(reason) if self.refused.get(&source) == Some(&reason) => {}
                Err(reason) => {
                    self.refused.insert(source.clone(), reason.clone());
                    changes.push(Change::Refused { source, reason });
                }
            }
        }
        changes
    }

    /// What is in force.
    pub fn iter(&self) -> impl Iterator<Item = LocalLock> + '_ {
        let local = |(source, lock): (&String, &Lock)| LocalLock {
            source: source.clone(),
            lock: lock.clone(),
        };
        self.locks.iter().map(local)
    }

    /// What was refused and still stands, one sentence each.
    pub fn refused(&self) -> impl Iterator<Item = String> + '_ {
        self.refused.iter().map(|(source, reason)| format!("{source}: {reason}"))
    }
}

/// Reads one file.
///
/// # Errors
/// The line and what is wrong with it.
pub fn parse(text: &str) -> Result<Lock, String> {
    let line = |offset: usize| {
        let before = text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    };
    let at = |span: std::ops::Range<usize>, problem: String| {
        format!("line {}: {problem}", line(span.start))
    };
    let table = DeTable::parse(text)
        .map(Spanned::into_inner)
        .map_err(|error| at(error.span().unwrap_or_default(), error.message().to_owned()))?;
    let (mut target, mut reason, mut until) = (None, None, None);
    for (key, value) in &table {
        let wrong = |problem: String| at(value.span(), format!("`{}` {problem}", key.get_ref()));
        match key.get_ref().as_ref() {
            "reason" => reason = Some(why(value.get_ref()).map_err(wrong)?),
            "until" => until = Some(moment(value.get_ref()).map_err(wrong)?),
            kind if KINDS.contains(&kind) && target.is_some() => {
                return Err(at(key.span(), "a file locks one thing; write another file".into()));
            }
            kind if KINDS.contains(&kind) => {
                target = Some(target_of(kind, value.get_ref()).map_err(wrong)?);
            }
            other => {
                let known = KINDS.join(", ");
                let problem =
                    format!("there is no `{other}`; there are reason, until, and one of {known}");
                return Err(at(key.span(), problem));
            }
        }
    }
    let target =
        target.ok_or_else(|| format!("it names nothing to lock: one of {}", KINDS.join(", ")))?;
    let reason = reason.ok_or("it gives no `reason`, which is shown to whoever is ended")?;
    Ok(Lock { target, reason, until })
}

fn target_of(kind: &str, value: &DeValue<'_>) -> Result<Target, String> {
    let text = match (kind, value) {
        (_, DeValue::String(text)) => text.to_string(),
        ("serial", DeValue::Integer(number)) => number.as_str().to_owned(),
        _ => return Err("is a text, in quotation marks".into()),
    };
    let said = |error: &dyn std::fmt::Display| format!("cannot be {text:?}: {error}");
    match kind {
        "identity" => text.parse().map(Target::Identity).map_err(|error| said(&error)),
        "grant" => text.parse().map(Target::Grant).map_err(|error| said(&error)),
        "serial" => text.parse::<Serial>().map(Target::Serial).map_err(|error| said(&error)),
        "key" => text.parse().map(Target::Key).map_err(|error| said(&error)),
        "session" => text.parse().map(Target::Session).map_err(|error| said(&error)),
        "host" => text.parse().map(Target::Host).map_err(|error| said(&error)),
        "role" => text.parse().map(Target::Role).map_err(|error| said(&error)),
        "login" => text.parse().map(Target::Login).map_err(|error| said(&error)),
        "network" => text.parse().map(Target::Network).map_err(|error| said(&error)),
        _ => text.parse().map(Target::Authority).map_err(|error| said(&error)),
    }
}

fn why(value: &DeValue<'_>) -> Result<String, String> {
    let DeValue::String(text) = value else {
        return Err("is a text, in quotation marks".into());
    };
    match text.as_ref() {
        empty if empty.trim().is_empty() => Err("is empty; say why".into()),
        long if long.len() > MAX_REASON => Err(format!("is longer than {MAX_REASON} bytes")),
        odd if odd.chars().any(char::is_control) => Err("holds a control character".into()),
        text => Ok(text.to_owned()),
    }
}

/// A moment with its offset from UTC: without, nobody could know which moment is meant.
fn moment(value: &DeValue<'_>) -> Result<Timestamp, String> {
    const SHAPE: &str = "is a moment with its offset, such as 2026-05-01T08:00:00Z";
    let DeValue::Datetime(moment) = value else { return Err(SHAPE.into()) };
    let (Some(date), Some(time), Some(offset)) = (moment.date, moment.time, moment.offset) else {
        return Err(SHAPE.into());
    };
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let hours = i64::from(time.hour).saturating_add(days.saturating_mul(24));
    let minutes =
        hours.saturating_mul(60).saturating_add(i64::from(time.minute)).saturating_sub(minutes);
    let second = i64::from(time.second);
    let secs = minutes.saturating_mul(60).saturating_add(second);
    let secs = u64::try_from(secs).map_err(|_before| "lies before 1970".to_owned())?;
    Ok(Timestamp::from_secs(secs))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted by years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year.saturating_sub(1) };
    let month = month.saturating_add(9).rem_euclid(12);
    let leaps = year
        .div_euclid(4)
        .saturating_sub(year.div_euclid(100))
        .saturating_add(year.div_euclid(400));
    let in_year = month.saturating_mul(153).saturating_add(2).div_euclid(5).saturating_add(day);
    year.saturating_mul(365).saturating_add(leaps).saturating_add(in_year).saturating_sub(719_469)
}

/// What can be locked, as its key in the file.
pub const KINDS: [&str; 10] = [
    "identity",
    "grant",
    "serial",
    "key",
    "session",
    "host",
    "role",
    "login",
    "network",
    "authority",
];

/// The file, in the agent's own folder, in which it is kept what our programs were like.
pub const PROGRAMS: &str = "programs.json";

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "identity = \"ana@example.com\"\nreason = \"left\"\n";

    #[test]
    fn a_file_locks_one_thing_with_a_reason_and_perhaps_an_end() {
        let lock = parse(ANA).unwrap();
        assert_eq!(
            (lock.target.to_string().as_str(), lock.reason.as_str()),
            ("identity ana@example.com", "left")
        );
        assert_eq!(lock.until, None);
        let ends = [
            ("2026-05-01T08:00:00Z", 1_777_622_400),
            ("2026-05-01T10:00:00+02:00", 1_777_622_400),
            ("2024-02-29T00:00:00Z", 1_709_164_800),
            ("1970-01-01T00:00:01Z", 1),
        ];
        for (text, secs) in ends {
            let lock = parse(&format!("{ANA}until = {text}\n")).unwrap();
            assert_eq!(lock.until, Some(Timestamp::from_secs(secs)), "{text}");
        }
    }

    #[test]
    fn every_kind_is_read() {
        let values = [
            "\"ana\"",
            "\"g4\"",
            "7",
            "\"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"",
            "\"000000000000002a\"",
            "\"db1\"",
            "\"deploy\"",
            "\"app\"",
            "\"192.0.2.0/24\"",
            "\"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"",
        ];
        for (kind, value) in KINDS.iter().zip(values) {
            let lock = parse(&format!("{kind} = {value}\nreason = \"r\"\n"));
            assert!(lock.is_ok(), "{kind}: {lock:?}");
        }
    }

    #[test]
    fn what_is_no_lock_is_refused_by_line() {
        let table = [
            ("", "it names nothing to lock"),
            ("identity = \"ana\"\n", "it gives no `reason`"),
            (
                "reason = \"r\"\nidentity = \"ana\"\nrole = \"x\"\n",
                "line 3: a file locks one thing",
            ),
            ("reason = \"r\"\nlogin = 3\n", "line 2: `login` is a text"),
            ("reason = \"r\"\nnetwork = \"10.0.0.1/8\"\n", "did you mean 10.0.0.0/8?"),
            ("reason = \" \"\nidentity = \"ana\"\n", "line 1: `reason` is empty"),
            ("reason = \"a\\u001b\"\nidentity = \"ana\"\n", "control character"),
            (
                "identity = \"ana\"\nreason = \"r\"\nuntil = 2026-05-01\n",
                "line 3: `until` is a moment",
            ),
            ("identity = \"ana\"\nreason = \"r\"\nuntil = 2026-05-01T08:00:00\n", "is a moment"),
            ("identity = \"ana\"\nidentity = \"bob\"\nreason = \"r\"", "line 2: "),
            ("user = \"ana\"\nreason = \"r\"", "line 1: there is no `user`; there are reason"),
            ("identity = \"a b\"\nreason = \"r\"", "line 1: `identity` cannot be"),
            ("identity", "line 1: "),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_broken_file_changes_nothing_and_is_said_once() {
        let mut locals = Locals::default();
        let good = || Found::from([("a.toml".to_owned(), parse(ANA))]);
        let bad = || Found::from([("a.toml".to_owned(), parse("identity"))]);
        assert!(matches!(locals.take(good())[..], [Change::InForce(_)]));
        assert_eq!(locals.take(good()), []);
        assert!(matches!(locals.take(bad())[..], [Change::Refused { .. }]));
        assert_eq!(locals.take(bad()), []);
        assert_eq!((locals.iter().count(), locals.refused().count()), (1, 1));
        // Kept over a restart; and what is still broken then is said again.
        let kept = serde_json::to_string(&locals).unwrap();
        let mut locals: Locals = serde_json::from_str(&kept).unwrap();
        assert!(matches!(locals.take(bad())[..], [Change::Refused { .. }]));
        assert_eq!(locals.iter().count(), 1);
        assert!(matches!(locals.take(Found::new())[..], [Change::Lifted { .. }]));
        assert_eq!((locals.iter().count(), locals.refused().count()), (0, 0));
    }

    #[test]
    fn a_changed_file_is_in_force_as_it_is_now() {
        let mut locals = Locals::default();
        let found = |text: &str| Found::from([("a.toml".to_owned(), parse(text))]);
        assert_eq!(locals.take(found(ANA)).len(), 1);
        let changes = locals.take(found(&ANA.replace("ana@", "bob@")));
        assert!(
            matches!(&changes[..], [Change::InForce(local)] if local.lock.target.to_string().contains("bob"))
        );
        assert_eq!(locals.iter().count(), 1);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for ((year, month, day), days) in [
            ((1970, 1, 1), 0),
            ((1999, 12, 31), 10_956),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2024, 12, 31), 20_088),
            ((2100, 2, 28), 47_540),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}") {
            drop(parse(&text));
        }
    }
}
