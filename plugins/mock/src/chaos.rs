//! What goes wrong on purpose, and when.
//!
//! The decisions are pure: they follow from the configuration and a [`Dice`]. With a `seed` the dice depends on the
//! function and on how many of its calls went before, so that a run can be had again.

use seawall_sdk::{Error, Millis, Trouble};
use serde::Deserialize;

/// The table `[backend.NAME.config.FUNCTION]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Chaos {
    /// Each call takes this long.
    pub latency: Millis,
    /// And up to this much longer.
    pub jitter: Millis,
    /// This many calls at the beginning fail.
    pub fail_first: u64,
    /// This share of the calls fails, before anything was done.
    pub failure_rate: f64,
    /// This share of the calls does what was asked and then fails: the acknowledgement is lost.
    pub lost_rate: f64,
    /// How calls fail.
    pub error: Failure,
    /// What a failure says about trying again.
    pub retry_after: Option<Millis>,
    /// This share of the answers has nothing in it.
    pub empty_rate: f64,
    /// This share of the workloads is left out of each answer.
    pub missing_rate: f64,
    /// This share of the answers has what is in it in any order.
    pub shuffled_rate: f64,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The engine cannot be reached.
    #[default]
    Unavailable,
    /// A pool is used up.
    Exhausted,
    /// The engine refuses the credentials.
    Denied,
    /// Something is in the way.
    Conflict,
    /// A definite answer that is not true.
    NotFound,
    /// Anything else.
    Other,
    /// No answer at all: the plugin panics.
    Trap,
}

/// What becomes of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    /// How long it waits first, in ms.
    pub delay: u64,
    /// It fails and does nothing.
    pub fails: bool,
    /// It does what was asked, then fails.
    pub loses: bool,
    /// Its answer is empty.
    pub empties: bool,
    /// Its answer is in any order.
    pub shuffles: bool,
}

impl Chaos {
    /// Whether anything depends on chance.
    pub fn needs_dice(&self) -> bool {
        let rates = [self.failure_rate, self.lost_rate, self.empty_rate, self.missing_rate, self.shuffled_rate];
        self.jitter.0 > 0 || rates.into_iter().any(|rate| rate > 0.0)
    }

    /// What becomes of call number `call`, counted from 0. Always draws the same number of times.
    pub fn fate(&self, dice: &mut Dice, call: u64) -> Fate {
        let jitter = dice.below(self.jitter.0.saturating_add(1));
        let fails = dice.hits(self.failure_rate);
        let loses = dice.hits(self.lost_rate);
        let empties = dice.hits(self.empty_rate);
        let shuffles = dice.hits(self.shuffled_rate);
        let delay = self.latency.0.saturating_add(jitter);
        Fate { delay, fails: fails || call < self.fail_first, loses, empties, shuffles }
    }

    /// The error that a failing call answers; `None` if it is to trap.
    pub fn failure(&self, function: &str) -> Option<Error> {
        let message = format!("the mock fails `{function}`, as its configuration asks");
        let retry_after = self.retry_after.map(|millis| millis.0);
        let trouble = |message| Trouble { message, retry_after };
        Some(match self.error {
            Failure::Unavailable => Error::Unavailable(trouble(message)),
            Failure::Exhausted => Error::Exhausted(trouble(message)),
            Failure::Conflict => Error::Conflict(trouble(message)),
            Failure::Denied => Error::Denied(message),
            Failure::NotFound => Error::NotFound(message),
            Failure::Other => Error::Other(message),
            Failure::Trap => return None,
        })
    }
}

/// A small generator of numbers (splitmix64): the same beginning gives the same numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins from all of `parts`.
    pub fn new(parts: &[u64]) -> Self {
        let mut dice = Self(0);
        for part in parts {
            dice.0 ^= part;
            dice.0 = dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Any of so many, which are at least 1.
    pub fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// True in this share of all draws. 0 is never, 1 is always.
    pub fn hits(&mut self, rate: f64) -> bool {
        // 53 bits, as many as an f64 has.
        #[expect(clippy::cast_precision_loss, reason = "both have 53 bits")]
        let draw = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        draw < rate
    }
}

/// A number for a text (FNV-1a), to begin a [`Dice`] from.
pub fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(chaos: &Chaos, seed: u64, calls: u64) -> Vec<Fate> {
        (0..calls).map(|call| chaos.fate(&mut Dice::new(&[seed, number_of("create"), call]), call)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let chaos = Chaos { failure_rate: 0.5, lost_rate: 0.5, jitter: Millis(100), ..Chaos::default() };
        assert_eq!(fates(&chaos, 42, 200), fates(&chaos, 42, 200));
        assert_ne!(fates(&chaos, 42, 200), fates(&chaos, 43, 200));
    }

    #[test]
    fn a_rate_is_the_share_of_calls_that_fail() {
        let share = |rate| {
            let chaos = Chaos { failure_rate: rate, ..Chaos::default() };
            fates(&chaos, 1, 10_000).iter().filter(|fate| fate.fails).count()
        };
        assert_eq!(share(0.0), 0);
        assert_eq!(share(1.0), 10_000);
        assert!((2_700..3_300).contains(&share(0.3)), "{}", share(0.3));
    }

    #[test]
    fn jitter_stays_between_its_bounds_and_reaches_both() {
        let chaos = Chaos { latency: Millis(10), jitter: Millis(3), ..Chaos::default() };
        let mut delays: Vec<_> = fates(&chaos, 1, 200).iter().map(|fate| fate.delay).collect();
        delays.sort_unstable();
        delays.dedup();
        assert_eq!(delays, [10, 11, 12, 13]);
    }

    #[test]
    fn each_of_many_is_picked() {
        let mut dice = Dice::new(&[1]);
        let picked: std::collections::BTreeSet<_> = (0..200).map(|_| dice.pick(5)).collect();
        assert_eq!(picked, (0..5).collect());
        assert!(Chaos { shuffled_rate: 0.5, ..Chaos::default() }.needs_dice());
    }

    #[test]
    fn the_first_calls_fail_and_no_other() {
        let chaos = Chaos { fail_first: 2, ..Chaos::default() };
        let fails: Vec<_> = fates(&chaos, 1, 4).iter().map(|fate| fate.fails).collect();
        assert_eq!(fails, [true, true, false, false]);
        assert!(!chaos.needs_dice());
    }
}
