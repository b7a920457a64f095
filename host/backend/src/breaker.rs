//! A circuit breaker: stops asking a backend that does not answer, and finds out when it does again.
//!
//! ```text
//!             `failures` in a row                      `open_for` has passed
//!   closed ------------------------> open ------------------------------------> half-open
//!     ^                               ^                                          |   |
//!     |                               `------------- one failure ----------------'   |
//!     `------------------------------- `successes` in a row -------------------------'
//! ```
//!
//! "Closed" is the good state: the circuit is closed and calls flow. In half-open one call is let in at a time.
//!
//! Every change of state starts a new *generation*. A call is admitted in a generation, and its end counts only while
//! that generation lasts: a result from before the breaker changed its mind changes nothing. An admission that is
//! dropped without a verdict (its caller was cancelled, or it panicked) gives its place back and counts as nothing.
//!
//! Owns no task: open becomes half-open when somebody asks after the time is up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_model::SessionId;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BreakerConfig {
    /// So many failures in a row open it. Default 5.
    pub failures: u32,
    /// So long it stays open. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    /// So many successes in half-open close it. Default 2.
    pub successes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30), successes: 2 }
    }
}

/// The state that others see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls flow.
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call at a time is let in, to find out.
    HalfOpen,
}

/// What the end of a call says about the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered. "Not found" and its like are answers.
    Success,
    /// It did not. A failure that one session explains counts once however often that session repeats it.
    Failure {
        /// The session that the call was about, if it was about one and its plugin failed rather than the engine.
        culprit: Option<SessionId>,
    },
    /// Nothing: the pool was full, or the host itself failed.
    Nothing,
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

#[derive(Debug)]
enum State {
    Closed { anonymous: u32, culprits: BTreeSet<SessionId> },
    Open { until: Instant },
    HalfOpen { probing: bool, successes: u32 },
}

impl State {
    fn closed() -> Self {
        Self::Closed { anonymous: 0, culprits: BTreeSet::new() }
    }

    fn seen(&self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[derive(Debug)]
struct Inner {
    state: State,
    generation: u64,
}

/// One backend's breaker. A clone is the same breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    inner: Arc<Mutex<Inner>>,
    changes: broadcast::Sender<BreakerState>,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Self {
        let (changes, _) = broadcast::channel(16);
        Self { config, inner: Arc::new(Mutex::new(Inner { state: State::closed(), generation: 0 })), changes }
    }

    /// The state now.
    pub fn state(&self) -> BreakerState {
        self.lock().state.seen()
    }

    /// Every change of state from now on. A subscriber that is 16 changes behind is told that it missed some.
    pub fn subscribe(&self) -> broadcast::Receiver<BreakerState> {
        self.changes.subscribe()
    }

    /// Would a call be let in? Takes no place and changes nothing: asked before the caller waits for a permit, so that
    /// an open breaker answers at once (E15).
    ///
    /// # Errors
    /// It is open, or somebody else is finding out.
    pub fn ask(&self) -> Result<(), Open> {
        match &self.lock().state {
            State::Closed { .. } | State::HalfOpen { probing: false, .. } => Ok(()),
            State::HalfOpen { probing: true, .. } => Err(Open { retry_after: Duration::ZERO }),
            State::Open { until } => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Err(Open { retry_after: left }),
                _ => Ok(()),
            },
        }
    }

