//! Delays between tries: exponential, with full jitter (E5).

use std::time::Duration;

use crate::Backoff;

impl Backoff {
    /// What to wait after the `failures`-th failure in a row (from 1): uniform in zero to `first * 2^(failures - 1)`,
    /// the latter at most `most`. `jitter` is the draw, from 0 to 1.
    pub(crate) fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).and_then(|factor| self.first.checked_mul(factor));
        doubled.unwrap_or(self.most).min(self.most).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(300) };

    #[test]
    fn it_doubles_up_to_the_most() {
        let seconds: Vec<_> = (0..12).map(|failures| BACKOFF.delay(failures, 1.0).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_zero_and_the_computed_delay(failures: u32, jitter in 0.0..=1.0_f64) {
            prop_assert!(BACKOFF.delay(failures, jitter) <= BACKOFF.delay(failures, 1.0));
            prop_assert_eq!(BACKOFF.delay(failures, 0.0), Duration::ZERO);
            prop_assert!(BACKOFF.delay(failures, 1.0) <= BACKOFF.most);
        }
    }
}
