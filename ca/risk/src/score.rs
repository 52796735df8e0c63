//! The score of a case, by weights, with its reasons; and what would be otherwise if one thing were.

use serde::{Deserialize, Serialize};

use crate::case::{Case, Habit, Habits, Outcomes};
use crate::factor::Factor;
use crate::surprise::surprise;
use crate::weights::Weights;

/// A score, and all that it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// From 0 to 100.
    pub score: u8,
    /// What the weights are called.
    pub name: String,
    /// What names exactly these weights.
    pub weights: String,
    /// Every factor that counts something, in the order of [`Factor::ALL`].
    pub parts: Vec<Part>,
    /// Points that being on call took away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub relief: u32,
    /// How much it rests on what they did before, from 0 to 100.
    pub confidence: u8,
    /// What was not known, and counts in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What one factor adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which.
    pub factor: Factor,
    /// How much of it there is, in thousandths.
    pub value: u32,
    /// What it adds, in thousandths of a point.
    pub milli: u32,
    /// Why, in words.
    pub says: String,
}

/// What the score would be if one thing were otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otherwise {
    /// Which factor would count for nothing.
    pub factor: Factor,
    /// How that would be, in words.
    pub says: String,
    /// The score then.
    pub score: u8,
}

/// How much there is of a factor, and why.
struct Found {
    value: u64,
    says: String,
    missing: Option<String>,
}

/// Reckons a case by weights.
#[must_use]
pub fn score(case: &Case, weights: &Weights) -> Score {
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for factor in Factor::ALL {
        let weight = weights.of(factor);
        let found = found(case, factor, (weights, weight.full));
        let value = u32::try_from(found.value.min(WHOLE)).unwrap_or(u32::MAX);
        let milli = weight.points.saturating_mul(value);
        missing.extend(found.missing.filter(|_| milli > 0));
        if milli > 0 {
            parts.push(Part { factor, value, milli, says: found.says });
        }
    }
    let (score, relief) = total(sum(&parts, None), case, weights);
    let known = case.past.own.weight / WHOLE;
    let confidence = known.saturating_mul(100).checked_div(known.saturating_add(FEW));
    Score {
        score,
        name: weights.name().to_owned(),
        weights: weights.hash().to_owned(),
        parts,
        relief,
        confidence: confidence.and_then(|share| u8::try_from(share).ok()).unwrap_or(0),
        missing,
    }
}

/// What the score would be if one thing were otherwise: each that would make it lower, the one that does most first.
#[must_use]
pub fn otherwise(case: &Case, weights: &Weights) -> Vec<Otherwise> {
    let now = score(case, weights);
    let without = |part: &Part| {
        let (score, _relief) = total(sum(&now.parts, Some(part.factor)), case, weights);
        let says = part.factor.without().to_owned();
        (score < now.score).then_some(Otherwise { factor: part.factor, says, score })
    };
    let mut all: Vec<Otherwise> = now.parts.iter().filter_map(without).collect();
    all.sort_by_key(|one| (one.score, one.factor));
    all
}

fn sum(parts: &[Part], without: Option<Factor>) -> u32 {
    let counted = parts.iter().filter(|part| Some(part.factor) != without);
    counted.map(|part| part.milli).fold(0, u32::saturating_add)
}

/// The score of a sum, and what being on call took away: on the strictest hosts never below the floor.
fn total(milli: u32, case: &Case, weights: &Weights) -> (u8, u32) {
    let whole = milli.div_ceil(1_000);
    let (on_call, floor) = weights.relief();
    let relieved = match (case.on_call, strictest(case)) {
        (false, _) => whole,
        (true, 0) => whole.saturating_sub(on_call).max(whole.min(floor)),
        (true, _) => whole.saturating_sub(on_call),
    };
    let score = u8::try_from(relieved.min(100)).unwrap_or(100);
    (score, whole.saturating_sub(relieved))
}

