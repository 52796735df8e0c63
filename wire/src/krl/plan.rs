//! Which serials are written as a list, which as ranges and which as bitmaps, so that all together are smallest.
//!
//! Outside a bitmap a run costs what it costs, for lists share one section. A bitmap is a window over neighbouring runs.
//! So the cheapest way up to each run follows from those up to the runs before it, and the best beginning for a bitmap
//! that ends here is the least of `cost - first serial` in the window, which a queue keeps at hand: one pass, whatever
//! the serials are.

use std::collections::VecDeque;

use super::MAX_BITS;

/// Runs by the way in which they are written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// One by one, in one list.
    pub(super) list: Vec<u64>,
    /// As first and last.
    pub(super) ranges: Vec<(u64, u64)>,
    /// As bits, each bitmap's runs together.
    pub(super) bitmaps: Vec<Vec<(u64, u64)>>,
}

/// The cheapest way up to a run, itself included.
#[derive(Clone, Copy)]
struct Step {
    /// In bits.
    cost: u64,
    /// The index of the run with which its bitmap begins, if it is in one.
    bitmap: Option<usize>,
}

impl Plan {
    /// The plan for these runs, which are in order and neither overlap nor touch.
    pub(super) fn of(runs: &[(u64, u64)]) -> Self {
        let steps = steps(runs);
        let mut plan = Self::default();
        let mut end = runs.len();
        while let Some(index) = end.checked_sub(1) {
            let begin = steps.get(index).and_then(|step| step.bitmap);
            match (begin, runs.get(index)) {
                (Some(begin), _) => {
                    plan.bitmaps.push(runs.get(begin..end).unwrap_or_default().to_vec());
                    end = begin;
                }
                (None, Some(&run)) => {
                    plan.add(run);
                    end = index;
                }
                (None, None) => break,
            }
        }
        plan.list.reverse();
        plan.ranges.reverse();
        plan.bitmaps.reverse();
        plan
    }

    /// Adds a run that is in no bitmap.
    fn add(&mut self, (first, last): (u64, u64)) {
        if last.saturating_sub(first) <= LISTED {
            self.list.extend((first..=last).rev());
        } else {
            self.ranges.push((first, last));
        }
    }
}

