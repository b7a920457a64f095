//! The watch of one backend: what it tells of changes becomes looks before the next sweep is due.
//!
//! ```text
//!               opened: one full look                  ended or broke
//!   opening --------------------------> watching --------------------------> backoff
//!      ^  `-- cannot be opened ----------------------------------------------->  |
//!      `----------------------------- after the delay ---------------------------'
//!   unsupported: it has none, or says so; then nobody asks again
//! ```
//!
//! One task a backend that exports `watch`. Nothing is taken from a watch but when to look: what it says of a session is
//! not believed, and of one that is not there, or not of that incarnation, not even looked at. So one that lags, breaks or
//! hangs costs time, and the sweeps go on as if it were not there. What happened while there was none was missed, hence
//! the full look after each opening.
//!
//! What was named is looked at twice, at once and a moment later. A watch that wakes all the time costs a bounded number of looks, and of wakes that are heard: see `pace.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seawall_backend::{Error, ExecutionBackend as _, Wake, Wakes, trace};
use seawall_model::{SessionId, Timestamp, TraceId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::backend::{Backend, call};
use crate::core::Core;
use crate::events::{Kind, of_backend};
use crate::pace::{FULL, Pace};

/// One that was open for so long is well: its next failure is the first again.
const STEADY: Duration = Duration::from_secs(10);
/// What was told of is looked at once more after this: Docker tells of a pause before its own listing shows it.
const AGAIN: Duration = Duration::from_millis(100);
/// Wakes between two looks; more are not heard before the look.
const MOST: usize = 250;
/// What is shown of an error.
const SHOWN: usize = 500;

/// How a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// The backend has none: what changes is seen by the sweeps.
    Unsupported,
    /// It is being opened.
    Opening,
    /// It is open.
    Watching,
    /// It broke or could not be opened, and will be tried again.
    Backoff,
}

impl WatchState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unsupported, Self::Opening, Self::Watching, Self::Backoff];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Opening => "opening",
            Self::Watching => "watching",
            Self::Backoff => "backoff",
        }
    }
}

