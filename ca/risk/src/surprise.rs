//! How surprising something is, in thousandths of a bit, in whole numbers alone.

/// Thousandths of one session, which is added to every kind so that nothing is impossible.
const ALPHA: u64 = 1_000;

/// The surprise of what weighs `seen` among `weight` of `kinds` different ones, and of one more that was never seen.
pub(crate) fn surprise(seen: u64, (weight, kinds): (u64, u64)) -> u64 {
    let all = weight.saturating_add(kinds.saturating_add(1).saturating_mul(ALPHA));
    log2(all, seen.saturating_add(ALPHA))
}

/// Thousandths of the logarithm of `above / below` to base 2; 0 where it would be less.
fn log2(above: u64, below: u64) -> u64 {
    let one = 1_u128 << FRACTION;
    let Some(mut ratio) = (u128::from(above) << FRACTION).checked_div(u128::from(below)) else {
        return 0;
    };
    if ratio < one {
        return 0;
    }
    let mut whole: u64 = 0;
    while ratio >= one << 1_u32 {
        ratio >>= 1_u32;
        whole = whole.saturating_add(1);
    }
    let mut part: u64 = 0;
    for _ in 0..BITS {
        ratio = ratio.saturating_mul(ratio) >> FRACTION;
        part = part.saturating_mul(2);
        if ratio >= one << 1_u32 {
            ratio >>= 1_u32;
            part = part.saturating_add(1);
        }
    }
    whole.saturating_mul(1_000).saturating_add(part.saturating_mul(1_000) >> BITS)
}

/// What is left of a session of today after a time: half of it after 30 days.
pub(crate) fn decayed(age_secs: u64) -> u64 {
    let days = age_secs / 86_400;
    let halvings = u32::try_from(days / HALF_LIFE).unwrap_or(u32::MAX);
    let place = usize::try_from(days % HALF_LIFE).unwrap_or(0);
    let left = DECAY.get(place).copied().unwrap_or(0);
    left.checked_shr(halvings).unwrap_or(0)
}

const FRACTION: u32 = 40;
const BITS: u32 = 12;
/// In days.
const HALF_LIFE: u64 = 30;
/// Thousandths that are left after this many days: 1000 · 2^(-day/30).
const DECAY: [u64; 30] = [
    1000, 977, 955, 933, 912, 891, 871, 851, 831, 812, 794, 776, 758, 741, 724, 707, 691, 675, 660,
    645, 630, 616, 602, 588, 574, 561, 548, 536, 524, 512,
];

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn logarithms_are_right_to_a_thousandth() {
        for (above, below) in
            [(1_u32, 1_u32), (2, 1), (3, 1), (10, 1), (1_000_000, 7), (168_000, 1_000)]
        {
            let exact = (f64::from(above) / f64::from(below)).log2() * 1_000.0;
            let ours = f64::from(u32::try_from(log2(above.into(), below.into())).unwrap());
            assert!((ours - exact).abs() <= 1.0, "{above}/{below}: {ours} {exact}");
        }
        assert_eq!(log2(1, 2), 0);
        assert_eq!(log2(1, 0), 0);
        assert_eq!(log2(u64::MAX, 1), 63_999);
    }

    #[test]
    fn the_table_halves_in_thirty_days() {
        for (day, left) in (0_u32..).zip(DECAY) {
            let exact = 1_000.0 * 2_f64.powf(-f64::from(day) / 30.0);
            assert!((f64::from(u32::try_from(left).unwrap()) - exact).abs() <= 0.51, "{day}");
        }
        assert_eq!(decayed(30 * 86_400), 500);
        assert_eq!(decayed(60 * 86_400), 250);
        assert_eq!(decayed(u64::MAX), 0);
    }

    proptest! {
        #[test]
        fn what_was_seen_more_is_less_surprising(
            seen in 0u64..1_000_000, more in 0u64..1_000_000, weight in 2_000_000u64..4_000_000, kinds in 0u64..200,
        ) {
            prop_assert!(surprise(seen + more, (weight, kinds)) <= surprise(seen, (weight, kinds)));
            prop_assert!(decayed(seen + more) <= decayed(seen));
        }
    }
}
