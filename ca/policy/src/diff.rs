//! What is different between two sets of policies, policy by policy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::set::PolicySet;

/// One policy that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its name.
    pub id: String,
    /// As it was; absent when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// As it is; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What changed from one set to another, in order of name. Comments between policies are no policy.
#[must_use]
pub fn changes(before: Option<&PolicySet>, after: &PolicySet) -> Vec<Change> {
    let texts = |set: &PolicySet| -> BTreeMap<String, String> {
        set.each().iter().map(|one| (one.id.clone(), one.text.clone())).collect()
    };
    let (mut before, after) = (before.map(texts).unwrap_or_default(), texts(after));
    let mut found = Vec::new();
    for (id, text) in after {
        let was = before.remove(&id);
        if was.as_ref() != Some(&text) {
            found.push(Change { id, before: was, after: Some(text) });
        }
    }
    found.extend(before.into_iter().map(|(id, text)| Change {
        id,
        before: Some(text),
        after: None,
    }));
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}
