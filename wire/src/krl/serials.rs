//! A set of serials, held as runs that neither overlap nor touch.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// The runs: first serial to last, both included, never 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Serials(BTreeMap<u64, u64>);

impl Serials {
    /// Adds the run from `first`, which is at least 1, to `last`, which is not before it.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        let (mut low, mut high) = (first, last);
        if let Some((&before, &end)) = self.0.range(..=first).next_back() {
            if end >= last {
                return;
            }
            if end >= first.saturating_sub(1) {
                low = before;
            }
        }
        while let Some((&next, &end)) =
            self.0.range((Excluded(low), Included(high.saturating_add(1)))).next()
        {
            high = high.max(end);
            self.0.remove(&next);
        }
        self.0.insert(low, high);
    }

    /// Whether it holds `serial`.
    pub(super) fn contains(&self, serial: u64) -> bool {
        self.0.range(..=serial).next_back().is_some_and(|(_, &last)| serial <= last)
    }

    /// The runs, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many serials there are.
    pub(super) fn count(&self) -> u64 {
        self.runs().fold(0, |count, (first, last)| {
            count.saturating_add(last.saturating_sub(first)).saturating_add(1)
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may count; an overflow fails it"
)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_the_set_and_never_touch(inserted in prop::collection::vec((1..200_u64, 0..9_u64), 0..60)) {
            let (mut serials, mut set) = (Serials::default(), BTreeSet::new());
            for (first, more) in inserted {
                serials.insert(first, first + more);
                set.extend(first..=first + more);
            }
            for serial in 0..220 {
                prop_assert_eq!(serials.contains(serial), set.contains(&serial));
            }
            prop_assert_eq!(serials.count(), set.len() as u64);
            let runs: Vec<_> = serials.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", runs);
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_wrap() {
        let mut serials = Serials::default();
        serials.insert(u64::MAX, u64::MAX);
        serials.insert(1, 1);
        serials.insert(u64::MAX - 1, u64::MAX - 1);
        assert_eq!(serials.runs().collect::<Vec<_>>(), [(1, 1), (u64::MAX - 1, u64::MAX)]);
        serials.insert(1, u64::MAX);
        assert_eq!(serials.runs().collect::<Vec<_>>(), [(1, u64::MAX)]);
        assert_eq!(serials.count(), u64::MAX);
        assert!(!serials.contains(0));
    }
}
