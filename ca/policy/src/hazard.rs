//! What the language allows and we do not: whatever could fail while it is evaluated, and whatever never takes effect.

use cedar_policy::Policy;
use serde_json::Value;

/// What is hazardous about a policy, with what to do instead.
pub(crate) fn of(policy: &Policy) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match policy.to_json() {
        Ok(json) => walk(json.get("conditions").unwrap_or(&Value::Null), &mut |key, _| {
            if let Some((_, what, hint)) = HAZARDS.iter().find(|(name, ..)| *name == key) {
                let message =
                    format!("{what} can overflow, and what fails while it is evaluated is a no");
                found.push((message, (*hint).into()));
            }
        }),
        Err(error) => found.push((error.to_string(), "write it in a simpler way".into())),
    }
    found.dedup();
    found
}

/// The attributes of the context that a policy reads.
pub(crate) fn reads(policy: &Policy) -> Option<Vec<String>> {
    let (mut found, mut is_whole) = (Vec::new(), false);
    let json = policy.to_json().ok()?;
    let mut uses = 0_usize;
    walk(json.get("conditions").unwrap_or(&Value::Null), &mut |key, value| {
        let (left, attr) = (value.get("left"), value.get("attr"));
        let of_context =
            left.and_then(|left| left.get("Var")).and_then(Value::as_str) == Some("context");
        if let (true, "." | "has", Some(Value::String(attr))) = (of_context, key, attr) {
            found.push(attr.clone());
        }
        if key == "Var" && value.as_str() == Some("context") {
            uses = uses.saturating_add(1);
        }
    });
    is_whole |= uses != found.len();
    (!is_whole).then_some(found)
}

/// Where a fault is in its text, as the language tells it.
pub(crate) fn offset(error: &dyn miette::Diagnostic) -> usize {
    let label = error.labels().and_then(|mut labels| labels.next());
    label.map_or(0, |label| label.offset())
}

fn walk<'a>(value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        // What is said is no expression, whatever words it has.
        Value::Object(map) if map.contains_key("Value") => {}
        Value::Object(map) => {
            for (key, value) in map {
                see(key, value);
                walk(value, see);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, see)),
        _ => {}
    }
}

const HAZARDS: [(&str, &str, &str); 6] = [
    ("+", "adding", "compare with a number instead, as in `context.seconds <= 3600`"),
    ("-", "subtracting", "compare with a number instead, as in `context.seconds <= 3600`"),
    ("*", "multiplying", "compare with a number instead, as in `context.seconds <= 3600`"),
    ("neg", "negating", "write the number itself"),
    ("offset", "moving a moment", "compare `context.now` with the moment that you mean"),
    ("durationSince", "subtracting moments", "compare `context.now` with the moment that you mean"),
];
