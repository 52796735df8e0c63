//! One policy as it was written, checked for what the language does not demand: a name, advice, no surprises.

use cedar_policy::{Effect, Policy, PolicyId};

use crate::fault::{Fault, nearest};
use crate::hazard;
use crate::split::{Statement, line};

/// A policy that is fit to stand in a set.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) policy: Policy,
    pub(crate) id: String,
    /// What people are told while it is missing; of a requirement alone.
    pub(crate) advice: Option<String>,
    pub(crate) file: String,
    /// Where it begins, in bytes.
    pub(crate) offset: usize,
    pub(crate) line: usize,
    /// As it was written.
    pub(crate) text: String,
}

/// Reads a statement of `file`, whose whole text is `text`.
pub(crate) fn check(
    (file, text): (&str, &str),
    statement: Statement<'_>,
) -> Result<Checked, Vec<Fault>> {
    let begin = line(text, statement.offset);
    let fault = |message: String| Fault::new(file, begin, message);
    let policy = Policy::parse(None, statement.text).map_err(|errors| {
        let at = |offset| line(text, statement.offset.saturating_add(offset));
        let told = errors.iter().map(|error| {
            let fault = Fault::new(file, at(hazard::offset(error)), error.to_string());
            match miette::Diagnostic::help(error) {
                Some(help) => fault.hint(help.to_string()),
                None => fault,
            }
        });
        told.collect::<Vec<Fault>>()
    })?;
    let mut faults: Vec<Fault> =
        policy.annotations().filter_map(|(key, _)| unknown(key)).map(fault).collect();
    let id = match policy.annotation("id") {
        Some(id) if is_name(id) => id.to_owned(),
        Some(id) => {
            let why = format!(
                "@id({id:?}): a name has 1 to 64 of a-z, 0-9 and -, and begins with a letter"
            );
            faults.push(fault(why));
            String::new()
        }
        None => {
            let missing = fault("this policy has no name".into());
            faults.push(
                missing.hint("write @id(\"a-name\") before it; denials and the ledger name it so"),
            );
            String::new()
        }
    };
    let advice = policy.annotation("advice").map(str::to_owned);
    faults.extend(
        judge_advice(policy.effect(), advice.as_deref()).map(|(what, hint)| fault(what).hint(hint)),
    );
    faults.extend(hazard::of(&policy).into_iter().map(|(what, hint)| fault(what).hint(hint)));
    if !faults.is_empty() {
        return Err(faults);
    }
    let policy = policy.new_id(PolicyId::new(&id));
    let (file, text) = (file.to_owned(), statement.text.to_owned());
    Ok(Checked { policy, id, advice, file, offset: statement.offset, line: begin, text })
}

fn unknown(key: &str) -> Option<String> {
    if ANNOTATIONS.contains(&key) {
        return None;
    }
    let meant = nearest(key, ANNOTATIONS).map(|near| format!("; did you mean @{near}?"));
    Some(format!("there is no annotation @{key}{}", meant.unwrap_or_default()))
}

fn judge_advice(effect: Effect, advice: Option<&str>) -> Option<(String, &'static str)> {
    match (effect, advice) {
        (Effect::Forbid, None) => Some((
            "this forbid has no advice, so nobody could be told what is missing".into(),
            "write @advice(\"what to do about it\") before it",
        )),
        (Effect::Permit, Some(_)) => Some((
            "this permit has an advice, which nobody would ever be shown".into(),
            "give the advice to the forbid that demands it",
        )),
        (Effect::Forbid, Some(advice)) if !is_advice(advice) => Some((
            format!("@advice must have 1 to {MAX_ADVICE} characters on one line"),
            "say in one sentence what to do",
        )),
        _ => None,
    }
}

fn is_name(id: &str) -> bool {
    id.len() <= MAX_ID
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn is_advice(text: &str) -> bool {
    (1..=MAX_ADVICE).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.chars().any(char::is_control)
}

/// What may stand before a policy with an `@`.
const ANNOTATIONS: [&str; 2] = ["id", "advice"];
/// Long enough for a name, short enough for a line in a terminal.
const MAX_ID: usize = 64;
/// Several can be missing at once, and all stand in one denial.
const MAX_ADVICE: usize = 200;