fn found(case: &Case, factor: Factor, (weights, full): (&Weights, u64)) -> Found {
    match factor {
        Factor::Tier | Factor::Hosts | Factor::Root | Factor::Forwarding | Factor::Duration => {
            reach(case, factor, full)
        }
        Factor::NewHost | Factor::NewLogin | Factor::NewHour | Factor::NewSource => {
            novelty(case, factor)
        }
        Factor::Pace | Factor::Requests | Factor::Refusals | Factor::Concurrent => {
            velocity(case, factor, full)
        }
        Factor::SecondFactor | Factor::PlainKey => proof(case, factor, full),
        Factor::Newcomer => newcomer(case, full),
        Factor::Outsider => {
            plain(weights.is_outside(&case.who.teams), "they are of a team of outsiders")
        }
        Factor::Program => plain(case.who.program, "it is a program"),
        Factor::Outcomes => judged(case.past.outcomes, "their sessions"),
        Factor::TeamOutcomes => judged(case.past.team_outcomes, "sessions of their teams"),
        Factor::Incidents => incidents(case, full),
    }
}

/// How far it reaches.
fn reach(case: &Case, factor: Factor, full: u64) -> Found {
    match factor {
        Factor::Tier => {
            let tier = strictest(case);
            let unknown: Vec<&str> = case
                .hosts
                .iter()
                .filter(|(_, tier)| tier.is_none())
                .map(|(name, _)| name.as_str())
                .collect();
            let missing =
                (!unknown.is_empty()).then(|| format!("the tier of {}", unknown.join(", ")));
            let value = share(3_u64.saturating_sub(u64::from(tier)), 3);
            Found { value, says: format!("a host of tier {tier}"), missing }
        }
        Factor::Hosts => {
            let count = u64::try_from(case.hosts.len()).unwrap_or(u64::MAX);
            let value = share(count.saturating_sub(1), full.saturating_sub(1));
            said(value, format!("{count} hosts at once"))
        }
        Factor::Root => plain(case.logins.contains("root"), "it opens root"),
        Factor::Forwarding => plain(case.forwarding, "ports, agents or displays can be forwarded"),
        _ => {
            let usual = case.past.usual_seconds.unwrap_or(case.role_seconds).max(1);
            let over = case.seconds.saturating_sub(usual);
            let value = share(over, usual.saturating_mul(full.saturating_sub(1)));
            said(value, format!("{} s, where {usual} s are usual", case.seconds))
        }
    }
}

fn strictest(case: &Case) -> u8 {
    case.hosts.values().map(|tier| tier.unwrap_or(0)).min().unwrap_or(0)
}

/// How unusual it is for them, and for their teams, the more so the less is known of them.
fn novelty(case: &Case, factor: Factor) -> Found {
    let of = |habits: &Habits| match factor {
        Factor::NewHost => habits.host,
        Factor::NewLogin => habits.login,
        Factor::NewHour => habits.hour,
        _ => habits.source,
    };
    let what = match factor {
        Factor::NewHost => "the host",
        Factor::NewLogin => "the login",
        Factor::NewHour => "the hour of the week",
        _ => "the network",
    };
    if factor == Factor::NewSource && case.source.is_none() {
        let missing = Some("the network that it was asked from".to_owned());
        return Found { value: WHOLE, says: "nobody knows from which network".into(), missing };
    }
    let (own, team) = (of(&case.past.own), of(&case.past.team));
    let value = weighted(&own, &team);
    let missing = (own.weight == 0 && team.weight == 0)
        .then(|| "what is usual for them and their teams".to_owned());
    let how = match (own.weight, own.seen) {
        (0, _) => "nothing is known of what they use to do",
        (_, 0) => "they never did so before",
        _ => "they did so before, though not often",
    };
    Found { value, says: format!("{what}: {how}"), missing }
}

/// Their own habits count the more the more of them are known; those of their teams fill in.
fn weighted(own: &Habit, team: &Habit) -> u64 {
    let few = FEW.saturating_mul(WHOLE);
    let sum =
        own.weight.saturating_mul(unusual(own)).saturating_add(few.saturating_mul(unusual(team)));
    sum.checked_div(own.weight.saturating_add(few)).unwrap_or(WHOLE)
}

