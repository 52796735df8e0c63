//! The file of weights: what each factor counts, read strictly.
//!
//! Who can change this: root on the authority's machine. Gains: whatever policy grants to a low risk. A change is an entry in the
//! ledger, with the whole text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::Spanned;

use crate::factor::Factor;

/// Weights, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    name: String,
    hash: String,
    text: String,
    points: BTreeMap<Factor, Weight>,
    on_call: u32,
    floor: u32,
    outsiders: BTreeSet<String>,
    pilot: BTreeSet<String>,
    learn_until: Option<u64>,
    review_by: Option<u64>,
}

/// What one factor counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// At most.
    pub points: u32,
    /// From how much on it counts in full, where that is a number.
    pub full: u64,
}

/// What is wrong with a file of weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct WeightsFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for WeightsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: Spanned<u32>,
    name: Spanned<String>,
    #[serde(default)]
    outsiders: BTreeSet<String>,
    #[serde(default)]
    pilot: BTreeSet<String>,
    learn_until: Option<Spanned<String>>,
    review_by: Option<Spanned<String>>,
    relief: Option<Spanned<ReliefForm>>,
    factor: BTreeMap<Factor, Spanned<FactorForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReliefForm {
    on_call: u32,
    floor: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactorForm {
    points: u32,
    full: Option<u64>,
}

impl Weights {
    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, WeightsFault> {
        if text.len() > MAX_TEXT {
            let message = format!("a file of weights has at most {MAX_TEXT} bytes");
            return Err(WeightsFault { line: 1, message });
        }
        let fault = |offset: usize, message: String| {
            let before = text.bytes().take(offset).filter(|byte| *byte == b'\n');
            WeightsFault { line: before.count().saturating_add(1), message }
        };
        let form: Form = toml::from_str(text).map_err(|error| {
            fault(error.span().map_or(0, |span| span.start), error.message().to_owned())
        })?;
        if *form.version.get_ref() != VERSION {
            let why = format!("version: this program knows version {VERSION}");
            return Err(fault(form.version.span().start, why));
        }
        if !is_name(form.name.get_ref()) {
            let why = "name: 1 to 64 characters on one line";
            return Err(fault(form.name.span().start, why.into()));
        }
        let mut points = BTreeMap::new();
        for (factor, weight) in form.factor {
            let at = weight.span().start;
            let checked = checked(factor, weight.get_ref()).map_err(|why| fault(at, why))?;
            points.insert(factor, checked);
        }
        if points.values().all(|weight| weight.points == 0) {
            return Err(fault(0, "no factor counts anything, so every risk would be 0".into()));
        }
        let (on_call, floor) = match form.relief {
            None => (0, 0),
            Some(relief) => {
                let ReliefForm { on_call, floor } = *relief.get_ref();
                if on_call > MAX_POINTS || floor > MAX_POINTS {
                    let why = format!("relief: at most {MAX_POINTS}");
                    return Err(fault(relief.span().start, why));
                }
                (on_call, floor)
            }
        };
        let why = "learn_until: write a moment as 2026-12-24T18:00:00Z";
        let learn_until = read_at(form.learn_until, (moment, why), &fault)?;
        let review_by =
            read_at(form.review_by, (day_begins, "review_by: write a day as 2027-06-01"), &fault)?;
        Ok(Self {
            name: form.name.into_inner(),
            hash: hash(text),
            text: text.to_owned(),
            points,
            on_call,
            floor,
            outsiders: form.outsiders,
            pilot: form.pilot,
            learn_until,
            review_by,
        })
    }

    /// What they are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What names exactly these: the SHA-256 over their text, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The text that they were read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What a factor counts; nothing, when the file does not name it.
    #[must_use]
    pub fn of(&self, factor: Factor) -> Weight {
        let full = factor.full().map_or(1, |(full, _)| full);
        self.points.get(&factor).copied().unwrap_or(Weight { points: 0, full })
    }

    /// Factors that count nothing because the file does not name them.
    pub fn unnamed(&self) -> impl Iterator<Item = Factor> {
        Factor::ALL.into_iter().filter(|factor| !self.points.contains_key(factor))
    }

    /// How many points less for who is on call, and down to which score at most on the strictest hosts.
    #[must_use]
    pub const fn relief(&self) -> (u32, u32) {
        (self.on_call, self.floor)
    }

    /// Whether any of these teams is one of outsiders.
    #[must_use]
    pub fn is_outside(&self, teams: &BTreeSet<String>) -> bool {
        !self.outsiders.is_disjoint(teams)
    }

    /// Whether weights that are only tried hold already for somebody of these teams.
    #[must_use]
    pub fn is_piloted(&self, teams: &BTreeSet<String>) -> bool {
        !self.pilot.is_disjoint(teams)
    }

    /// Whether they name teams for which they hold already.
    #[must_use]
    pub fn has_pilot(&self) -> bool {
        !self.pilot.is_empty()
    }

    /// From then on nothing is learnt of what is usual.
    #[must_use]
    pub const fn learn_until(&self) -> Option<u64> {
        self.learn_until
    }

    /// From then on, in seconds since 1970, somebody should have looked at them again.
    #[must_use]
    pub const fn review_by(&self) -> Option<u64> {
        self.review_by
    }
}

fn checked(factor: Factor, form: &FactorForm) -> Result<Weight, String> {
    let name = factor.name();
    if form.points > MAX_POINTS {
        return Err(format!("factor {name}: at most {MAX_POINTS} points"));
    }
    match (factor.full(), form.full) {
        (None, Some(_)) => Err(format!("factor {name}: it is no number, so it has no `full`")),
        (Some((least, _)), None) => Ok(Weight { points: form.points, full: least }),
        (Some((_, what)), Some(full)) if full < 2 => {
            Err(format!("factor {name}: full: at least 2 {what}"))
        }
        (_, full) => Ok(Weight { points: form.points, full: full.unwrap_or(1) }),
    }
}

/// A time, as seconds since 1970.
fn read_at(
    text: Option<Spanned<String>>,
    (read, why): (fn(&str) -> Option<u64>, &str),
    fault: &impl Fn(usize, String) -> WeightsFault,
) -> Result<Option<u64>, WeightsFault> {
    let Some(text) = text else { return Ok(None) };
    let read = read(text.get_ref()).ok_or_else(|| fault(text.span().start, why.to_owned()));
    read.map(Some)
}

fn moment(text: &str) -> Option<u64> {
    let read: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(read.as_second()).ok()
}

/// The first second of a day, at UTC.
fn day_begins(day: &str) -> Option<u64> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let begins = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(begins.timestamp().as_second()).ok()
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Longest text of a file of weights: every factor with a line of comment, many times over.
pub const MAX_TEXT: usize = 64 * 1024;
const VERSION: u32 = 1;
/// As many as the highest score has.
const MAX_POINTS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "version = 1\nname = \"mine\"\n";

    #[test]
    fn what_is_shipped_is_good_and_names_every_factor() {
        let weights = Weights::parse(crate::DEFAULT).unwrap();
        assert_eq!(weights.unnamed().count(), 0);
        assert_eq!(weights.text(), crate::DEFAULT);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        let table = [
            ("", "1: ", "missing field"),
            ("version = 2\nname = 'x'\n[factor]\n", "1: ", "knows version 1"),
            ("version = 1\nname = ''\n[factor]\n", "2: ", "1 to 64 characters"),
            (&format!("{HEAD}[factor.tiers]\npoints = 1"), "3: ", "unknown variant `tiers`"),
            (&format!("{HEAD}[factor.tier]\npoints = 101"), "3: ", "at most 100 points"),
            (&format!("{HEAD}[factor.tier]\npoints = -1"), "4: ", "invalid value"),
            (&format!("{HEAD}[factor.tier]\npoints = 1.5"), "4: ", "invalid type"),
            (&format!("{HEAD}[factor.tier]\npoints = 1\nfull = 3"), "3: ", "it is no number"),
            (&format!("{HEAD}[factor.hosts]\npoints = 1\nfull = 1"), "3: ", "at least 2 hosts"),
            (&format!("{HEAD}[factor.tier]\npoints = 0"), "1: ", "every risk would be 0"),
            (&format!("{HEAD}[factor.tier]\npoint = 1"), "4: ", "unknown field `point`"),
            (&format!("{HEAD}learn_until = 'soon'\n[factor.tier]\npoints = 1"), "3: ", "moment"),
            (
                &format!("{HEAD}[relief]\non_call = 101\nfloor = 0\n[factor.tier]\npoints = 1"),
                "3: ",
                "at most",
            ),
            (
                &format!("{HEAD}[factor.tier]\npoints = 1\n[factor.tier]\npoints = 2"),
                "5: ",
                "duplicate",
            ),
        ];
        for (text, line, what) in table {
            let said = Weights::parse(text).unwrap_err().to_string();
            assert!(said.starts_with(line) && said.contains(what), "{text:?}: {said}");
        }
        assert!(Weights::parse(&format!("{HEAD}#{}", "x".repeat(MAX_TEXT))).is_err());
    }
}
