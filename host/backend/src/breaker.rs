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
//! Health checks ask no leave of the breaker ([`Breaker::check`]), so that an operator always sees the engine's real
//! answer. One that began after the breaker opened and was answered leads to half-open at once: the engine answers, and
//! the next real calls decide. In every other state a check's end means nothing here.
//!
//! Owns no task: open becomes half-open when somebody asks after the time is up.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_model::SessionId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::changes::{Change, Changes};
use crate::stack::Refuse;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BreakerConfig {
    /// So many failures in a row open it. Default 5.
    pub failures: u32,
    /// So long it stays open. Default 30 s.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub open_for: Duration,
    /// So many successes in half-open close it. Default 2.
    pub successes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30), successes: 2 }
    }
}

impl BreakerConfig {
    pub(crate) fn check(&self, refuse: Refuse<'_>) {
        if self.failures == 0 {
            refuse("breaker.failures", "at least 1");
        }
        if self.successes == 0 {
            refuse("breaker.successes", "at least 1");
        }
        if self.open_for < Duration::from_millis(10) || self.open_for > Duration::from_secs(3600) {
            refuse("breaker.open-for", "between 10ms and 1h");
        }
    }
}

/// The state that others see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls flow.
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call at a time is let in, to find out.
    HalfOpen,
}

impl BreakerState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What the end of a call says about the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered. "Not found" and its like are answers.
    Success,
    /// It did not.
    Failure(Failure),
    /// Nothing: the pool was full, or the host itself failed.
    Nothing,
}

/// A call that the backend did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// What was called.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub function: Cow<'static, str>,
    /// The session that the call was about, if it was about one and its plugin failed rather than the engine. A failure
    /// that one session explains counts once however often that session repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<SessionId>,
    /// How it failed.
    pub reason: String,
}

/// A breaker as `backend inspect` and `why` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BreakerStatus {
    /// The state now.
    pub state: BreakerState,
    /// For so long.
    #[serde(with = "humantime_serde")]
    #[cfg_attr(feature = "schema", schema(value_type = seawall_model::schema::Span))]
    pub lasted: Duration,
    /// While it is open: the next call is let in after this.
    #[serde(default, with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<seawall_model::schema::Span>))]
    pub retry_after: Option<Duration>,
    /// While it is closed: failures in a row, each session's counted once.
    pub failures: u32,
    /// Opens it at so many.
    pub opens_at: u32,
    /// The newest failure. Absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
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
    since: Instant,
    last_failure: Option<Failure>,
}

/// After so long the call that is finding out may be over. Anything shorter would have those who wait ask in a loop.
const FINDING_OUT: Duration = Duration::from_secs(1);

/// One backend's breaker. A clone is the same breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    inner: Arc<Mutex<Inner>>,
    changes: Changes,
}

impl Breaker {
    /// A closed one, which tells its changes of state there.
    pub fn new(config: BreakerConfig, changes: Changes) -> Self {
        let inner = Inner { state: State::closed(), generation: 0, since: Instant::now(), last_failure: None };
        Self { config, inner: Arc::new(Mutex::new(inner)), changes }
    }

    /// The state now.
    pub fn state(&self) -> BreakerState {
        self.lock().state.seen()
    }

    /// Everything that is to be shown of it.
    pub fn status(&self) -> BreakerStatus {
        self.status_of(&self.lock())
    }

    fn status_of(&self, inner: &Inner) -> BreakerStatus {
        let now = Instant::now();
        let (retry_after, failures) = match &inner.state {
            State::Closed { anonymous, culprits } => (None, anonymous.saturating_add(count(culprits))),
            State::Open { until } => (Some(until.saturating_duration_since(now)), 0),
            State::HalfOpen { .. } => (None, 0),
        };
        BreakerStatus {
            state: inner.state.seen(),
            lasted: millis(now.saturating_duration_since(inner.since)),
            retry_after: retry_after.map(millis),
            failures,
            opens_at: self.config.failures,
            last_failure: inner.last_failure.clone(),
        }
    }

