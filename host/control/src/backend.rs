//! A backend as control knows it: who to call, how it is, and when to look at which of its sessions.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use seawall_backend::{Bulkhead, Error, ExecutionBackend, Fault, FaultKind};
use seawall_model::{BackendName, SessionId, SessionState, Timestamp};
use tokio::sync::Notify;

use crate::health::{BackendHealth, BackendStatus, Condition, HealthCell};
use crate::hints::Hints;
use crate::why::KnownBackend;

/// A configured backend.
pub(crate) struct Backend {
    pub(crate) name: BackendName,
    pub(crate) driver: Arc<Bulkhead<dyn ExecutionBackend>>,
    pub(crate) hints: Hints,
    /// Asks for a check before the next one is due.
    pub(crate) check_now: Notify,
    known: Mutex<Known>,
}

struct Known {
    health: HealthCell,
    swept_at: Option<Timestamp>,
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
    /// What was seen could not be stored.
    StoreFailed,
}

impl ConditionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::SweepFailed => "sweep_failed",
            Self::ListFailed => "list_failed",
            Self::NotBelieved => "answer_not_believed",
            Self::StoreFailed => "store_failed",
        }
    }
}

impl Backend {
    pub(crate) fn new(name: BackendName, driver: Arc<Bulkhead<dyn ExecutionBackend>>, now: Timestamp) -> Arc<Self> {
        let known = Known { health: HealthCell::new(now), swept_at: None, conditions: BTreeMap::new() };
        Arc::new(Self { name, driver, hints: Hints::default(), check_now: Notify::new(), known: Mutex::new(known) })
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

    /// What its last check failed with.
    pub(crate) fn error(&self) -> Option<String> {
        self.known(|known| known.health.error.clone())
    }

    pub(crate) fn swept(&self, at: Timestamp) {
        self.known(|known| known.swept_at = Some(at));
    }

    /// Sets a condition; says whether it is new.
    pub(crate) fn raise(&self, kind: ConditionKind, message: String, now: Timestamp) -> bool {
        self.known(|known| {
            let since = known.conditions.get(&kind).map(|condition| condition.since);
            let condition = Condition { kind: kind.as_str().to_owned(), message, since: since.unwrap_or(now) };
            known.conditions.insert(kind, condition);
            since.is_none()
        })
    }

    /// Ends a condition; says whether there was one.
    pub(crate) fn clear(&self, kind: ConditionKind) -> bool {
        self.known(|known| known.conditions.remove(&kind).is_some())
    }

    /// All that is known, in one look.
    pub(crate) fn status(&self, sessions: BTreeMap<SessionState, usize>) -> BackendStatus {
        let info = self.driver.info().clone();
        let bulkhead = self.driver.status();
        self.known(|known| BackendStatus {
            name: self.name.clone(),
            info,
            health: known.health.health,
            since: known.health.since,
            checked_at: known.health.checked_at,
            latency: known.health.latency,
            error: known.health.error.clone(),
            failures: known.health.failures,
            report: known.health.report.clone(),
            swept_at: known.swept_at,
            conditions: known.conditions.values().cloned().collect(),
            bulkhead,
            sessions,
        })
    }

    /// What matters to one session.
    pub(crate) fn why(&self, session: &SessionId) -> KnownBackend {
        let mut bulkhead = self.driver.status();
        bulkhead.quarantine.retain(|quarantined| quarantined.session == *session);
        self.known(|known| KnownBackend {
            health: known.health.health,
            error: known.health.error.clone(),
            swept_at: known.swept_at,
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
