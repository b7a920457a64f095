//! Trying again: idempotent calls only, only what is `unavailable`, with full jitter, and never past the caller's
//! deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::Error;
use crate::stack::Refuse;

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetryConfig {
    /// Tries after the first. Default 2.
    pub retries: u32,
    /// The first backoff; each further one is twice as long. Default 100 ms.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub backoff: Duration,
    /// No backoff is longer. Default 2 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub max_backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { retries: 2, backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2) }
    }
}

impl RetryConfig {
    pub(crate) fn check(&self, refuse: Refuse<'_>) {
        if self.retries > 100 {
            refuse("retry.retries", "at most 100");
        }
        if self.backoff < Duration::from_millis(1) || self.backoff > self.max_backoff {
            refuse("retry.backoff", "at least 1ms, and at most `max-backoff`");
        }
        if self.max_backoff > Duration::from_secs(3600) {
            refuse("retry.max-backoff", "at most 1h");
        }
    }

    /// The longest wait before retry number `retry`, from 0.
    fn ceiling(&self, retry: u32) -> Duration {
        self.backoff.saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX)).min(self.max_backoff)
    }
}

/// Uniform in [0, `ceiling`] (E5). Full jitter: callers that failed together do not come back together.
pub fn full_jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(rand::random_range(0.0..=1.0))
}

/// Makes `call` until it answers, cannot be retried, or there is no time for another wait before `until`.
///
/// # Errors
/// The last answer.
pub async fn retrying<T, F>(
    config: &RetryConfig,
    function: &'static str,
    until: Instant,
    mut call: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for retry in 0..config.retries {
        let answer = call().instrument(span(function, retry)).await;
        let Err(Error::Unavailable { retry_after, message }) = &answer else { return answer };
        let wait = full_jitter(config.ceiling(retry)).max(retry_after.unwrap_or_default());
        if Instant::now() + wait >= until {
            return answer;
        }
        tracing::info!(function, number = retry + 1, ?wait, message, "unavailable, trying again");
        tokio::time::sleep(wait).await;
    }
    call().instrument(span(function, config.retries)).await
}

/// Each try has a span of its own, so that what happens in it is told from what happened in the one before.
fn span(function: &'static str, retry: u32) -> tracing::Span {
    tracing::debug_span!("try", function, number = retry.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const CONFIG: RetryConfig =
        RetryConfig { retries: 2, backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2) };

    async fn tries(error: Error, until: Duration) -> u32 {
        let tries = Cell::new(0);
        let result: Result<(), _> = retrying(&CONFIG, "check", Instant::now() + until, || {
            tries.set(tries.get() + 1);
            std::future::ready(Err(error.clone()))
        })
        .await;
        assert_eq!(result, Err(error));
        tries.get()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_unavailable_is_tried_again() {
        let minute = Duration::from_secs(60);
        assert_eq!(tries(Error::unavailable("away"), minute).await, 3);
        for answer in [Error::NotFound("x".into()), Error::conflict("x"), Error::Other("x".into())] {
            assert_eq!(tries(answer, minute).await, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_goes_past_the_callers_deadline() {
        let begun = Instant::now();
        let later = Error::Unavailable { message: "away".into(), retry_after: Some(Duration::from_secs(5)) };
        assert_eq!(tries(later, Duration::from_secs(4)).await, 1);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    /// E5.
    #[test]
    fn jitter_is_uniform_from_zero_to_the_ceiling() {
        let ceiling = Duration::from_secs(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..20_000 {
            let wait = full_jitter(ceiling);
            assert!(wait <= ceiling);
            let tenth = (wait.as_secs_f64() * 10.0) as usize;
            tenths[tenth.min(9)] += 1;
        }
        // 2,000 are expected in each; ten standard deviations are 424.
        assert!(tenths.iter().all(|&n| (1576..=2424).contains(&n)), "{tenths:?}");
    }

    #[test]
    fn the_ceiling_doubles_up_to_its_own() {
        let millis: Vec<_> = (0..7).map(|retry| CONFIG.ceiling(retry).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(CONFIG.ceiling(u32::MAX), CONFIG.max_backoff);
    }
}