    /// Would a call be let in? Takes no place and changes nothing: asked before the caller waits for a permit, so that
    /// an open breaker answers at once (E15).
    ///
    /// # Errors
    /// It is open, or somebody else is finding out.
    pub fn ask(&self) -> Result<(), Open> {
        match &self.lock().state {
            State::Closed { .. } | State::HalfOpen { probing: false, .. } => Ok(()),
            State::HalfOpen { probing: true, .. } => Err(Open { retry_after: FINDING_OUT }),
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
                return Err(Open { retry_after: FINDING_OUT });
            }
            *probing = true;
        }
        Ok(Admission { breaker: self.clone(), generation: inner.generation, settled: false })
    }

    /// A health check begins. It needs no leave.
    pub fn check(&self) -> Check {
        Check { breaker: self.clone(), generation: self.lock().generation }
    }

    fn settle(&self, generation: u64, verdict: Verdict) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        if let Verdict::Failure(failure) = &verdict {
            inner.last_failure = Some(failure.clone());
        }
        match (&mut inner.state, verdict) {
            (State::Closed { anonymous, culprits }, Verdict::Success) => {
                *anonymous = 0;
                culprits.clear();
            }
            (State::Closed { anonymous, culprits }, Verdict::Failure(failure)) => {
                match failure.culprit {
                    Some(session) => _ = culprits.insert(session),
                    None => *anonymous = anonymous.saturating_add(1),
                }
                if anonymous.saturating_add(count(culprits)) >= self.config.failures {
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
            (State::HalfOpen { .. }, Verdict::Failure(_)) => self.open(&mut inner),
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
        inner.since = Instant::now();
        // Under the lock: changes are told in their order.
        self.changes.tell(Change::Breaker(self.status_of(inner)));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under this lock; were it poisoned, its state would still be whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(culprits: &BTreeSet<SessionId>) -> u32 {
    u32::try_from(culprits.len()).unwrap_or(u32::MAX)
}

/// Nobody reads microseconds of half a minute. Rounded up, so that what is left is not zero before it is over.
pub(crate) fn millis(duration: Duration) -> Duration {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// A health check under way.
#[derive(Debug)]
pub struct Check {
    breaker: Breaker,
    generation: u64,
}

impl Check {
    /// The engine answered, and well. If the breaker has been open since before the check began, calls are let in.
    pub fn answered(self) {
        let mut inner = self.breaker.lock();
        if inner.generation == self.generation && matches!(inner.state, State::Open { .. }) {
            self.breaker.change(&mut inner, State::HalfOpen { probing: false, successes: 0 });
        }
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
    pub fn settle(mut self, verdict: Verdict) {
        self.settled = true;
        self.breaker.settle(self.generation, verdict);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(self.generation, Verdict::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURE: Verdict =
        Verdict::Failure(Failure { function: Cow::Borrowed("inspect"), culprit: None, reason: String::new() });

    fn faulted_about(session: &SessionId) -> Verdict {
        let culprit = Some(session.clone());
        Verdict::Failure(Failure { function: "inspect".into(), culprit, reason: "trapped".to_owned() })
    }

    fn breaker() -> Breaker {
        let config = BreakerConfig { failures: 3, open_for: Duration::from_secs(30), successes: 2 };
        Breaker::new(config, Changes::default())
    }

    fn end(breaker: &Breaker, verdict: Verdict) {
        breaker.admit().unwrap().settle(verdict);
    }

    async fn half_open(breaker: &Breaker) {
        for _ in 0..3 {
            end(breaker, FAILURE);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = breaker();
        for verdict in [FAILURE, FAILURE, Verdict::Success, FAILURE, FAILURE] {
            end(&breaker, verdict);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        end(&breaker, FAILURE);
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
        first.settle(Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        end(&breaker, Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_for_the_whole_time_again() {
        let breaker = breaker();
        half_open(&breaker).await;
        end(&breaker, FAILURE);
        assert_eq!(breaker.ask(), Err(Open { retry_after: Duration::from_secs(30) }));
    }

    /// E1.
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

    /// E13.
    #[tokio::test(start_paused = true)]
    async fn a_late_result_of_an_earlier_state_changes_nothing() {
        let breaker = breaker();
        let late_success = breaker.admit().unwrap();
        let late_failure = breaker.admit().unwrap();
        half_open(&breaker).await;
        let probe = breaker.admit().unwrap();
        late_failure.settle(FAILURE);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        late_success.settle(Verdict::Success);
        assert!(breaker.admit().is_err(), "a late result freed the probe's place");
        probe.settle(Verdict::Success);
        end(&breaker, Verdict::Success);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// E14.
    #[tokio::test(start_paused = true)]
    async fn what_is_nobodys_failure_counts_as_nothing() {
        let breaker = breaker();
        for _ in 0..100 {
            end(&breaker, Verdict::Nothing);
            drop(breaker.admit().unwrap());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_poisonous_session_never_opens_it_and_several_do() {
        let breaker = breaker();
        let poisonous = SessionId::random();
        for _ in 0..100 {
            end(&breaker, faulted_about(&poisonous));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..2 {
            end(&breaker, faulted_about(&SessionId::random()));
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn every_change_is_told_with_what_led_to_it() {
        let breaker = breaker();
        let mut changes = breaker.changes.subscribe();
        half_open(&breaker).await;
        end(&breaker, Verdict::Success);
        end(&breaker, Verdict::Success);
        let mut told = Vec::new();
        while let Ok(Change::Breaker(status)) = changes.try_recv() {
            told.push((status.state, status.last_failure.map(|failure| failure.function)));
        }
        let inspect = || Some(Cow::Borrowed("inspect"));
        let states = [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed];
        assert_eq!(told, states.map(|state| (state, inspect())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_is_answered_lets_calls_in_before_the_time_is_up() {
        let breaker = breaker();
        for _ in 0..3 {
            end(&breaker, FAILURE);
        }
        breaker.check().answered();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        // A check decides nothing more: neither frees the place of the call that does, nor closes.
        let call = breaker.admit().unwrap();
        for _ in 0..10 {
            breaker.check().answered();
        }
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.ask().is_err(), "a check freed the place of a call");
        call.settle(FAILURE);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    /// E13, for checks.
    #[tokio::test(start_paused = true)]
    async fn a_check_from_before_the_breaker_opened_changes_nothing() {
        let breaker = breaker();
        let while_closed = breaker.check();
        for _ in 0..3 {
            end(&breaker, FAILURE);
        }
        while_closed.answered();
        assert_eq!(breaker.state(), BreakerState::Open);
        let while_open = breaker.check();
        breaker.check().answered();
        end(&breaker, FAILURE);
        // It began in an earlier opening than this one.
        while_open.answered();
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn checks_that_are_not_answered_mean_nothing() {
        let breaker = breaker();
        for _ in 0..100 {
            drop(breaker.check());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        half_open(&breaker).await;
        let generation = breaker.lock().generation;
        drop(breaker.check());
        assert_eq!(breaker.lock().generation, generation);
    }

    #[tokio::test(start_paused = true)]
    async fn its_status_says_how_far_it_is() {
        let breaker = breaker();
        end(&breaker, FAILURE);
        end(&breaker, faulted_about(&SessionId::random()));
        assert_eq!((breaker.status().failures, breaker.status().opens_at), (2, 3));
        end(&breaker, FAILURE);
        tokio::time::advance(Duration::from_secs(12)).await;
        let status = breaker.status();
        assert_eq!((status.state, status.lasted), (BreakerState::Open, Duration::from_secs(12)));
        assert_eq!(status.retry_after, Some(Duration::from_secs(18)));
    }
}
