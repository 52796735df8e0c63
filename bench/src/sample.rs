//! Measurements of one kind, and what can be said of them.

/// Numbers in milliseconds, sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Of measurements in any order.
    pub(crate) fn new(measured: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = measured.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest measurement that is not exceeded by `percent` of them (nearest rank); 0 of none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = self.count().saturating_mul(percent).div_ceil(100).max(1);
        self.0.get(rank.saturating_sub(1)).or(self.0.last()).copied().unwrap_or_default()
    }

    /// The largest; 0 of none.
    pub(crate) fn max(&self) -> f64 {
        self.percentile(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measurement_by_nearest_rank() {
        let sample = Sample::new((1..=200).rev().map(f64::from));
        assert_eq!(sample.percentile(50), 100.0);
        assert_eq!(sample.percentile(99), 198.0);
        assert_eq!(sample.max(), 200.0);
    }

    #[test]
    fn few_measurements_have_percentiles_too() {
        assert_eq!(Sample::new([3.0]).percentile(99), 3.0);
        assert_eq!(Sample::new([3.0, 1.0]).percentile(50), 1.0);
        assert_eq!(Sample::default().max(), 0.0);
    }
}
