//! Where a search looks: among records, in what terminals showed, in what was typed.
//!
//! Terminals are looked at only where the search says so by a field of its own (`text:`, `seen:`, `typed:`), because it opens
//! recordings; and only within a stated time or in named sessions.

use std::collections::BTreeSet;

use super::{Query, Test};
use crate::identifier::SessionId;
use crate::time::Timestamp;

/// Where something may be that fits a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Among records.
    pub records: bool,
    /// Among the lines that terminals showed.
    pub seen: bool,
    /// Among the lines that were typed.
    pub typed: bool,
}

/// Why nothing can fit a search, or it would open too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// It would open every recording that there is.
    #[error(
        "to look at what terminals showed, recordings are opened: say since when, as in since:7d, or which session, as in session:4f0c9a1be2d37781; \
         for records alone leave the field away, as in \"rm -rf\""
    )]
    Unbounded,
    /// Its terms contradict each other.
    #[error("a line was either seen or typed; for both, search for text:")]
    SeenAndTyped,
    /// Its terms contradict each other.
    #[error(
        "a line of a terminal is no record: it has no {0}:, but a person, a host, a login, a role, a session and a time"
    )]
    NoRecord(&'static str),
}

impl Reach {
    /// Whether recordings are opened.
    #[must_use]
    pub const fn opens(self) -> bool {
        self.seen || self.typed
    }

    const fn and(self, other: Self) -> Self {
        Self {
            records: self.records && other.records,
            seen: self.seen && other.seen,
            typed: self.typed && other.typed,
        }
    }

    const fn or(self, other: Self) -> Self {
        Self {
            records: self.records || other.records,
            seen: self.seen || other.seen,
            typed: self.typed || other.typed,
        }
    }
}

impl Query {
    /// Where it looks.
    ///
    /// # Errors
    /// When nothing can fit it, or it would open every recording.
    pub fn reach(&self) -> Result<Reach, ReachError> {
        let mut reach = self.fitting();
        if !self.asks_for_terminals() {
            (reach.seen, reach.typed) = (false, false);
        }
        if reach == NOWHERE {
            let record = self.asked().find(|test| !of(test).opens());
            return Err(record
                .map_or(ReachError::SeenAndTyped, |test| ReachError::NoRecord(test.written().0)));
        }
        let is_bound = |test: &Test| matches!(test, Test::Since(_) | Test::Session(_));
        let mut terms = self.terms().iter().filter(|term| !term.is_not);
        let is_bounded = terms.any(|term| term.any.iter().all(is_bound));
        if reach.opens() && !is_bounded {
            return Err(ReachError::Unbounded);
        }
        Ok(reach)
    }

    /// Whether it looks for text among records alone, and lines of terminals could fit it as well.
    #[must_use]
    pub fn could_open(&self) -> bool {
        let is_text = self.asked().any(|test| matches!(test, Test::Text(_)));
        is_text && !self.asks_for_terminals() && self.fitting().opens()
    }

    /// Everything that it asks for, but for what is turned round.
    fn asked(&self) -> impl Iterator<Item = &Test> {
        self.terms().iter().filter(|term| !term.is_not).flat_map(|term| &term.any)
    }

    /// Where something may be that fits, whether it is asked for there or not.
    fn fitting(&self) -> Reach {
        let terms = self.terms().iter().filter(|term| !term.is_not);
        terms.fold(EVERYWHERE, |reach, term| {
            reach.and(term.any.iter().map(of).fold(NOWHERE, Reach::or))
        })
    }

    fn asks_for_terminals(&self) -> bool {
        let opens =
            |test: &Test| matches!(test, Test::Anywhere(_) | Test::Seen(_) | Test::Typed(_));
        self.asked().any(opens)
    }

    /// The sessions of which one must be it; nothing when it may be any.
    #[must_use]
    pub fn sessions(&self) -> Option<BTreeSet<SessionId>> {
        let named = |test: &Test| match test {
            Test::Session(session) => Some(*session),
            _ => None,
        };
        let terms = self.terms().iter().filter(|term| !term.is_not);
        let sets =
            terms.filter_map(|term| term.any.iter().map(named).collect::<Option<BTreeSet<_>>>());
        sets.reduce(|one, other| one.intersection(&other).copied().collect())
    }

