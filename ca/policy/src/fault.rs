//! What is wrong with a file of policies or of cases, where, and what to do.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl Fault {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into(), suggestion: None }
    }

    pub(crate) fn hint(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: Some(suggestion.into()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// The word of `known` that was most likely meant, if one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = word.chars().count().div_ceil(3);
    let near = known.into_iter().map(|one| (distance(word, one), one));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, one)| one)
}

/// How many letters must be changed, put in or left out, or neighbours swapped.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut rows: (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    let mut last = None;
    for (row, letter) in from.chars().enumerate() {
        let mut now = vec![row.saturating_add(1)];
        let mut left = row.saturating_add(1);
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let change = at(&rows.1, column).saturating_add(usize::from(letter != *other));
            let out = at(&rows.1, column.saturating_add(1)).saturating_add(1);
            let mut best = change.min(out).min(left.saturating_add(1));
            let before = column.checked_sub(1);
            let swapped = before.is_some_and(|before| to.get(before) == Some(&letter));
            if let (true, Some(before)) = (swapped && last == Some(*other), before) {
                best = best.min(at(&rows.0, before).saturating_add(1));
            }
            now.push(best);
            left = best;
        }
        last = Some(letter);
        rows = (rows.1, now);
    }
    rows.1.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found() {
        let known = ["advice", "id", "mfaAge", "hosts"];
        assert_eq!(nearest("advise", known), Some("advice"));
        assert_eq!(nearest("advcie", known), Some("advice"));
        assert_eq!(nearest("mfaage", known), Some("mfaAge"));
        assert_eq!(nearest("host", known), Some("hosts"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(distance("abcd", "abdc"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
