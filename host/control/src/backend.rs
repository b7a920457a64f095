//! A backend as control knows it: who to call, how it is, and when to look at which of its sessions. Owns the tasks that
//! look after it, from [`Backend::run`] to [`Backend::stop`] (B1): check, sweep, watch, and the listener to its bulkhead.
//!
//! One that is restarted is another [`Backend`], of the next generation: its counters and its breaker are new (B5), and
//! a late answer of the one before finds nobody to tell it to (B4).

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use seawall_backend::{Bulkhead, BulkheadStatus, Error, ExecutionBackend, Fault, FaultKind, Interface, trace};
use seawall_model::{BackendName, SessionId, SessionState, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::ControlError;
use crate::bulkhead::listen;
use crate::core::Core;
use crate::health::{self, BackendHealth, BackendStatus, Condition, HealthCell};
use crate::hints::Hints;
use crate::look::Seen;
use crate::orphans::Orphans;
use crate::prober::{Notes, Prober};
use crate::secrets::SessionSecrets;
use crate::sweep::Sweep;
use crate::turns::Turns;
use crate::watch::{WatchStatus, Watcher};
use crate::why::KnownBackend;

/// A configured backend.
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    pub(crate) driver: Arc<Bulkhead<dyn ExecutionBackend>>,
    /// Which backend of this name it is, from 1, since it was added.
    pub(crate) generation: u64,
    pub(crate) hints: Hints,
    pub(crate) probes: Notes,
    /// Whose call is next among its sessions' workers.
    pub(crate) turns: Turns,
    /// Asks for a check before the next one is due.
    pub(crate) check_now: Notify,
    /// Held during a clean-up.
    pub(crate) orphans: Arc<tokio::sync::Mutex<Orphans>>,
    known: Mutex<Known>,
    /// Ends its tasks.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Another one is in its place, or none.
    retired: CancellationToken,
}

/// Calls of a backend that was replaced have so long to come to their end.
const LAST_CALLS: Duration = Duration::from_secs(5);

struct Known {
    health: HealthCell,
    /// The last sweep that saw everything, and how long it took.
    swept: Option<(Seen, Duration)>,
    watch: WatchStatus,
    conditions: BTreeMap<ConditionKind, Condition>,
}

/// What an operator may be told about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConditionKind {
    /// A sweep failed.
    SweepFailed,
    /// A listing failed: nothing that is missing can be confirmed, and no orphan found.
    ListFailed,
    /// Too many sessions were missing at once.
    NotBelieved,
    /// Orphans are too many to be removed unasked.
    OrphansHeld,
    /// What was seen could not be stored.
    StoreFailed,
}

impl ConditionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::SweepFailed => "sweep_failed",
            Self::ListFailed => "list_failed",
            Self::NotBelieved => "answer_not_believed",
            Self::OrphansHeld => "orphans_held",
            Self::StoreFailed => "store_failed",
        }
    }
}

impl Backend {
    pub(crate) fn new(
        core: &Arc<Core>,
        name: BackendName,
        driver: Arc<Bulkhead<dyn ExecutionBackend>>,
        generation: u64,
    ) -> Arc<Self> {
        driver.redact().lend(SessionSecrets::new(core, &name));
        let health = HealthCell::new(core.clock.now());
        let watch = WatchStatus::new(driver.info().has(Interface::Watch), core.clock.now());
        let turns = Turns::new(driver.limit().stats().calls.permits);
        Arc::new(Self {
            name,
            driver,
            generation,
            hints: Hints::default(),
            probes: Notes::default(),
            turns,
            check_now: Notify::new(),
            orphans: Arc::default(),
            known: Mutex::new(Known { health, swept: None, watch, conditions: BTreeMap::new() }),
            stop: core.soft.child_token(),
            tasks: TaskTracker::new(),
            retired: CancellationToken::new(),
        })
    }

    /// Begins to look after it.
    pub(crate) fn run(self: &Arc<Self>, core: &Arc<Core>) {
        let name = self.name.as_str();
        let (own, shared) = (|| Arc::clone(self), || Arc::clone(core));
        let changes = self.driver.changes().subscribe();
        let span = tracing::info_span!(parent: None, "bulkhead", backend = name);
        self.spawn(core, listen(shared(), own(), changes).instrument(span));
        let span = tracing::info_span!(parent: None, "health", backend = name);
        self.spawn(core, health::watch(shared(), own()).instrument(span));
        let span = tracing::info_span!(parent: None, "sweep", backend = name);
        self.spawn(core, Sweep::new(shared(), own()).run().instrument(span));
        let span = tracing::info_span!(parent: None, "prober", backend = name);
        self.spawn(core, Prober::new(shared(), own()).run().instrument(span));
        if self.driver.info().has(Interface::Watch) {
            let span = tracing::info_span!(parent: None, "watch", backend = name);
            self.spawn(core, Watcher::new(shared(), own()).run().instrument(span));
        }
    }