    /// The moment before which everything that can fit is, when the search began at `now`.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let bound = |test: &Test| match test {
            Test::Until(moment) => Some(moment.at(now)),
            _ => None,
        };
        let latest = |term: &super::Term| {
            let bounds: Option<Vec<_>> = term.any.iter().map(bound).collect();
            bounds.and_then(|bounds| bounds.into_iter().max())
        };
        self.terms().iter().filter(|term| !term.is_not).filter_map(latest).min()
    }
}

/// Where something may be that fits a test.
const fn of(test: &Test) -> Reach {
    match test {
        Test::Exec(_)
        | Test::Arg(_)
        | Test::Connect(_)
        | Test::Path(_)
        | Test::Kind(_)
        | Test::Uid(_) => Reach { records: true, ..NOWHERE },
        Test::Seen(_) => Reach { seen: true, ..NOWHERE },
        Test::Typed(_) => Reach { typed: true, ..NOWHERE },
        Test::Text(_)
        | Test::Anywhere(_)
        | Test::Who(_)
        | Test::Host(_)
        | Test::Login(_)
        | Test::Role(_)
        | Test::Session(_)
        | Test::Since(_)
        | Test::Until(_) => EVERYWHERE,
    }
}

const EVERYWHERE: Reach = Reach { records: true, seen: true, typed: true };
const NOWHERE: Reach = Reach { records: false, seen: false, typed: false };

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Result<(bool, bool, bool), String> {
        let reach = Query::parse(text).unwrap().reach();
        reach.map(|it| (it.records, it.seen, it.typed)).map_err(|error| error.to_string())
    }

    #[test]
    fn terminals_are_looked_at_where_a_field_says_so_and_records_where_they_can_fit() {
        let table = [
            ("rm", (true, false, false)),
            ("exec:rm who:ana since:7d", (true, false, false)),
            ("text:rm since:7d", (true, true, true)),
            ("text:rm,mv session:00000000000000a1", (true, true, true)),
            ("seen:rm since:7d rf", (false, true, false)),
            ("typed:rm since:7d -exec:ls", (false, false, true)),
            ("text:rm exec:ls", (true, false, false)),
            ("text:rm seen:x since:1h", (false, true, false)),
            ("rm -seen:x", (true, false, false)),
        ];
        for (text, expected) in table {
            assert_eq!(reach(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn text_without_a_field_could_be_on_terminals_as_well() {
        let table = [
            ("rm", true),
            ("rm since:7d", true),
            ("exec:ls rm", false),
            ("who:ana", false),
            ("text:rm", false),
        ];
        for (text, expected) in table {
            assert_eq!(Query::parse(text).unwrap().could_open(), expected, "{text}");
        }
    }

    #[test]
    fn what_would_open_everything_or_find_nothing_is_refused() {
        for (text, part) in [
            ("text:rm", "say since when"),
            ("seen:rm who:ana host:db1 until:2026-11-30", "say since when"),
            ("typed:rm -since:7d", "say since when"),
            ("seen:rm -session:00000000000000a1", "say since when"),
            ("seen:a typed:b since:7d", "either seen or typed"),
            ("seen:a exec:rm since:7d", "it has no exec:"),
            ("typed:a kind:exec,refused since:7d", "it has no kind:"),
        ] {
            let said = reach(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn bounds_are_what_every_term_leaves() {
        let sessions = |text: &str| Query::parse(text).unwrap().sessions().map(|set| set.len());
        assert_eq!(sessions("session:00000000000000a1,00000000000000a2 x"), Some(2));
        assert_eq!(
            sessions("session:00000000000000a1,00000000000000a2 session:00000000000000a2"),
            Some(1)
        );
        assert_eq!(sessions("-session:00000000000000a1"), None);
        let now = Timestamp::from_secs(1_000_000);
        let until = |text: &str| Query::parse(text).unwrap().until(now).map(Timestamp::secs);
        assert_eq!(until("until:1h,2h"), Some(1_000_000 - 3_600));
        assert_eq!(until("until:1h until:2h"), Some(1_000_000 - 7_200));
        assert_eq!(until("-until:1h a"), None);
    }
}