/// From 0, for what is as usual as 95 of 100 sessions, to 1000, for what never was.
fn unusual(habit: &Habit) -> u64 {
    if habit.weight == 0 {
        return WHOLE;
    }
    let of = (habit.weight, habit.kinds);
    let (now, never) = (surprise(habit.seen, of), surprise(0, of));
    if habit.seen == 0 {
        return WHOLE;
    }
    share(now.saturating_sub(habit.common), never.saturating_sub(habit.common))
}

fn velocity(case: &Case, factor: Factor, full: u64) -> Found {
    let past = &case.past;
    let (count, what) = match factor {
        Factor::Pace => (past.requests_hour, "other requests within an hour"),
        Factor::Requests => (past.requests_day, "other requests within a day"),
        Factor::Refusals => (past.refusals, "refusals within a day"),
        _ => (past.concurrent, "grants under way"),
    };
    said(share(count.into(), full), format!("{count} {what}"))
}

/// What has happened on the hosts.
fn incidents(case: &Case, full: u64) -> Found {
    match case.past.incidents {
        None => {
            let missing = Some("incidents on the hosts".to_owned());
            Found { value: WHOLE, says: "nobody counted incidents on the hosts".into(), missing }
        }
        Some(count) => {
            said(share(count.into(), full), format!("{count} incidents on a host within 90 days"))
        }
    }
}

/// By what they logged in. A program shows no second factor and touches no key, which counts by itself.
fn proof(case: &Case, factor: Factor, full: u64) -> Found {
    if case.who.program {
        return said(0, String::new());
    }
    match (factor, case.mfa_age, case.hardware_key) {
        (Factor::SecondFactor, None, _) => {
            said(WHOLE, "no second factor was shown in this login".into())
        }
        (Factor::SecondFactor, Some(age), _) => {
            let value = share(age.saturating_sub(FRESH), full.saturating_sub(FRESH));
            said(value, format!("a second factor was shown {age} s ago"))
        }
        (_, _, key) => plain(key != Some(true), "they did not log in with a security key"),
    }
}

fn newcomer(case: &Case, full: u64) -> Found {
    match case.who.known_secs {
        None => {
            let missing = Some("since when they are here".to_owned());
            Found { value: WHOLE, says: "nobody knows since when they are here".into(), missing }
        }
        Some(secs) => {
            let value = WHOLE.saturating_sub(share(secs, full));
            said(value, format!("they were added {} days ago", secs / 86_400))
        }
    }
}

/// What is to be expected of them, by what reviewers found: 1 of 20 is bad when nothing is known, and 3 of 10 count in full.
fn judged(outcomes: Outcomes, whose: &str) -> Found {
    let all = outcomes.ok.saturating_add(outcomes.bad);
    let bad = outcomes.bad.saturating_add(1).saturating_mul(WHOLE);
    let mean = bad.checked_div(all.saturating_add(20)).unwrap_or(WHOLE);
    let value = share(mean.saturating_sub(50), 250);
    said(value, format!("{} of {all} {whose} that were looked at were out of order", outcomes.bad))
}

fn plain(holds: bool, says: &str) -> Found {
    said(if holds { WHOLE } else { 0 }, says.to_owned())
}

const fn said(value: u64, says: String) -> Found {
    Found { value, says, missing: None }
}

/// Thousandths of a whole; all of it, where there is no whole.
fn share(part: u64, whole: u64) -> u64 {
    let part = u128::from(part).saturating_mul(u128::from(WHOLE));
    let share = part.checked_div(u128::from(whole)).unwrap_or_else(|| part.min(u128::from(WHOLE)));
    u64::try_from(share).unwrap_or(WHOLE).min(WHOLE)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const WHOLE: u64 = 1_000;
/// As many sessions say as much as the teams do.
const FEW: u64 = 20;
/// A second factor is fresh for as long, in seconds.
const FRESH: u64 = 600;

#[cfg(test)]
#[path = "score/tests.rs"]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests;