    /// Lets a call in. Settle the admission when the call has ended.
    ///
    /// # Errors
    /// It is open, or half-open with a probe in flight.
    pub fn admit(&self) -> Result<Admission, Open> {
        let mut inner = self.lock();
        if let State::Open { until } = inner.state {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => return Err(Open { retry_after: left }),
                _ => self.change(&mut inner, State::HalfOpen { probing: false, successes: 0 }),
            }
        }
        if let State::HalfOpen { probing, .. } = &mut inner.state {
            if *probing {
                return Err(Open { retry_after: Duration::ZERO });
            }
            *probing = true;
        }
        Ok(Admission { breaker: self.clone(), generation: inner.generation, settled: false })
    }

    fn settle(&self, generation: u64, verdict: &Verdict) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        match (&mut inner.state, verdict) {
            (State::Closed { anonymous, culprits }, Verdict::Success) => {
                *anonymous = 0;
                culprits.clear();
            }
            (State::Closed { anonymous, culprits }, Verdict::Failure { culprit }) => {
                match culprit {
                    Some(session) => _ = culprits.insert(session.clone()),
                    None => *anonymous += 1,
                }
                let failures = u64::from(*anonymous) + culprits.len() as u64;
                if failures >= u64::from(self.config.failures) {
                    self.open(&mut inner);
                }
            }
            (State::HalfOpen { probing, successes }, Verdict::Success) => {
                *probing = false;
                *successes += 1;
                if *successes >= self.config.successes {
                    self.change(&mut inner, State::closed());
                }
            }
            (State::HalfOpen { .. }, Verdict::Failure { .. }) => self.open(&mut inner),
            (State::HalfOpen { probing, .. }, Verdict::Nothing) => *probing = false,
            // No admission is given while open, and `Nothing` counts as nothing.
            (State::Open { .. }, _) | (State::Closed { .. }, Verdict::Nothing) => {}
        }
    }

    fn open(&self, inner: &mut Inner) {
        self.change(inner, State::Open { until: Instant::now() + self.config.open_for });
    }

    fn change(&self, inner: &mut Inner, state: State) {
        inner.generation += 1;
        inner.state = state;
        // Nobody listening is no error.
        _ = self.changes.send(inner.state.seen());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under this lock; were it poisoned, its state would still be whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let in. Dropped without [`settle`](Self::settle), it gives its place back and counts as nothing.
#[derive(Debug)]
#[must_use = "an admission that is dropped at once lets nothing in"]
pub struct Admission {
    breaker: Breaker,
    generation: u64,
    settled: bool,
}

impl Admission {
    /// The call has ended.
    pub fn settle(mut self, verdict: &Verdict) {
        self.settled = true;
        self.breaker.settle(self.generation, verdict);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(self.generation, &Verdict::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURE: Verdict = Verdict::Failure { culprit: None };

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig { failures: 3, open_for: Duration::from_secs(30), successes: 2 })
    }

    fn end(breaker: &Breaker, verdict: &Verdict) {
        breaker.admit().unwrap().settle(verdict);
    }

    async fn half_open(breaker: &Breaker) {
        for _ in 0..3 {
            end(breaker, &FAILURE);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = breaker();
        for verdict in [&FAILURE, &FAILURE, &Verdict::Success, &FAILURE, &FAILURE] {
            end(&breaker, verdict);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        end(&breaker, &FAILURE);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.ask(), Err(Open { retry_after: Duration::from_secs(30) }));
        assert!(breaker.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_in_and_two_successes_close_it() {
        let breaker = breaker();
        half_open(&breaker).await;
        let first = breaker.admit().unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().is_err() && breaker.ask().is_err(), "a second probe was let in");
        first.settle(&Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        end(&breaker, &Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_for_the_whole_time_again() {
        let breaker = breaker();
        half_open(&breaker).await;
        end(&breaker, &FAILURE);
        assert_eq!(breaker.ask(), Err(Open { retry_after: Duration::from_secs(30) }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_or_panicked_probe_gives_its_place_back() {
        let breaker = breaker();
        half_open(&breaker).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.ask().is_ok());

        let inside = breaker.clone();
        let panicked = tokio::spawn(async move {
            let _admission = inside.admit().unwrap();
            panic!("as a defect of the host would");
        });
        assert!(panicked.await.unwrap_err().is_panic());
        assert!(breaker.admit().is_ok(), "the place was lost with the panic");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_result_of_an_earlier_state_changes_nothing() {
        let breaker = breaker();
        let late_success = breaker.admit().unwrap();
        let late_failure = breaker.admit().unwrap();
        half_open(&breaker).await;
        let probe = breaker.admit().unwrap();
        late_failure.settle(&FAILURE);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        late_success.settle(&Verdict::Success);
        assert!(breaker.admit().is_err(), "a late result freed the probe's place");
        probe.settle(&Verdict::Success);
        end(&breaker, &Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_nobodys_failure_counts_as_nothing() {
        let breaker = breaker();
        for _ in 0..100 {
            end(&breaker, &Verdict::Nothing);
            drop(breaker.admit().unwrap());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_poisonous_session_never_opens_it_and_several_do() {
        let breaker = breaker();
        let poisonous = Verdict::Failure { culprit: Some(SessionId::random()) };
        for _ in 0..100 {
            end(&breaker, &poisonous);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..2 {
            end(&breaker, &Verdict::Failure { culprit: Some(SessionId::random()) });
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn every_change_is_told() {
        let breaker = breaker();
        let mut changes = breaker.subscribe();
        half_open(&breaker).await;
        end(&breaker, &Verdict::Success);
        end(&breaker, &Verdict::Success);
        let mut told = Vec::new();
        while let Ok(state) = changes.try_recv() {
            told.push(state);
        }
        assert_eq!(told, [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed]);
    }
}
