//! The time, for code that is tested with a paused clock.

use std::time::Duration;

use seawall_model::Timestamp;
use tokio::time::Instant;

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The system's: follows corrections, and time spent suspended.
    System,
    /// Follows tokio's clock from a fixed start, hence stands still where that does.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests with a paused clock"))]
    Tokio {
        /// The time at `since`.
        base: Timestamp,
        /// Where it began.
        since: Instant,
    },
    /// The same, put forward or back meanwhile by so many milliseconds.
    #[cfg(test)]
    Stepped {
        /// The time at `since`.
        base: Timestamp,
        /// Where it began.
        since: Instant,
        /// How far it is off.
        by: &'static std::sync::atomic::AtomicI64,
    },
}

/// Nobody sleeps longer in one go, so that a corrected system clock is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(30);

impl Clock {
    /// Now.
    pub(crate) fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { base, since } => base + since.elapsed(),
            #[cfg(test)]
            Self::Stepped { base, since, by } => {
                let by = by.load(std::sync::atomic::Ordering::SeqCst);
                Timestamp::from_millis((base + since.elapsed()).as_millis().saturating_add_signed(by))
            }
        }
    }

    /// Sleeps until `at`, or for a while if that is far off: callers look at the clock again. Cancel-safe.
    pub(crate) async fn sleep_towards(self, at: Timestamp) {
        tokio::time::sleep(at.since(self.now()).min(LONGEST_NAP)).await;
    }
}