    /// Runs a task that is over before the backend is.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        core: &Core,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(core.tasks.track_future(task))
    }

    /// Ends and joins its tasks. A check that is under way counts as nothing; what a sweep has seen and is about to
    /// store is stored.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// When its tasks have to end.
    pub(crate) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Why a request that its end cut off was not answered.
    pub(crate) fn replaced(&self, core: &Core) -> ControlError {
        core.open().err().unwrap_or_else(|| {
            ControlError::Conflict(format!("the backend {} was replaced or removed meanwhile: ask again", self.name))
        })
    }

    /// Another one is in its place, or none: whoever waits for a call of it does so no longer than a few seconds.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// When a call of it is no longer to be waited for.
    pub(crate) async fn given_up(&self) {
        self.retired.cancelled().await;
        tokio::time::sleep(LAST_CALLS).await;
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn with_health<T>(&self, change: impl FnOnce(&mut HealthCell) -> T) -> T {
        self.known(|known| change(&mut known.health))
    }

    pub(crate) fn health(&self) -> BackendHealth {
        self.known(|known| known.health.health)
    }

    /// Its engine carries out health checks by itself, so that the host need not.
    pub(crate) fn engine_checks(&self) -> bool {
        self.driver.info().has(Interface::HealthChecks)
    }

    /// What its last check failed with.
    pub(crate) fn error(&self) -> Option<String> {
        self.known(|known| known.health.error.clone())
    }

    pub(crate) fn swept(&self, seen: Seen, took: Duration) {
        self.driver.swept(took);
        self.known(|known| known.swept = Some((seen, took)));
    }

    pub(crate) fn with_watch(&self, change: impl FnOnce(&mut WatchStatus)) {
        self.known(|known| change(&mut known.watch));
    }

    /// Sets a condition, with the trace that it was met in; says whether it is new.
    pub(crate) fn raise(&self, kind: ConditionKind, message: String, now: Timestamp) -> bool {
        self.known(|known| {
            let since = known.conditions.get(&kind).map(|condition| condition.since);
            let (word, since_then, trace_id) = (kind.as_str().to_owned(), since.unwrap_or(now), trace::current());
            known.conditions.insert(kind, Condition { kind: word, message, since: since_then, trace_id });
            since.is_none()
        })
    }

    /// Ends a condition; says whether there was one.
    pub(crate) fn clear(&self, kind: ConditionKind) -> bool {
        self.known(|known| known.conditions.remove(&kind).is_some())
    }

    /// Its bulkhead, and who queues to be let in.
    fn bulkhead(&self) -> BulkheadStatus {
        let mut bulkhead = self.driver.status();
        bulkhead.permits.calls.queued += self.turns.waiting();
        bulkhead
    }

    /// All that is known, in one look.
    pub(crate) fn status(&self, sessions: BTreeMap<SessionState, usize>) -> BackendStatus {
        let info = self.driver.info().clone();
        let bulkhead = self.bulkhead();
        self.known(|known| BackendStatus {
            name: self.name.clone(),
            generation: self.generation,
            info,
            health: known.health.health,
            since: known.health.since,
            checked_at: known.health.checked_at,
            latency: known.health.latency,
            error: known.health.error.clone(),
            trace_id: known.health.trace_id,
            failures: known.health.failures,
            report: known.health.report.clone(),
            swept_at: known.swept.map(|(seen, _)| seen.at),
            swept_by: known.swept.map(|(seen, _)| seen.by),
            sweep_took: known.swept.map(|(_, took)| took),
            watch: known.watch.clone(),
            conditions: known.conditions.values().cloned().collect(),
            bulkhead,
            sessions,
        })
    }

    /// What matters to one session.
    pub(crate) fn why(&self, session: &SessionId) -> KnownBackend {
        let mut bulkhead = self.bulkhead();
        bulkhead.quarantine.retain(|quarantined| quarantined.session == *session);
        self.known(|known| KnownBackend {
            health: known.health.health,
            error: known.health.error.clone(),
            trace_id: known.health.trace_id,
            swept_at: known.swept.map(|(seen, _)| seen.at),
            swept_by: known.swept.map(|(seen, _)| seen.by),
            conditions: known.conditions.values().cloned().collect(),
            bulkhead,
        })
    }
}

/// A panic in a backend is a fault of that call, not the end of the task that made it.
pub(crate) async fn call<T>(function: &'static str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        let message = "panicked in the host: this is a defect of Seawall or of a native backend".to_owned();
        Err(Error::Fault(Fault { kind: FaultKind::Internal, function, message, backtrace: Vec::new() }))
    })
}