fn steps(runs: &[(u64, u64)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(runs.len());
    // Beginnings within reach, each with its key, which rises from front to back.
    let mut begins: VecDeque<(usize, i128)> = VecDeque::new();
    let mut before = 0_u64;
    for (index, &(first, last)) in runs.iter().enumerate() {
        let key = i128::from(before).saturating_sub(i128::from(first));
        while begins.pop_back_if(|(_, other)| *other >= key).is_some() {}
        begins.push_back((index, key));
        let is_far = |begin: usize| {
            runs.get(begin).is_none_or(|(first, _)| last.saturating_sub(*first) >= MAX_BITS)
        };
        while begins.pop_front_if(|(begin, _)| is_far(*begin)).is_some() {}
        let mut step = Step { cost: before.saturating_add(alone(first, last)), bitmap: None };
        if let Some(&(begin, _)) = begins.front() {
            let from = runs.get(begin).map_or(first, |(first, _)| *first);
            let earlier = begin.checked_sub(1).and_then(|earlier| steps.get(earlier));
            let cost = earlier
                .map_or(0, |step| step.cost)
                .saturating_add(bitmap(last.saturating_sub(from)));
            if cost < step.cost {
                step = Step { cost, bitmap: Some(begin) };
            }
        }
        before = step.cost;
        steps.push(step);
    }
    steps
}

/// What a run costs outside a bitmap, in bits.
fn alone(first: u64, last: u64) -> u64 {
    let more = last.saturating_sub(first);
    if more <= LISTED { more.saturating_add(1).saturating_mul(64) } else { RANGE_BITS }
}

/// What a bitmap costs whose last bit is this far from its first, in bits. The byte more than needed keeps its
/// number from being negative.
fn bitmap(reach: u64) -> u64 {
    let bytes = reach.saturating_add(1) / 8;
    bytes.saturating_add(1).saturating_mul(8).saturating_add(BITMAP_BITS)
}

/// Two in a row are shorter in the list than as a range, three are not.
const LISTED: u64 = 1;
/// A section's head (1 + 4 bytes) and two serials.
const RANGE_BITS: u64 = (5 + 16) * 8;
/// A section's head, the first serial, and the bitmap's length.
const BITMAP_BITS: u64 = (5 + 8 + 4) * 8;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may count; an overflow fails it"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cost(plan: &Plan) -> u64 {
        let bitmaps = plan.bitmaps.iter().map(|runs| {
            let (first, last) = (runs[0].0, runs[runs.len() - 1].1);
            bitmap(last - first)
        });
        plan.list.len() as u64 * 64 + plan.ranges.len() as u64 * RANGE_BITS + bitmaps.sum::<u64>()
    }

    #[test]
    fn each_form_is_chosen_where_it_is_the_smallest() {
        assert_eq!(Plan::of(&[]), Plan::default());
        assert_eq!(Plan::of(&[(1, 2), (1 << 40, 1 << 40)]).list, [1, 2, 1 << 40]);
        assert_eq!(Plan::of(&[(5, 100_000)]).ranges, [(5, 100_000)]);
        let spread = |by: u64| (1..=240).map(|n| (n * by, n * by)).collect::<Vec<(u64, u64)>>();
        assert_eq!(Plan::of(&spread(60)).bitmaps, [spread(60)]);
        // A number for each takes 64 bits, and a bitmap would take 70.
        assert_eq!(Plan::of(&spread(70)).list.len(), 240);
        let even: Vec<(u64, u64)> = (1..=100_000).map(|n| (n * 10, n * 10)).collect();
        let plan = Plan::of(&even);
        assert!(cost(&plan) / 8 < 127_000, "{}", cost(&plan) / 8);
    }

    #[test]
    fn no_bitmap_is_longer_than_can_be_read() {
        for (reach, fits) in [(MAX_BITS - 1, true), (MAX_BITS, false)] {
            let mut runs: Vec<(u64, u64)> =
                (0..MAX_BITS / 2 - 4).map(|n| (n * 2 + 1, n * 2 + 1)).collect();
            runs.push((reach + 1, reach + 1));
            let plan = Plan::of(&runs);
            assert_eq!(plan.bitmaps.len(), 1);
            assert_eq!(plan.list.is_empty(), fits, "{reach}");
        }
    }

    /// The same by trying every beginning.
    fn least(runs: &[(u64, u64)]) -> u64 {
        let mut costs = vec![0_u64];
        for (index, &(first, last)) in runs.iter().enumerate() {
            let alone = costs[index] + alone(first, last);
            let within = (0..=index).filter(|begin| last - runs[*begin].0 < MAX_BITS);
            let bitmaps = within.map(|begin| costs[begin] + bitmap(last - runs[begin].0));
            costs.push(bitmaps.fold(alone, u64::min));
        }
        costs[runs.len()]
    }

    proptest! {
        #[test]
        fn every_run_is_planned_once_and_little_is_wasted(
            steps in prop::collection::vec((2..3_000_u64, 0..40_u64), 0..200),
        ) {
            let mut at = 0;
            let runs: Vec<(u64, u64)> = steps
                .iter()
                .map(|(gap, more)| {
                    let first = at + gap;
                    at = first + more;
                    (first, at)
                })
                .collect();
            let plan = Plan::of(&runs);
            let mut planned: Vec<u64> = plan.list.clone();
            let longer = plan.ranges.iter().chain(plan.bitmaps.iter().flatten());
            planned.extend(longer.flat_map(|(first, last)| *first..=*last));
            planned.sort_unstable();
            let meant: Vec<u64> = runs.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(planned, meant);
            for bitmap in &plan.bitmaps {
                prop_assert!(bitmap[bitmap.len() - 1].1 - bitmap[0].0 < MAX_BITS);
            }
            // The key of a beginning leaves the rounding to bytes out: at most a byte a bitmap.
            let waste = cost(&plan) - least(&runs);
            prop_assert!(waste <= 8 * (1 + plan.bitmaps.len() as u64), "{}", waste);
        }
    }
}
