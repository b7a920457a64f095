//! How what was observed is spread over buckets.

/// In seconds: from a call into a small plugin to the longest deadline that a call has by default.
pub(super) const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// In units of fuel: from a call that does next to nothing to the largest budget that there is by default.
pub(super) const FUEL: &[f64] = &[1e4, 1e5, 1e6, 1e7, 1e8, 5e8, 1e9, 2e9, 5e9];

/// In bytes: from one page to the most that one memory can grow to by default.
pub(super) const MEMORY: &[f64] =
    &[65_536.0, 262_144.0, 1_048_576.0, 2_097_152.0, 4_194_304.0, 16_777_216.0, 67_108_864.0, 268_435_456.0];

/// Counts by bucket, and the sum. Guarded by whoever has it.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// One more than the bounds: the last has what lies above all of them.
    counts: Vec<u64>,
    pub(super) sum: f64,
}

impl Histogram {
    /// Nothing was observed yet.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    /// So many observations.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bounds, the last one infinite, each with what lies between it and the one before.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        [0.5, 1.0, 1.5, 2.0, 2.5, f64::INFINITY].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.buckets(), [(1.0, 2), (2.0, 2), (f64::INFINITY, 2)]);
        assert_eq!(histogram.count(), 6);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [SECONDS, FUEL, MEMORY] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