impl fmt::Display for WatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The watch of a backend, as `backend inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WatchStatus {
    /// How it is.
    pub state: WatchState,
    /// Since when.
    pub since: Timestamp,
    /// So often it said that something may have changed.
    pub wakes: u64,
    /// So often it was opened.
    pub openings: u64,
    /// How it broke at last, or why it could not be opened. Absent: neither happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl WatchStatus {
    pub(crate) fn new(exported: bool, now: Timestamp) -> Self {
        let state = if exported { WatchState::Opening } else { WatchState::Unsupported };
        Self { state, since: now, wakes: 0, openings: 0, error: None, retry_at: None }
    }

    fn become_so(&mut self, state: WatchState, now: Timestamp) {
        (self.state, self.since, self.retry_at) = (state, now, None);
    }
}

/// What was told between two looks.
#[derive(Debug, Default)]
struct Told {
    sessions: BTreeSet<SessionId>,
    /// Those that were told of before, and are looked at once more.
    again: BTreeSet<SessionId>,
    all: bool,
    wakes: usize,
}

pub(crate) struct Watcher {
    core: Arc<Core>,
    backend: Arc<Backend>,
    pace: Pace,
    /// When to look once more, and at what.
    again: Option<(Instant, BTreeSet<SessionId>)>,
    /// Openings in a row that came to nothing, or not to much.
    failures: u32,
    /// The journal says that it is lost.
    lost: bool,
}

impl Watcher {
    pub(crate) fn new(core: Arc<Core>, backend: Arc<Backend>) -> Self {
        Self { core, backend, pace: Pace::new(Instant::now()), again: None, failures: 0, lost: false }
    }

    /// Until the backend is stopped.
    pub(crate) async fn run(mut self) {
        let backend = Arc::clone(&self.backend);
        // Cancel-safe: what was told and not looked at yet is seen by the next sweep.
        tokio::select! {
            biased;
            () = backend.stopping() => {}
            () = self.open_again_and_again() => {}
        }
    }

    async fn open_again_and_again(&mut self) {
        loop {
            self.be(WatchState::Opening);
            let why = match self.open().await {
                Ok(wakes) => self.watch(wakes).await,
                Err(error @ Error::Unsupported(_)) => {
                    self.backend.with_watch(|watch| watch.error = Some(error.to_string()));
                    self.be(WatchState::Unsupported);
                    return;
                }
                Err(error) => error.to_string(),
            };
            self.wait(why).await;
        }
    }

    fn be(&self, state: WatchState) {
        let now = self.core.clock.now();
        self.backend.with_watch(|watch| watch.become_so(state, now));
    }

    async fn open(&self) -> Result<Wakes, Error> {
        let opened = call("watch.open", self.backend.driver.watch());
        let span = || tracing::debug_span!("watch", backend = %self.backend.name);
        trace::piece(TraceId::random(), span, opened).await
    }

    /// Until it ends or breaks; says how.
    async fn watch(&mut self, wakes: Wakes) -> String {
        let now = self.core.clock.now();
        self.backend.with_watch(|watch| {
            watch.become_so(WatchState::Watching, now);
            watch.openings = watch.openings.saturating_add(1);
        });
        let mut told = Told { all: true, wakes: 1, ..Told::default() };
        // A panic in a stream is the end of that stream.
        let mut wakes = AssertUnwindSafe(wakes).catch_unwind();
        let steady_at = Instant::now() + STEADY;
        let mut steady = false;
        let why = loop {
            let again = self.again.as_ref().map(|(at, _)| *at);
            // Cancel-safe, all: what a stream was not asked to the end for, it still has.
            let next = tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.pace.next()), if told.wakes > 0 => {
                    self.look(std::mem::take(&mut told));
                    continue;
                }
                () = tokio::time::sleep_until(again.unwrap_or(steady_at)), if again.is_some() => {
                    told.again.extend(self.again.take().into_iter().flat_map(|(_, sessions)| sessions));
                    told.wakes += 1;
                    continue;
                }
                () = tokio::time::sleep_until(steady_at), if !steady => {
                    steady = true;
                    self.is_well().await;
                    continue;
                }
                next = wakes.next(), if told.wakes < MOST => next,
            };
            match next {
                Some(Ok(Ok(wake))) => self.hear(wake, &mut told),
                Some(Ok(Err(error))) => break error.to_string(),
                Some(Err(_)) => break "it panicked in the host: this is a defect of Seawall".to_owned(),
                None => break "it ended".to_owned(),
            }
        };
        self.look(told);
        why
    }

    fn hear(&self, wake: Wake, told: &mut Told) {
        self.backend.with_watch(|watch| watch.wakes = watch.wakes.saturating_add(1));
        told.wakes += 1;
        match wake {
            Wake::Any => told.all = true,
            Wake::Workload(session, incarnation) => {
                let entry = self.core.sessions.get(&session).filter(|entry| entry.backend == self.backend.name);
                if entry.is_some_and(|entry| entry.with(|cell| cell.record.incarnation == incarnation)) {
                    told.sessions.insert(session);
                }
            }
        }
    }

    fn look(&mut self, told: Told) {
        let Told { sessions, again, all, .. } = told;
        let now = Instant::now();
        if all {
            self.pace.pay(now, FULL);
            self.backend.hints.wake_all();
        } else if sessions.is_empty() && again.is_empty() {
            self.pace.pay(now, 0.0);
        } else {
            self.pace.pay(now, 1.0);
            self.backend.hints.wake(again);
            self.backend.hints.wake(sessions.clone());
        }
        if !sessions.is_empty() {
            self.again.get_or_insert_with(|| (now + AGAIN, BTreeSet::new())).1.extend(sessions);
        }
    }

    async fn is_well(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.lost) {
            let message = "its watch is open again: changes are seen at once";
            self.core
                .tell(of_backend(&self.backend.name, Kind::BackendWatchRestored, self.core.clock.now(), message))
                .await;
        }
    }

    /// After it ended, broke or could not be opened.
    async fn wait(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        let delay = self.core.config.retry.delay(self.failures, rand::random());
        let now = self.core.clock.now();
        let why: String = why.chars().take(SHOWN).collect();
        self.backend.with_watch(|watch| {
            watch.become_so(WatchState::Backoff, now);
            watch.error = Some(why.clone());
            watch.retry_at = Some(now + delay);
        });
        tracing::debug!(backend = %self.backend.name, failures = self.failures, "its watch is lost: {why}");
        if !std::mem::replace(&mut self.lost, true) {
            let every = humantime::format_duration(self.core.config.sweep_interval);
            let message =
                format!("its watch is lost, and until it is back changes are seen by sweeps, every {every}: {why}");
            self.core.tell(of_backend(&self.backend.name, Kind::BackendWatchLost, now, message)).await;
        }
        tokio::time::sleep(delay).await;
    }
}
