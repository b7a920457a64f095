//! How often a watch may have the host look.
//!
//! Looks are paid for from a bucket that holds [`BURST`] and gains [`A_SECOND`]; one at every session costs [`FULL`] times
//! as much as one at those that were named. So the deaths of a few sessions are seen at once, and a watch that wakes all
//! the time costs ten looks a second, or one at every session. Two looks are [`APART`] at least: what is told meanwhile is
//! looked at together.

use std::time::Duration;

use tokio::time::Instant;

/// Looks that may follow each other.
const BURST: f64 = 50.0;
/// Looks in each second when these are used up.
const A_SECOND: f64 = 10.0;
/// What a look at every session costs.
pub(crate) const FULL: f64 = 10.0;
/// Between two looks.
const APART: Duration = Duration::from_millis(20);

/// What looks are paid for from.
#[derive(Debug)]
pub(crate) struct Pace {
    tokens: f64,
    /// When there were so many.
    at: Instant,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: BURST, at: now, next: now }
    }

    /// The next look is not sooner.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Pays for a look. It may leave a debt, and then the next one waits until that is paid back.
    pub(crate) fn pay(&mut self, now: Instant, price: f64) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * A_SECOND;
        self.tokens = (self.tokens + gained).min(BURST) - price;
        self.at = now;
        self.next = now + Duration::from_secs_f64((-self.tokens).max(0.0) / A_SECOND).max(APART);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The looks at this price within so many seconds, each as soon as it may be.
    fn looks(price: f64, seconds: u64) -> u64 {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let mut looks = 0;
        while pace.next() < begin + Duration::from_secs(seconds) {
            pace.pay(pace.next(), price);
            looks += 1;
        }
        looks
    }

    #[test]
    fn a_burst_is_looked_at_at_once_and_a_flood_at_a_bounded_rate() {
        assert!((50..=62).contains(&looks(1.0, 1)), "{}", looks(1.0, 1));
        let minutes = |price| looks(price, 660) - looks(price, 60);
        assert!((5990..=6010).contains(&minutes(1.0)), "{}", minutes(1.0));
        assert!((598..=602).contains(&minutes(FULL)), "{}", minutes(FULL));
        assert_eq!(looks(0.0, 1), 50, "what costs nothing is 20 ms apart");
    }

    #[test]
    fn a_look_after_silence_does_not_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..200 {
            pace.pay(pace.next(), FULL);
        }
        let later = pace.next() + Duration::from_secs(10);
        pace.pay(later, 1.0);
        assert_eq!(pace.next(), later + APART);
    }
}
